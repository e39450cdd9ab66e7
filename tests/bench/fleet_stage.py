"""Where the operator is measured: a real API server, an embedded Valkey, the operator on one core.

No kubelet and no controllers: a Deployment gets its number of replicas and no pods. Whatever the operator
asks of the API server is read from that server's own audit log, whose times are when an answer was complete.
"""

from __future__ import annotations

import json
import time
import tracemalloc
from collections import Counter
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import redis
from tests.bench import fleet_load as load
from tests.bench.calls import Call, Calls
from tests.bench.usage import cpu_seconds, memory_mib, pin
from tests.support.api_server import ApiServer
from tests.support.operator_process import Cluster, OperatorProcess

from redisqueue_operator.observe.cache import PODS, Store
from redisqueue_operator.observe.redis.settings import CLIENT_NAME
from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path


class Stage:
    """Everything that runs, on `with`."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._server = ApiServer(binaries, audit=True)
        self._redis = EmbeddedRedis()
        self._operator = OperatorProcess(self._server, folder / "operator.log")
        self._stack = ExitStack()
        self.cluster = Cluster(self._server)

    def __enter__(self) -> Stage:
        with self._stack:
            self._stack.enter_context(self._server)
            self._stack.enter_context(self._redis)
            self.cluster.install()
            self.client = self._stack.enter_context(redis.Redis.from_url(self._redis.url))
            self._stack.enter_context(self._operator)
            calls = Calls(self._server.audit_log, lambda: self._operator.ended)
            self._calls = self._stack.enter_context(closing(calls))
            assert self._operator.process is not None
            self.pid = self._operator.process.pid
            pin(self.pid)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def create(self, names: Sequence[str], **scaling: Any) -> None:
        """RedisQueues that have 20 workers at most and go to sleep as soon as they may."""
        load.create(self.cluster, [load.redis_queue(name, self._redis.url, **scaling) for name in names])

    def add_pods(self, names: Sequence[str], each: int) -> int:
        """Running worker pods of these queues, and how many changes a watch was told."""
        self.cluster.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}})
        for name in names:
            pods = [_pod(name, number) for number in range(each)]
            load.create(self.cluster, pods)
            load.create(self.cluster, pods, "replace", "--subresource=status")
        return 2 * each * len(names)

    def seconds_for(self, change: Callable[[], int]) -> float:
        """CPU for each of a number of changes; `change` makes them and says how many."""
        self.quiet(5)
        cpu, began = self.cpu_seconds(), time.monotonic()
        idle = self.measure(5.0)["cpu_percent"] / 100
        events = change()
        time.sleep(5)
        return (self.cpu_seconds() - cpu - idle * (time.monotonic() - began)) / events

    def push(self, names: Sequence[str], messages: int) -> float:
        """As `fleet_load.push`."""
        return load.push(self.client, names, messages)

    def empty(self, names: Sequence[str]) -> None:
        """As `fleet_load.empty`."""
        load.empty(self.client, names)

    def traffic(self, names: Sequence[str]) -> AbstractContextManager[None]:
        """As `fleet_load.traffic`."""
        return load.traffic(self._redis.url, names)

    @property
    def calls(self) -> list[Call]:
        """The operator's, so far."""
        return self._calls.all

    def until(self, look: Callable[[list[Call]], bool], what: str, seconds: float = 120.0) -> None:
        """As `Calls.until`."""
        self._calls.until(look, what, seconds)

    def quiet(self, for_seconds: float) -> None:
        """As `Calls.quiet`."""
        self._calls.quiet(for_seconds)

    def scales(self, since: float) -> list[Call]:
        """As `Calls.scales`."""
        return self._calls.scales(since)

    def measure(self, seconds: float) -> dict[str, float]:
        """What the operator takes: CPU, memory, calls to the API server, connections and calls to Redis."""
        self._calls.read()
        seen, cpu, scripts, began = len(self.calls), self.cpu_seconds(), self._scripts(), time.monotonic()
        time.sleep(seconds)
        cpu, scripts = self.cpu_seconds() - cpu, self._scripts() - scripts
        seconds = time.monotonic() - began
        self._calls.read()
        calls = self.calls[seen:]
        writes = Counter(call.resource for call in calls if call.writes)
        clients = [one for one in self.client.client_list() if one["name"] == CLIENT_NAME]
        return {
            "cpu_percent": 100 * cpu / seconds,
            "resident_mib": memory_mib(self.pid),
            "peak_mib": memory_mib(self.pid, "VmHWM"),
            "reads_per_second": sum(not call.writes for call in calls) / seconds,
            "writes_per_second": sum(writes.values()) / seconds,
            "redis_connections": len(clients),
            "redis_sleepers": sum("b" in one["flags"] for one in clients),
            "redis_calls_per_second": scripts / seconds,
        } | {f"writes to {resource}": count for resource, count in writes.items()}

    def cpu_seconds(self) -> float:
        """What the operator has used of its core since it began."""
        return cpu_seconds(self.pid)

    def _scripts(self) -> int:
        """Scripts, blocking pops, questions to a connection: the operator's calls, and nobody else's here."""
        names = ("evalsha", "blmove", "hello")
        stats = self.client.info("commandstats")
        return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in names)


def memory_of_pods(count: int) -> float:
    """Bytes that the store keeps of one of so many pods."""
    uids = {"uid": "00000000-0000-0000-0000-000000000000", "creationTimestamp": "2026-01-01T00:00:00Z"}
    store = Store()
    tracemalloc.start()
    for number in range(count):
        pod = _pod(f"queue-{number % 10}", number)
        pod["metadata"] |= {"resourceVersion": str(number + 1), **uids}
        store.put(PODS, json.loads(json.dumps(pod)))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size / count


def _pod(queue: str, number: int) -> dict[str, Any]:
    """A pod as a kubelet leaves it, as long as its status is."""
    labels = {"app.kubernetes.io/managed-by": "redisqueue-operator", "redisqueue.dev/queue": queue}
    at = "2026-01-01T00:00:00Z"
    kinds = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    container = {
        "name": "worker",
        "ready": True,
        "restartCount": 0,
        "image": "example.org/worker:1",
        "imageID": f"example.org/worker@sha256:{'0' * 64}",
        "containerID": f"containerd://{'0' * 64}",
        "state": {"running": {"startedAt": at}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{queue}-worker-{number}", "namespace": "default", "labels": labels},
        "spec": {"containers": [{"name": "worker", "image": "example.org/worker:1"}]},
        "status": {
            "phase": "Running",
            "conditions": [{"type": kind, "status": "True", "lastTransitionTime": at} for kind in kinds],
            "containerStatuses": [container],
        },
    }
