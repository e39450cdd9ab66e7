"""Where the operator is measured: a real API server, an embedded Valkey, the operator on one core.

No kubelet and no controllers: a Deployment gets its number of replicas and no pods. Whatever the operator
asks of the API server is read from that server's own audit log, whose times are when an answer was complete.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import threading
import time
import tracemalloc
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import redis
from tests.support.api_server import ApiServer
from tests.support.operator_process import Cluster, OperatorProcess

from redis_message_queue.keys import QueueKeys
from redisqueue_operator.observe.cache import PODS, Store
from redisqueue_operator.observe.redis.settings import CLIENT_NAME
from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

READS = ("get", "list", "watch")
TICKS = os.sysconf("SC_CLK_TCK")
AT_ONCE = 200


class Failed(Exception):
    """What was waited for did not happen; the text says what."""


@dataclass(frozen=True)
class Call:
    """One request of the operator that was answered. `at` in seconds since the epoch."""

    at: float
    verb: str
    resource: str
    name: str
    replicas: int | None = None

    @property
    def writes(self) -> bool:
        return self.verb not in READS


class Stage:
    """Everything that runs, on `with`."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._server = ApiServer(binaries, audit=True)
        self._redis = EmbeddedRedis()
        self._operator = OperatorProcess(self._server, folder / "operator.log")
        self._stack = ExitStack()
        self._lines: Any = None
        self.cluster = Cluster(self._server)
        self.calls: list[Call] = []

    def __enter__(self) -> Stage:
        with self._stack:
            self._stack.enter_context(self._server)
            self._stack.enter_context(self._redis)
            self.cluster.install()
            self.client = self._stack.enter_context(redis.Redis.from_url(self._redis.url))
            self._stack.enter_context(self._operator)
            self._lines = self._stack.enter_context(self._server.audit_log.open())
            assert self._operator.process is not None
            self.pid = self._operator.process.pid
            _pin(self.pid)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def create(self, names: Sequence[str], **scaling: Any) -> None:
        """RedisQueues that have 20 workers at most and go to sleep as soon as they may."""
        down = {"idleSeconds": 0, "stabilizationSeconds": 0, "minRunSeconds": 0}
        for start in range(0, len(names), AT_ONCE):
            items = [
                {
                    "apiVersion": "redisqueue.dev/v1alpha1",
                    "kind": "RedisQueue",
                    "metadata": {"name": name, "namespace": "default"},
                    "spec": {
                        "redis": {"url": self._redis.url},
                        "worker": {"handler": "app:handle"},
                        "scaling": {"maxReplicas": 20, "backlogPerSlot": 5, "scaleDown": down, **scaling},
                    },
                }
                for name in names[start : start + AT_ONCE]
            ]
            text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
            self.cluster.run("create", "-f", "-", stdin=text)

    def add_pods(self, names: Sequence[str], each: int) -> int:
        """Running worker pods of these queues, and how many changes a watch was told."""
        self.cluster.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}})
        for name in names:
            items = [_pod(name, number) for number in range(each)]
            text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
            self.cluster.run("create", "-f", "-", stdin=text)
            self.cluster.run("replace", "--subresource=status", "-f", "-", stdin=text)
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
        """So many messages into each queue; when the first was sent."""
        pipeline = self.client.pipeline(transaction=False)
        for name in names:
            pipeline.lpush(QueueKeys(name).pending, *(f"message {number}" for number in range(messages)))
        at = time.time()
        pipeline.execute()
        return at

    def empty(self, names: Sequence[str]) -> None:
        """Take all that waits, as workers would."""
        self.client.delete(*(QueueKeys(name).pending for name in names))

    def read(self) -> None:
        """Take in what the audit log has by now."""
        while line := self._lines.readline():
            if not line.endswith("\n"):
                self._lines.seek(self._lines.tell() - len(line.encode()))
                return
            if call := _call(json.loads(line)):
                self.calls.append(call)

    def until(self, look: Callable[[list[Call]], bool], what: str, seconds: float = 120.0) -> None:
        """Read on until the calls so far are as wanted. Raises Failed."""
        deadline = time.monotonic() + seconds
        while not look(self.calls):
            if time.monotonic() > deadline or self._operator.ended:
                raise Failed(f"not within {seconds:g} s: {what}")
            time.sleep(0.02)
            self.read()

    def quiet(self, for_seconds: float) -> None:
        """Wait until nothing was written for so long, the Lease aside."""
        since = time.time()
        self.until(
            lambda calls: time.time() - max([since, *(c.at for c in calls if c.writes)]) > for_seconds,
            f"no writes for {for_seconds:g} s",
        )

    def scales(self, since: float) -> list[Call]:
        """The writes to /scale from then on."""
        return [call for call in self.calls if call.resource == "deployments/scale" and call.at >= since]

    @contextlib.contextmanager
    def traffic(self, names: Sequence[str]) -> Iterator[None]:
        """Every second each queue gets a message and loses one to a claim; one to four wait in each."""
        over = threading.Event()

        def flow() -> None:
            with redis.Redis.from_url(self._redis.url) as client:
                for turn in range(1_000_000):
                    started = time.monotonic()
                    pipeline = client.pipeline(transaction=False)
                    for name in names:
                        keys = QueueKeys(name)
                        pipeline.lpush(keys.pending, "message")
                        pipeline.incr(keys.lease_token_counter)
                        if turn >= 2:
                            pipeline.rpop(keys.pending)
                    pipeline.execute()
                    if over.wait(max(0.0, started + random.uniform(0.9, 1.1) - time.monotonic())):
                        return

        thread = threading.Thread(target=flow)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def measure(self, seconds: float) -> dict[str, float]:
        """What the operator takes: CPU, memory, calls to the API server, connections and calls to Redis."""
        self.read()
        seen, cpu, scripts, began = len(self.calls), self.cpu_seconds(), self._scripts(), time.monotonic()
        time.sleep(seconds)
        cpu, scripts = self.cpu_seconds() - cpu, self._scripts() - scripts
        seconds = time.monotonic() - began
        self.read()
        calls = self.calls[seen:]
        writes = Counter(call.resource for call in calls if call.writes)
        clients = [one for one in self.client.client_list() if one["name"] == CLIENT_NAME]
        return {
            "cpu_percent": 100 * cpu / seconds,
            "resident_mib": self._resident("VmRSS"),
            "peak_mib": self._resident("VmHWM"),
            "reads_per_second": sum(not call.writes for call in calls) / seconds,
            "writes_per_second": sum(writes.values()) / seconds,
            "redis_connections": len(clients),
            "redis_sleepers": sum("b" in one["flags"] for one in clients),
            "redis_calls_per_second": scripts / seconds,
        } | {f"writes to {resource}": count for resource, count in writes.items()}

    def cpu_seconds(self) -> float:
        """What the operator has used of its core since it began."""
        with open(f"/proc/{self.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def _resident(self, field: str) -> float:
        with open(f"/proc/{self.pid}/status") as status:
            return next(int(line.split()[1]) / 1024 for line in status if line.startswith(field))

    def _scripts(self) -> int:
        """Scripts, blocking pops, questions to a connection: the operator's calls, and nobody else's here."""
        names = ("evalsha", "blmove", "hello")
        stats = self.client.info("commandstats")
        return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in names)


def _call(event: dict[str, Any]) -> Call | None:
    """An audit event as a call of the operator; None for anybody else's, and for the Lease."""
    reference = event.get("objectRef") or {}
    if event["userAgent"].startswith(("kubectl", "kube-apiserver")) or reference.get("resource") == "leases":
        return None
    subresource = reference.get("subresource")
    return Call(
        at=datetime.fromisoformat(event["stageTimestamp"]).timestamp(),
        verb=event["verb"],
        resource=reference.get("resource", "") + (f"/{subresource}" if subresource else ""),
        name=reference.get("name", ""),
        replicas=((event.get("requestObject") or {}).get("spec") or {}).get("replicas"),
    )


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


def _pin(pid: int) -> None:
    """Keep a process on one core, where there are two and the system can do it."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) > 1:
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(thread), {cores[-1]})
