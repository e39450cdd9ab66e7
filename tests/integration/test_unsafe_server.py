"""A Redis that evicts keys, keeps nothing or follows another: each part of the project says so, unasked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis
from tests.support.acl import PASSWORD, grant
from tests.support.worker_process import QUEUE, WorkerProcess, eventually, publish

from redisqueue_operator.cli import main
from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UNSAFE = "messages are not safe on this Redis"


@pytest.fixture
def cache() -> Iterator[EmbeddedRedis]:
    """Redis as people set it up for a cache."""
    with EmbeddedRedis(arguments=("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")) as server:
        yield server


def said_by_check(folder: Path, url: str) -> list[str]:
    process = WorkerProcess(folder, url, "outcome").command("check")
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0, output
    return output.splitlines()


def test_the_worker_says_so_as_it_starts_and_works_all_the_same(tmp_path: Path, cache: EmbeddedRedis) -> None:
    with redis.Redis.from_url(cache.url) as client, WorkerProcess(tmp_path, cache.url, "outcome") as worker:
        publish(client, "done")
        warned = [worker.logged(UNSAFE, count) for count in (1, 2)]
        assert {each["level"] for each in warned} == {"warning"}
        assert [each["reason"] for each in warned] == ["EvictsKeys", "NoPersistence"]
        assert "allkeys-lru" in warned[0]["detail"]
        eventually(lambda: client.llen(f"{QUEUE}::pending") == 0, "the message is taken")


def test_the_worker_says_so_once_redis_is_there(tmp_path: Path, cache: EmbeddedRedis) -> None:
    cache.stop()
    with WorkerProcess(tmp_path, cache.url, "outcome") as worker:
        worker.logged("Redis does not answer, trying again")
        assert UNSAFE not in worker.messages()
        cache.start()
        assert worker.logged(UNSAFE)["reason"] == "EvictsKeys"


def test_check_says_so(tmp_path: Path, cache: EmbeddedRedis) -> None:
    lines = said_by_check(tmp_path, cache.url)
    assert (
        sum(line.startswith("server   warning: EvictsKeys: ") and "allkeys-lru" in line for line in lines)
        == 1
    )
    assert sum(line.startswith("server   warning: NoPersistence: ") for line in lines) == 1
    with redis.Redis.from_url(cache.url) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("save", "3600 1")
    assert "server   ok: noeviction, persistent, master" in said_by_check(tmp_path, cache.url)


def test_what_a_login_may_not_ask_is_unknown_and_not_well(tmp_path: Path, cache: EmbeddedRedis) -> None:
    with redis.Redis.from_url(cache.url) as client:
        grant(client, "worker", "worker", "operator", queue=QUEUE)
        client.execute_command("ACL", "SETUSER", "worker", "+ping", "+client|setname")
    login = cache.url.replace("//", f"//worker:{PASSWORD}@")
    lines = said_by_check(tmp_path, login)
    (line,) = [line for line in lines if line.startswith("server ")]
    assert line.startswith(
        "server   unknown: it does not tell this login its eviction policy, its persistence"
    )
    with WorkerProcess(tmp_path, login, "outcome") as worker:
        told = worker.logged("this Redis does not tell whether messages are safe there")
        assert told["unknown"] == "its eviction policy, its persistence, whether it is a replica"
        assert UNSAFE not in worker.messages()


def test_top_says_so_beside_the_table(cache: EmbeddedRedis, capsys: pytest.CaptureFixture[str]) -> None:
    with EmbeddedRedis(arguments=("--replicaof", "127.0.0.1", str(cache.port))) as replica:
        assert main(["top", "--redis-url", replica.url]) == 0
        printed = capsys.readouterr()
        assert [line.split()[1] for line in printed.err.splitlines()] == ["Replica:", "NoPersistence:"]
    with redis.Redis.from_url(cache.url) as client:
        publish(client, "one")
    assert main(["top", QUEUE, "--redis-url", cache.url]) == 0
    printed = capsys.readouterr()
    assert "allkeys-lru" in printed.err
    assert len(printed.out.splitlines()) == 2, "the table alone"
