"""A pod's status on a real API server proves that a worker is dead, or proves nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.operator_process import Cluster, OperatorProcess, until
from tests.support.queues import publish

from redis_message_queue.consumer import Consumer, WorkerIdentity
from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis
    from tests.support.api_server import ApiServer

RUNNING = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
# Since when a pod is not ready, or of phase Unknown, is said by whoever lost sight of its node.
LOST = [{"type": "Ready", "status": "False", "reason": "NodeLost"}]


@pytest.fixture(scope="module")
def cluster(api_server: ApiServer) -> Cluster:
    cluster = Cluster(api_server)
    cluster.install()
    account = {"name": "default", "namespace": "default"}
    cluster.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
    return cluster


@pytest.fixture
def operator(cluster: Cluster, tmp_path: Path) -> Iterator[OperatorProcess]:
    with OperatorProcess(cluster.server, tmp_path / "log") as process:
        yield process


def killed(instance: str, reason: str = "OOMKilled") -> dict[str, Any]:
    message = f"redisqueue-worker instance {instance}\n"
    return {"terminated": {"exitCode": 137, "reason": reason, "message": message}}


class Workers:
    """Pods of one RedisQueue, each with a worker that has one message in hand."""

    def __init__(self, cluster: Cluster, client: redis.Redis, url: str, name: str) -> None:
        self._cluster, self._client, self.name = cluster, client, name
        self.keys = QueueKeys(name)
        spec = {"redis": {"url": url}, "worker": {"handler": "app:handle"}, "scaling": {"mode": "Paused"}}
        metadata = {"name": name, "namespace": "default"}
        cluster.apply(
            {
                "apiVersion": "redisqueue.dev/v1alpha1",
                "kind": "RedisQueue",
                "metadata": metadata,
                "spec": spec,
            }
        )
        until(lambda: cluster.condition(name, "RedisReachable").get("status") == "True", "Redis is sampled")
        self._template = (cluster.get("deployment", f"{name}-worker") or {})["spec"]["template"]["metadata"]

    def add(self, pod: str) -> None:
        publish(self._client, self.keys, pod)
        worker = WorkerIdentity(pod, 1, instance=f"{pod}-1")
        assert len(Consumer(self._client, self.name, worker=worker).claim(1).claims) == 1
        metadata = {**self._template, "name": pod, "namespace": "default"}
        spec = {"containers": [{"name": "worker", "image": "example.org/worker:1"}]}
        self._cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        self.show(pod, RUNNING)

    def show(self, pod: str, state: dict[str, Any], last: dict[str, Any] | None = None, **more: Any) -> None:
        container = {"name": "worker", "image": "i", "imageID": "i", "ready": False, "restartCount": 0}
        container |= {"state": state, "lastState": last or {}}
        status = {"phase": "Running", "containerStatuses": [container], **more}
        patch = json.dumps({"status": status})
        self._cluster.run("patch", "pod", pod, "--subresource=status", "--type=merge", "-p", patch)

    @property
    def pending(self) -> list[str]:
        """Of which workers the messages came back, the latest first."""
        stored = self._client.lrange(self.keys.pending, 0, -1)
        return [json.loads(each.partition(b":")[2])["payload"] for each in stored]


def test_what_a_dead_worker_held_comes_back_and_a_lost_ones_does_not(
    cluster: Cluster, operator: OperatorProcess, redis_client: redis.Redis, redis_url: str
) -> None:
    workers = Workers(cluster, redis_client, redis_url, "mortal")
    for pod in ("gone", "lost", "unseen", "ended", "restarted", "last"):
        workers.add(pod)
    cluster.run("delete", "pod", "gone", "--force", "--grace-period=0")
    workers.show("lost", RUNNING, phase="Unknown", conditions=LOST)
    workers.show("unseen", killed("unseen-1", "ContainerStatusUnknown"), phase="Failed")
    workers.show("ended", killed("ended-1"))
    until(lambda: workers.pending == ["ended"], "what the dead one held")
    workers.show("restarted", RUNNING, killed("restarted-1"))
    until(lambda: sorted(workers.pending) == ["ended", "restarted"], "that of the next")
    until(lambda: "MessagesReturned" in cluster.events("mortal"), "an Event tells of it")
    # News of this pod are later than those of all others.
    workers.show("last", killed("last-1"))
    until(lambda: sorted(workers.pending) == ["ended", "last", "restarted"], "and of no other")
    operator.shows('redisqueue_queue_returned_total{name="mortal",namespace="default"} 3.0')
    cluster.run("delete", "pod", "lost", "unseen", "ended", "restarted", "last", "--force")
    cluster.run("delete", "rq", "mortal")


def test_an_operator_that_was_away_finds_who_died_meanwhile(
    cluster: Cluster, redis_client: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    with OperatorProcess(cluster.server, tmp_path / "first"):
        workers = Workers(cluster, redis_client, redis_url, "meanwhile")
        workers.add("crashing")
    workers.show("crashing", {"waiting": {"reason": "CrashLoopBackOff"}}, killed("crashing-1"))
    assert workers.pending == []
    with OperatorProcess(cluster.server, tmp_path / "second"):
        until(lambda: workers.pending == ["crashing"], "what it held")
    # A third one has nothing left to do: the same proof, and nothing held.
    with OperatorProcess(cluster.server, tmp_path / "third") as third:
        third.shows('redisqueue_queue_pending{name="meanwhile",namespace="default"} 1.0')
        assert "redisqueue_queue_returned_total{" not in third.read("/metrics")
    assert workers.pending == ["crashing"]
    cluster.run("delete", "pod", "crashing", "--force")
    cluster.run("delete", "rq", "meanwhile")
