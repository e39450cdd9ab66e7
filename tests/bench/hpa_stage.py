"""Where the operator and the HorizontalPodAutoscaler take turns: one API server, one Valkey, a core for each.

No kubelet and no other controllers: a Deployment gets its number of replicas and no pods. The metric is how
long the list of a queue is, by the smallest server that can tell it (`programs/external_metrics`).
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections import Counter
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import redis
from tests.bench import fleet_load as load
from tests.bench.calls import Calls
from tests.bench.contestants import PROGRAMS
from tests.bench.usage import cpu_seconds, memory_mib, pin
from tests.support.api_server import ApiServer
from tests.support.certificates import make_certificates
from tests.support.controllers import AUTOSCALER, Controllers
from tests.support.environments import go_program
from tests.support.external_metrics import register
from tests.support.operator_process import Cluster, OperatorProcess

from redis_message_queue.keys import QueueKeys
from redisqueue_operator.observe.redis.settings import CLIENT_NAME
from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

FAST = (
    "--horizontal-pod-autoscaler-sync-period=1s",
    "--concurrent-horizontal-pod-autoscaler-syncs=50",
    "--kube-api-qps=2000",
    "--kube-api-burst=4000",
)


@dataclass(frozen=True)
class Side:
    """Who scales. `flags` are those of kube-controller-manager; None: the operator."""

    name: str
    look_seconds: float
    """A message comes at any moment of so long a time."""
    flags: tuple[str, ...] | None
    redis_client: str = "external-metrics"
    redis_commands: tuple[str, ...] = ("llen",)


OURS = Side("RedisQueue", 2.0, None, CLIENT_NAME, ("evalsha", "blmove", "hello"))
AS_IT_COMES = Side("HPA, every 15 s", 15.0, ())
TUNED = Side("HPA, every 1 s", 1.0, FAST)
SIDES = (OURS, AS_IT_COMES, TUNED)


class Stage:
    """Everything that both sides share, on `with`."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._folder = folder
        self._server = ApiServer(binaries, audit=True)
        self._redis = EmbeddedRedis()
        self._stack = ExitStack()
        self.cluster = Cluster(self._server)

    def __enter__(self) -> Stage:
        program = go_program("bench-external-metrics", PROGRAMS / "external_metrics")
        with self._stack:
            self._stack.enter_context(self._server)
            self._stack.enter_context(self._redis)
            self.cluster.install()
            self.client = self._stack.enter_context(redis.Redis.from_url(self._redis.url))
            self._metrics = self._stack.enter_context(self._external_metrics(program))
            self.calls = self._stack.enter_context(closing(Calls(self._server.audit_log)))
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def _external_metrics(self, program: Path) -> Iterator[int]:
        """Its process."""
        keys = make_certificates(self._folder)
        address, pending = self._redis.url.removeprefix("redis://").partition("/")[0], QueueKeys("%s").pending
        command = [program, address, pending, keys.server, keys.server_key]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                register(self.cluster, int(process.stdout.readline()))
                yield process.pid
            finally:
                process.kill()

    @contextlib.contextmanager
    def running(self, side: Side) -> Iterator[Running]:
        """That side alone, from its start to its end."""
        log = self._folder / "side.log"
        with ExitStack() as stack:
            if side.flags is None:
                operator = stack.enter_context(OperatorProcess(self._server, log))
                assert operator.process is not None
                processes = {"operator": operator.process.pid}
            else:
                manager = Controllers(self._server, log, *side.flags, names=(AUTOSCALER,))
                pid = stack.enter_context(manager).pid
                processes = {"kube-controller-manager": pid, "external-metrics": self._metrics}
            for pid in processes.values():
                pin(pid)
            yield Running(self, side, processes, self._server.pid("kube-apiserver"))

    def create(self, side: Side, names: Sequence[str]) -> None:
        """Queues with 20 workers at most that go to zero as soon as they may."""
        if side.flags is None:
            load.create(self.cluster, [load.redis_queue(name, self._redis.url) for name in names])
            return
        deployments = [deployment(name) for name in names]
        load.create(self.cluster, deployments)
        load.create(self.cluster, deployments, "replace", "--subresource=status")
        load.create(self.cluster, [autoscaler(name) for name in names])

    def push(self, names: Sequence[str], messages: int) -> float:
        """As `fleet_load.push`, with calls counted from then on."""
        self.calls.forget()
        return load.push(self.client, names, messages)

    def empty(self, names: Sequence[str]) -> None:
        """As `fleet_load.empty`."""
        load.empty(self.client, names)

    def traffic(self, names: Sequence[str]) -> contextlib.AbstractContextManager[None]:
        """As `fleet_load.traffic`."""
        return load.traffic(self._redis.url, names)

    def scaled(self, names: Sequence[str], replicas: int, since: float = 0) -> dict[str, float]:
        """Wait until each was scaled to that number; when, by name."""
        at: dict[str, float] = {}
        wanted = {*names}

        def all_were(_: object) -> bool:
            for call in self.calls.scales(since):
                if call.replicas == replicas and call.name.removesuffix("-worker") in wanted:
                    at.setdefault(call.name.removesuffix("-worker"), call.at)
            return len(at) == len(names)

        self.calls.until(all_were, f"{replicas} workers for {len(names)} queues", 180)
        return at

    def redis_use(self, side: Side) -> tuple[int, int]:
        """Connections of a side to Redis, and its calls so far."""
        stats = self.client.info("commandstats")
        calls = sum(stats.get(f"cmdstat_{one}", {"calls": 0})["calls"] for one in side.redis_commands)
        return sum(one["name"] == side.redis_client for one in self.client.client_list()), calls


@dataclass(frozen=True)
class Running:
    """A side at work."""

    stage: Stage
    side: Side
    processes: Mapping[str, int]
    api_server: int

    def cpu_seconds(self) -> float:
        """Of all its processes."""
        return sum(map(cpu_seconds, self.processes.values()))

    def settle(self, names: Sequence[str]) -> None:
        """Wait until it knows all these queues and writes nothing any more."""
        if self.side.flags is not None:
            self.stage.calls.until(
                lambda calls: {one.name for one in calls if one.resource == "deployments/scale"} >= {*names},
                "each is looked at",
            )
        self.stage.calls.quiet(5)

    def measure(self, seconds: float) -> dict[str, Any]:
        """CPU, memory, calls to the API server, connections and calls to Redis in that time."""
        stage = self.stage
        stage.calls.forget()
        cpu, server, began = self.cpu_seconds(), cpu_seconds(self.api_server), time.monotonic()
        _, asked = stage.redis_use(self.side)
        time.sleep(seconds)
        connections, asked_then = stage.redis_use(self.side)
        cpu, server = self.cpu_seconds() - cpu, cpu_seconds(self.api_server) - server
        seconds = time.monotonic() - began
        stage.calls.read()
        writes = Counter(call.resource for call in stage.calls.all if call.writes)
        return {
            "cpu_percent": 100 * cpu / seconds,
            "api_server_cpu_percent": 100 * server / seconds,
            "memory_mib": {name: memory_mib(pid) for name, pid in self.processes.items()},
            "reads_per_second": sum(not call.writes for call in stage.calls.all) / seconds,
            "writes_per_second": writes.total() / seconds,
            "writes": dict(writes),
            "redis_connections": connections,
            "redis_calls_per_second": (asked_then - asked) / seconds,
        }


def deployment(name: str) -> dict[str, Any]:
    """One that has a worker, as its status says too: an autoscaler wakes only what it put to sleep itself."""
    labels = {"queue": name}
    container = {"name": "worker", "image": "example.org/worker:1"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
        "status": {"replicas": 1},
    }


def autoscaler(name: str) -> dict[str, Any]:
    """A HorizontalPodAutoscaler that goes to zero, and waits for nothing where it has a choice."""

    def at_once(kind: str, value: int) -> dict[str, Any]:
        policy = {"type": kind, "value": value, "periodSeconds": 1}
        return {"stabilizationWindowSeconds": 0, "policies": [policy]}

    metric = {"name": "messages", "selector": {"matchLabels": {"queue": name}}}
    target = {"type": "AverageValue", "averageValue": str(load.MESSAGES_PER_WORKER)}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": 0,
            "maxReplicas": load.MOST_WORKERS,
            "metrics": [{"type": "External", "external": {"metric": metric, "target": target}}],
            "behavior": {"scaleUp": at_once("Pods", 100), "scaleDown": at_once("Percent", 100)},
        },
    }
