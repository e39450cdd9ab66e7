"""RedisQueueRedrives on a real API server and a real Valkey, carried out by the operator process."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from tests.support.operator_process import Cluster, OperatorProcess, until
from tests.support.queues import payloads
from tests.support.waiting import quiet

from redis_message_queue.keys import QueueKeys
from redisqueue_operator.cli import main
from redisqueue_operator.redrive.controller import AT_ONCE
from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.api_server import ApiServer

MIB = 1 << 20
LETTERS = [json.dumps({"id": number, "type": "ab"[number % 2]}) for number in range(300)]


@pytest.fixture(scope="module")
def cluster(api_server: ApiServer) -> Cluster:
    cluster = Cluster(api_server)
    cluster.install()
    return cluster


@contextmanager
def operator(cluster: Cluster, folder: Path, *flags: str) -> Iterator[OperatorProcess]:
    with OperatorProcess(cluster.server, folder / "log", *flags) as process:
        yield process


def redis_queue(redis_url: str, name: str) -> dict[str, Any]:
    """A RedisQueue that has no workers: what becomes pending stays."""
    spec = {"redis": {"url": redis_url}, "worker": {"handler": "a:b"}, "scaling": {"maxReplicas": 0}}
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "redisqueue.dev/v1alpha1", "kind": "RedisQueue", "metadata": metadata, "spec": spec}


def redrive(name: str, queue: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "redisqueue.dev/v1alpha1",
        "kind": "RedisQueueRedrive",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"queueRef": {"name": queue}, **spec},
    }


def status(cluster: Cluster, name: str) -> dict[str, Any]:
    return (cluster.get("rqr", name) or {}).get("status") or {}


def phase(cluster: Cluster, name: str) -> str:
    return str(status(cluster, name).get("phase") or "")


def reason(cluster: Cluster, name: str, kind: str = "Complete") -> str:
    conditions = status(cluster, name).get("conditions") or ()
    return str(next((each["reason"] for each in conditions if each["type"] == kind), ""))


@pytest.fixture
def letters(cluster: Cluster, redis_url: str, redis_client: redis.Redis, request: Any) -> Iterator[str]:
    """A RedisQueue with 300 dead letters: its name."""
    name = request.node.name.removeprefix("test_").replace("_", "-")[:40].strip("-")
    redis_client.lpush(QueueKeys(name).dead_letter, *LETTERS)
    cluster.apply(redis_queue(redis_url, name))
    yield name
    cluster.run("delete", "rq,rqr", "--all", "-n", "default")


def test_letters_move_as_the_spec_says(
    cluster: Cluster, letters: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    keys = QueueKeys(letters)
    with operator(cluster, tmp_path) as process:
        cluster.apply(redrive("count", letters, dryRun=True, match={"field": "type", "equals": "a"}))
        until(lambda: phase(cluster, "count") == "Succeeded", "counted")
        assert {name: status(cluster, "count")[name] for name in ("moved", "skipped", "remaining")} == {
            "moved": 150,
            "skipped": 150,
            "remaining": 0,
        }
        assert redis_client.llen(keys.dead_letter) == 300

        match = {"field": "type", "equals": "a", "pattern": '"id": \\d\\d,'}
        cluster.apply(redrive("some", letters, max=20, match=match))
        cluster.run("wait", "rqr/some", "--for=condition=Complete", "--timeout=55s")
        expected = [LETTERS[number] for number in range(10, 50, 2)]
        assert payloads(redis_client, keys.pending) == expected
        left = [letter for letter in LETTERS if letter not in expected]
        assert payloads(redis_client, keys.dead_letter) == left
        header, row = cluster.run("get", "rqr", "some").splitlines()
        assert header.split() == ["NAME", "QUEUE", "FROM", "PHASE", "MOVED", "SKIPPED", "REMAINING", "AGE"]
        assert row.split()[1:5] == [letters, "DeadLetter", "Succeeded", "20"]

        digest = hashlib.sha1(LETTERS[1].encode()).hexdigest()
        redis_client.lpush(keys.dead_letter_info, json.dumps({"digest": digest, "reason": "Timeout"}))
        cluster.apply(redrive("late", letters, match={"reason": "Time"}))
        until(lambda: phase(cluster, "late") == "Succeeded", "the one that was late")
        assert payloads(redis_client, keys.pending) == [*expected, LETTERS[1]]

        redis_client.lpush(keys.failed, "one", "two")
        cluster.apply(redrive("failed", letters, **{"from": "Failed"}, ttlSecondsAfterFinished=0))
        until(lambda: redis_client.llen(keys.failed) == 0, "the failed ones moved")
        until(lambda: cluster.get("rqr", "failed") is None, "removed when its time was over")
        labels = f'name="{letters}",namespace="default",phase="Succeeded"'
        process.shows(f"redisqueue_redrives{{{labels}}} 3.0")


def test_a_restart_goes_on_and_nothing_moves_twice(
    cluster: Cluster, letters: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    keys = QueueKeys(letters)
    with operator(cluster, tmp_path, "--lease-seconds=15") as first:
        cluster.apply(redrive("slow", letters, max=200, ratePerSecond=20))
        until(lambda: redis_client.llen(keys.pending) >= 10, "some moved")
        first.stop(kill=True)
    moved = redis_client.llen(keys.pending)
    assert 10 <= moved < 200
    redis_client.lpush(keys.dead_letter, "later")
    with operator(cluster, tmp_path):
        until(lambda: phase(cluster, "slow") == "Succeeded", "it went on", seconds=60)
    found = status(cluster, "slow")
    assert (found["moved"], found["remaining"]) == (200, 100)
    assert payloads(redis_client, keys.pending) == LETTERS[:200]
    assert payloads(redis_client, keys.dead_letter) == [*LETTERS[200:], "later"]


def test_redis_may_go_away_in_the_middle(cluster: Cluster, tmp_path: Path) -> None:
    keys = QueueKeys("outage")
    with (
        EmbeddedRedis(arguments=("--appendonly", "yes", "--appendfsync", "always")) as server,
        redis.Redis.from_url(server.url) as client,
        operator(cluster, tmp_path),
    ):
        client.lpush(keys.dead_letter, *LETTERS)
        cluster.apply(redis_queue(server.url, "outage"), redrive("outage", "outage", ratePerSecond=30))
        until(lambda: client.llen(keys.pending) >= 10, "some moved")
        server.stop(kill=True)
        until(lambda: phase(cluster, "outage") == "Pending", "it waits", seconds=60)
        assert 0 < status(cluster, "outage")["moved"] < 300
        server.start()
        until(lambda: phase(cluster, "outage") == "Succeeded", "it went on", seconds=90)
        assert payloads(client, keys.pending) == LETTERS
        assert status(cluster, "outage")["moved"] == 300
        cluster.run("delete", "rq,rqr", "outage")


def test_deleting_it_stops_it(
    cluster: Cluster, letters: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    keys = QueueKeys(letters)
    with operator(cluster, tmp_path):
        cluster.apply(redrive("stopped", letters, ratePerSecond=20), redrive("next", letters, max=1))
        until(lambda: redis_client.llen(keys.pending) >= 3, "some moved")
        cluster.run("delete", "rqr", "stopped")
        until(lambda: phase(cluster, "next") == "Succeeded", "others are not concerned")
        cluster.apply(redrive("after", letters, max=1))
        until(lambda: phase(cluster, "after") == "Succeeded", "others go on")
        quiet(lambda: redis_client.llen(keys.pending), "nothing moves", 2)
        assert redis_client.llen(keys.dead_letter) > 0, "it ended because all had moved"


def test_what_it_waits_for_is_said(
    cluster: Cluster, letters: str, redis_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    cluster.apply(redrive("early", "absent"), redrive("wrong", letters, match={"pattern": "("}))
    endless = {"pattern": "^(a+)+$"}
    redis_client.rpush(QueueKeys(letters).dead_letter, "a" * 60 + "!")
    with operator(cluster, tmp_path) as process:
        until(lambda: reason(cluster, "early") == "QueueMissing", "the queue is missing")
        until(lambda: reason(cluster, "wrong", "Failed") == "PatternInvalid", "no expression")
        cluster.apply(redrive("endless", letters, match=endless))
        until(lambda: phase(cluster, "endless") in ("Running", "Failed"), "it tries")
        cluster.apply(redis_queue("redis://127.0.0.1:1", "absent"))
        until(lambda: reason(cluster, "early") == "ConnectionRefused", "Redis is away")
        cluster.apply(redis_queue(redis_url, "absent"))
        until(lambda: phase(cluster, "early") == "Succeeded", "it goes on by itself", seconds=60)
        until(lambda: reason(cluster, "endless", "Failed") == "MatchTooSlow", "it gives up", seconds=60)
        assert process.answer("/livez") == 200


def test_a_queue_that_is_drained_gets_no_more_letters(
    cluster: Cluster, letters: str, redis_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    keys, held = QueueKeys(letters), redis_queue(redis_url, letters)
    held["spec"]["deletionPolicy"] = "Drain"
    with operator(cluster, tmp_path):
        cluster.apply(held)
        until(lambda: cluster.metadata("rq", letters).get("finalizers"), "it waits for its drain")
        cluster.apply(redrive("late", letters, ratePerSecond=1))
        until(lambda: redis_client.llen(keys.pending) >= 3, "some moved")
        cluster.run("delete", "rq", letters, "--wait=false")
        until(lambda: reason(cluster, "late") == "QueueDeleting", "it says why it waits")
        assert phase(cluster, "late") == "Pending"
        assert redis_client.llen(keys.pending) == status(cluster, "late")["moved"] < 300
        redis_client.delete(keys.pending)
        until(lambda: cluster.get("rq", letters) is None, "the drain ends")
        until(lambda: reason(cluster, "late") == "QueueMissing", "there is none")
        assert redis_client.llen(keys.pending) == 0


def test_the_command_line_takes_the_queue_from_the_cluster(
    cluster: Cluster,
    letters: str,
    redis_url: str,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "address", "namespace": "default"}}
    queue = redis_queue(redis_url, letters)
    queue["spec"]["redis"] = {"urlFrom": {"secretKeyRef": {"name": "address"}}}
    cluster.run("delete", "rq", letters)
    cluster.apply({**secret, "stringData": {"url": redis_url}}, queue)
    monkeypatch.setenv("KUBECONFIG", str(cluster.server.kubeconfig))
    monkeypatch.setenv("PATH", str(cluster.server.folder), prepend=":")
    assert main(["redrive", f"rq/{letters}", "-n", "default", "--max", "2"]) == 0
    told = f"{letters}: moved 2 dead letters to pending, 298 not looked at\n"
    assert capsys.readouterr().out == told
    assert redis_client.llen(QueueKeys(letters).pending) == 2
    assert main(["peek", "rq/absent", "-n", "default"]) == 1
    assert 'redisqueues.redisqueue.dev "absent" not found' in capsys.readouterr().err
    cluster.run("delete", "secret", "address")


def test_the_redrives_of_another_operators_queues_are_left_alone(
    cluster: Cluster, letters: str, redis_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    ours = redis_queue(redis_url, "ours")
    ours["metadata"]["labels"] = {"shard": "a"}
    cluster.apply(ours, redrive("theirs", letters), redrive("mine", "ours"))
    with operator(cluster, tmp_path, "--watch-selector=shard=a", "--lease-name=shard-a"):
        until(lambda: phase(cluster, "mine") == "Succeeded", "its own is carried out")
        assert status(cluster, "theirs") == {"observedGeneration": -1}, "never looked at"
        assert redis_client.llen(QueueKeys(letters).dead_letter) == 300


def test_without_the_definition_there_is_scaling_all_the_same(
    empty_api_server: ApiServer, redis_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    cluster = Cluster(empty_api_server)
    cluster.install("RedisQueue")
    queue = redis_queue(redis_url, "scaled")
    queue["spec"]["scaling"]["maxReplicas"] = 3
    cluster.apply(queue)
    redis_client.lpush(QueueKeys("scaled").dead_letter, *LETTERS)
    with operator(cluster, tmp_path) as process:
        redis_client.lpush(QueueKeys("scaled").pending, "one")
        until(lambda: cluster.replicas("scaled") == 1, "a worker")
        for kind in ("RedisQueueRedrives", "RedisQueueSchedules"):
            told = f"{kind} cannot be watched"
            until(lambda told=told: told in process.log.read_text(), "the log says what is missing")  # type: ignore[misc]
        cluster.install()
        cluster.apply(redrive("late", "scaled"))
        until(lambda: phase(cluster, "late") == "Succeeded", "it is carried out at last", seconds=120)


def test_large_letters_of_many_redrives_fit_into_the_operators_memory(
    cluster: Cluster, redis_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    names = [f"large-{number}" for number in range(AT_ONCE)]
    for name in names:
        redis_client.lpush(QueueKeys(name).dead_letter, name * (24 * MIB // len(name)))
    with operator(cluster, tmp_path) as process:
        cluster.apply(*(redis_queue(redis_url, name) for name in names))
        cluster.apply(*(redrive(name, name) for name in names))
        until(lambda: all(phase(cluster, name) == "Succeeded" for name in names), "all moved", seconds=90)
        status_lines = Path(f"/proc/{process.process.pid}/status").read_text().splitlines()
        peak = next(int(line.split()[1]) * 1024 for line in status_lines if line.startswith("VmHWM"))
    for name in names:
        assert redis_client.llen(QueueKeys(name).pending) == 1
        redis_client.delete(QueueKeys(name).pending)
    cluster.run("delete", "rq,rqr", "--all", "-n", "default")
    assert peak < 256 * MIB, "what its chart allows it"
