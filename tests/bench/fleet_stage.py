"""Where the operator is measured: a real API server, an embedded Valkey, each operator on one core.

No kubelet and no controllers: a Deployment gets its number of replicas and no pods. Whatever the operator
asks of the API server is read from that server's own audit log, whose times are when an answer was complete.
"""

from __future__ import annotations

import itertools
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
    """Everything that runs, on `with`: one operator for everything, or one for each of the namespaces."""

    def __init__(self, binaries: Path, folder: Path, namespaces: Sequence[str] = ()) -> None:
        self._server = ApiServer(binaries, audit=True)
        self._redis = EmbeddedRedis()
        self._namespaces = tuple(namespaces)
        self._operators = [
            OperatorProcess(self._server, folder / f"operator-{name}.log", *_serving(name))
            for name in self._namespaces or ("",)
        ]
        self._stack = ExitStack()
        self.cluster = Cluster(self._server)

    def __enter__(self) -> Stage:
        with self._stack:
            self._stack.enter_context(self._server)
            self._stack.enter_context(self._redis)
            self.cluster.install()
            self.client = self._stack.enter_context(redis.Redis.from_url(self._redis.url))
            for name in self._namespaces:
                self.cluster.run("create", "namespace", name)
            for operator in self._operators:
                self._stack.enter_context(operator)
            calls = Calls(self._server.audit_log, lambda: any(one.ended for one in self._operators))
            self._calls = self._stack.enter_context(closing(calls))
            self._pids = [one.process.pid for one in self._operators if one.process is not None]
            for number, pid in enumerate(self._pids, 1):
                pin(pid, number)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def create(self, names: Sequence[str], **scaling: Any) -> None:
        """RedisQueues, in each namespace in turn: 20 workers at most, and asleep as soon as they may."""
        places = zip(names, itertools.cycle(self._namespaces or ("default",)), strict=False)
        url = self._redis.url
        load.create(
            self.cluster,
            [load.redis_queue(name, url, namespace=place, **scaling) for name, place in places],
        )

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
        """CPU and memory of the operator with most of them, calls of all to the API server and to Redis."""
        self._calls.read()
        seen, used, scripts, began = len(self.calls), self._used(), self._scripts(), time.monotonic()
        time.sleep(seconds)
        cpu = max(now - before for now, before in zip(self._used(), used, strict=True))
        scripts = self._scripts() - scripts
        seconds = time.monotonic() - began
        self._calls.read()
        calls = self.calls[seen:]
        writes = Counter(call.resource for call in calls if call.writes)
        clients = [one for one in self.client.client_list() if one["name"] == CLIENT_NAME]
        return {
            "cpu_percent": 100 * cpu / seconds,
            "resident_mib": max(map(memory_mib, self._pids)),
            "peak_mib": max(memory_mib(pid, "VmHWM") for pid in self._pids),
            "reads_per_second": sum(not call.writes for call in calls) / seconds,
            "writes_per_second": sum(writes.values()) / seconds,
            "redis_connections": len(clients),
            "redis_sleepers": sum("b" in one["flags"] for one in clients),
            "redis_calls_per_second": scripts / seconds,
        } | {f"writes to {resource}": count for resource, count in writes.items()}

    def cpu_seconds(self) -> float:
        """What the operator has used of its core since it began; of several the one with most."""
        return max(self._used())

    def _used(self) -> list[float]:
        return list(map(cpu_seconds, self._pids))

    def _scripts(self) -> int:
        """Scripts, blocking pops, questions to a connection: the operator's calls, and nobody else's here."""
        names = ("evalsha", "blmove", "hello")
        stats = self.client.info("commandstats")
        return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in names)


def _serving(namespace: str) -> tuple[str, ...]:
    """The arguments of an operator for one namespace; none of one for all."""
    return (f"--watch-namespaces={namespace}", f"--lease-name=operator-{namespace}") if namespace else ()


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
