"""RedisQueueSchedules on a real API server and a real Valkey, kept by operator processes that are killed."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.operator_process import Cluster, OperatorProcess, until
from tests.support.redisqueue_cases import redis_queue, schedule

from redis_message_queue import envelope
from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis
    from tests.support.api_server import ApiServer

STEP = timedelta(seconds=2)
LEASE = "--lease-seconds=6"


@pytest.fixture
def cluster(api_server: ApiServer) -> Iterator[Cluster]:
    cluster = Cluster(api_server)
    cluster.install()
    yield cluster
    cluster.run("delete", "rq,rqs", "--all", "-n", "default")


def ids(client: redis.Redis, queue: str) -> list[str]:
    """Of the messages, in their order."""
    stored: Any = client.lrange(QueueKeys(queue).pending, 0, -1)
    return [str(envelope.decode(each).id) for each in reversed(stored)]


def ticks(client: redis.Redis, queue: str) -> list[datetime]:
    return [datetime.strptime(each[-16:], "%Y%m%dT%H%M%S%z") for each in ids(client, queue)]


def ready(cluster: Cluster, name: str) -> tuple[str, str]:
    status = (cluster.get("rqs", name) or {}).get("status") or {}
    found = {each["type"]: each for each in status.get("conditions") or ()}.get("Ready", {})
    return found.get("status", ""), found.get("reason", "")


def test_each_tick_arrives_once_through_two_leaders_that_are_killed(
    cluster: Cluster, redis_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    beat = schedule(
        schedule="*/2 * * * * *",
        missedTicks="All",
        queueRef=None,
        redis={"url": redis_url},
        queue={"name": "beats"},
        payload={"type": "beat"},
    )
    beat["metadata"]["name"] = "beat"
    count = lambda: len(ids(redis_client, "beats"))  # noqa: E731
    with ExitStack() as stack:
        first, second, third = (
            OperatorProcess(cluster.server, tmp_path / f"{number}", LEASE, restarts=True)
            for number in range(3)
        )
        stack.enter_context(first)
        stack.enter_context(second)
        cluster.apply(beat)
        until(lambda: count() >= 2, "the first ones came")
        leader = leader_of(first, second)
        leader.stop(kill=True)
        seen = count()
        other = second if leader is first else first
        stack.enter_context(third)
        until(lambda: count() >= seen + 3, "another one leads")
        leader_of(other, third).stop(kill=True)
        seen = count()
        until(lambda: count() >= seen + 3, "the last one leads")
        cluster.run("patch", "rqs", "beat", "--type=merge", "-p", '{"spec":{"suspend":true}}')
        until(lambda: ready(cluster, "beat") == ("True", "Suspended"), "it is suspended")
    found = ticks(redis_client, "beats")
    assert len(found) >= 8
    assert sorted(found) == [min(found) + number * STEP for number in range(len(found))]
    header, row = cluster.run("get", "rqs", "beat").splitlines()
    assert header.split() == ["NAME", "SCHEDULE", "SUSPEND", "LAST", "NEXT", "QUEUE", "AGE"]
    assert "true" in row
    assert "beats" in row


def leader_of(*processes: OperatorProcess) -> OperatorProcess:
    def look() -> OperatorProcess | None:
        return next((each for each in processes if leads(each)), None)

    found = until(look, "one of them leads")
    assert found is not None
    return found


def leads(process: OperatorProcess) -> bool:
    try:
        return "redisqueue_operator_leader 1.0" in process.read("/metrics").splitlines()
    except OSError:  # it lost the Lease, and is about to start again
        return False


def test_a_schedule_waits_for_its_redisqueue_and_tells(
    cluster: Cluster, redis_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    cluster.apply(schedule(schedule="* * * * * *"))
    with OperatorProcess(cluster.server, tmp_path / "log") as process:
        until(lambda: ready(cluster, "nightly") == ("False", "QueueMissing"), "it has no queue")
        cluster.apply(redis_queue(redis={"url": redis_url}, scaling={"maxReplicas": 0}))
        until(lambda: len(ids(redis_client, "emails")) >= 2, "it has one")
        until(lambda: ready(cluster, "nightly") == ("True", "Scheduled"), "it says so")
        series = 'redisqueue_schedule_ticks_total{name="nightly",namespace="default",outcome="enqueued"}'
        until(lambda: series in process.read("/metrics"), "its ticks are counted")
        bad = ("--type=merge", "-p", '{"spec":{"schedule":"0 0 31 2 *"}}')
        cluster.run("patch", "rqs", "nightly", *bad)
        until(lambda: ready(cluster, "nightly") == ("False", "InvalidSchedule"), "no such day exists")
    status = (cluster.get("rqs", "nightly") or {})["status"]
    assert "Enqueued" in {each["outcome"] for each in status["history"]}


def test_one_that_is_refused_a_host_says_so(cluster: Cluster, tmp_path: Path) -> None:
    spec = {"redis": {"url": "redis://elsewhere.example:6379"}, "queue": {"name": "a"}}
    cluster.apply(schedule(queueRef=None, **spec))
    with OperatorProcess(cluster.server, tmp_path / "log", "--allowed-redis-hosts=redis.example"):
        until(lambda: ready(cluster, "nightly") == ("False", "HostNotAllowed"), "it may not go there")
