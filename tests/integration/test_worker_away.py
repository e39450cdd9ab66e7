"""A worker outlives another master behind the name, a cluster that is away, a proxy that knows less."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
import redis
from tests.support import server_binaries as binaries
from tests.support.acl import PASSWORD, grant
from tests.support.fault_proxy import Answer, FaultProxy
from tests.support.one_name import OneName, Pair, one_name
from tests.support.servers import QUEUE, cluster_nodes
from tests.support.worker_process import KEYS, WorkerProcess, eventually, publish

from redis_message_queue import envelope
from redis_message_queue.keys import QueueKeys
from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.fault_proxy import Rule

pytestmark = pytest.mark.timeout(120)
TAGGED = QueueKeys(QUEUE)
RELAY = """
import time
from pathlib import Path

def relay(payload, context):
    folder = Path(__file__).parent
    with open(folder / "started", "a") as file:
        file.write(f"{payload}\\n")
    while payload == "held" and not (folder / "go").exists():
        time.sleep(0.01)
    context.publish(payload, queue="onward")
"""


@pytest.fixture
def pair() -> Iterator[Pair]:
    with one_name(binaries.valkey) as found:
        yield found


def test_a_worker_goes_on_with_the_new_master_behind_the_name(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "relay.py").write_text(RELAY)
    worker = WorkerProcess(tmp_path, pair.name.url, "", concurrency=2, heartbeat_seconds=0.5)
    worker.settings["handler"] = "relay:relay"
    with worker:
        publish(pair.old, "first", "held")
        worker.until_noted("started", 2)
        eventually(lambda: pair.old.llen(KEYS.processing) == 1, "the first is settled")
        new = pair.fail_over()
        publish(new, "second")
        worker.until_noted("started", 3)
        until_renewed(new)
        worker.open_gate()
        eventually(lambda: new.llen("onward::pending") == 3, "what handlers publish goes to the new master")
        eventually(lambda: not new.exists(KEYS.pending, KEYS.processing), "all is settled there")
        assert Counter(worker.noted("started")) == {"first": 1, "held": 1, "second": 1}
        assert worker.running


def test_another_password_behind_the_name_is_read_from_its_file(pair: Pair, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("first\n")
    pair.old.config_set("masterauth", "first")
    pair.new.config_set("masterauth", "first")
    pair.old.config_set("requirepass", "first")
    with WorkerProcess(tmp_path, pair.name.url, "record", redis_password_file=password) as worker:
        publish(pair.old, "one")
        worker.until_noted("started", 1)
        eventually(lambda: not pair.old.exists(KEYS.processing), "the first is settled")
        password.write_text("second\n")
        new = pair.fail_over()
        new.config_set("requirepass", "second")
        publish(new, "two")
        worker.until_noted("started", 2)
        eventually(lambda: not new.exists(KEYS.pending, KEYS.processing), "all is settled there")
        assert worker.running


def until_renewed(client: redis.Redis) -> None:
    """Wait for the lease of a message in hand to be renewed twice."""
    for _ in range(2):
        before = last_deadline(client)
        eventually(lambda before=before: last_deadline(client) > before, "the lease is renewed")


def last_deadline(client: redis.Redis) -> float:
    return max((end for _, end in client.zrange(KEYS.lease_deadlines, 0, -1, withscores=True)), default=0)


def of_cluster(folder: Path, name: OneName) -> WorkerProcess:
    settings = {"redis_mode": "Cluster", "queue": QUEUE, "visibility_timeout_seconds": 3}
    return WorkerProcess(folder, name.url.removesuffix("/0"), "record", **settings)


def test_a_worker_outlives_a_cluster_of_which_no_node_answers(tmp_path: Path) -> None:
    with (
        cluster_nodes(binaries.valkey) as (server, nodes),
        OneName(nodes[0].port) as name,
        of_cluster(tmp_path, name) as worker,
    ):
        server.blocking().lpush(TAGGED.pending, envelope.encode("one"))
        worker.until_noted("started", 1)
        for node in nodes:
            node.stop(kill=True)
        worker.logged("Redis does not answer, trying again", 3)
        with cluster_nodes(binaries.valkey) as (other, elsewhere):
            name.target = elsewhere[0].port
            other.blocking().lpush(TAGGED.pending, envelope.encode("two"))
            worker.until_noted("started", 2)
            worker.logged("Redis answers again")
            assert worker.running


def test_a_worker_waits_for_its_cluster_to_come(tmp_path: Path) -> None:
    with OneName(1) as name, of_cluster(tmp_path, name) as worker:
        worker.logged("Redis does not answer, trying again", 2)
        check = worker.command("check")
        told, _ = check.communicate(timeout=60)
        assert check.returncode == 1
        assert "Traceback" not in told
        assert "Redis at redis://" in told
        with cluster_nodes(binaries.valkey) as (server, nodes):
            name.target = nodes[0].port
            server.blocking().lpush(TAGGED.pending, envelope.encode("one"))
            worker.until_noted("started", 1)
            assert worker.running


def without(*commands: bytes) -> Rule:
    """The rule of a proxy that does not know these commands."""

    def rule(request: list[bytes]) -> Answer | None:
        if request[0].upper() not in commands:
            return None
        return Answer(b"-ERR unknown command '%s', with args beginning with: \r\n" % request[0])

    return rule


@pytest.fixture
def port(redis_url: str) -> int:
    return int(redis.connection.parse_url(redis_url)["port"])


def test_a_worker_needs_no_name_and_no_resp3(port: int, redis_client: redis.Redis, tmp_path: Path) -> None:
    rule = without(b"CLIENT", b"HELLO", b"INFO", b"SCRIPT", b"CONFIG")
    redis_client.script_flush()
    with (
        FaultProxy(port, rule) as proxy,
        WorkerProcess(tmp_path, proxy.url, "gated", heartbeat_seconds=0.5) as worker,
    ):
        publish(redis_client, "one")
        worker.until_noted("started", 1)
        until_renewed(redis_client)
        worker.open_gate()
        eventually(lambda: not redis_client.exists(KEYS.processing), "it is settled")
        assert "Redis does not answer, trying again" not in worker.messages()
        assert "lease renewal failed, trying again" not in worker.messages()


def test_check_names_the_commands_that_are_missing(port: int, tmp_path: Path) -> None:
    with FaultProxy(port, without(b"BLMOVE", b"EVALSHA")) as proxy:
        check = WorkerProcess(tmp_path, proxy.url, "record").command("check")
        told, _ = check.communicate(timeout=60)
        assert check.returncode == 1
        assert "lacks commands that a worker needs: BLMOVE, EVALSHA" in told


@pytest.mark.parametrize("find", [binaries.valkey, binaries.redis_6_2], ids=["valkey", "redis-6.2"])
def test_check_is_content_with_the_least_rights(find: Callable[[], str], tmp_path: Path) -> None:
    with EmbeddedRedis(binary=find()) as server, redis.Redis.from_url(server.url) as admin:
        grant(admin, "least", "worker", queue="jobs")
        worker = WorkerProcess(tmp_path, server.url.replace("://", f"://least:{PASSWORD}@"), "record")
        check = worker.command("check")
        told, _ = check.communicate(timeout=60)
        assert check.returncode == 0, told
        assert "this login may not count" in told
        admin.execute_command("ACL", "SETUSER", "least", "-evalsha")
        check = worker.command("check")
        told, _ = check.communicate(timeout=60)
        assert check.returncode == 1
        assert "NOPERM" in told


def test_where_hello_is_asked_for_and_refused_the_way_out_is_named(port: int, tmp_path: Path) -> None:
    with FaultProxy(port, without(b"HELLO")) as proxy:
        check = WorkerProcess(tmp_path, f"{proxy.url}?protocol=3", "record").command("check")
        told, _ = check.communicate(timeout=60)
        assert check.returncode == 1
        assert "?protocol=2" in told
