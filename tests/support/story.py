"""One RedisQueue on the cluster, its messages, and what its handler wrote down about them."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.support.cluster import Cluster, Manifest, wait_until

from redis_message_queue import RedisMessageQueue

if TYPE_CHECKING:
    import redis


class Entry(NamedTuple):
    """A start or an end of a handler; `at` in seconds since the epoch, by the machine's clock."""

    id: str
    pod: str
    at: float


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, mapping by mapping."""
    result = copy.deepcopy(dict(base))
    for name, value in changes.items():
        inner = result.get(name)
        result[name] = (
            merged(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
        )
    return result


@dataclass(frozen=True)
class Story:
    """The world of one story: a RedisQueue `name` in `namespace`, on the Redis at `redis_url`."""

    cluster: Cluster
    namespace: str
    name: str
    client: redis.Redis
    redis_url: str
    """How pods reach the Redis."""

    def manifest(self, **spec: Any) -> Manifest:
        """The RedisQueue: quick to scale down, one message at a time, plus what the story changes."""
        base = {
            "redis": {"url": self.redis_url},
            "worker": {
                "handler": "handler:handle",
                "source": {"configMapRef": {"name": "e2e-handler"}},
                "env": [
                    {"name": "RECORDS_URL", "value": self.redis_url},
                    {"name": "STORY", "value": self.name},
                ],
                "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
            },
            "drain": {"timeoutSeconds": 60},
            "scaling": {"scaleDown": {"idleSeconds": 2, "stabilizationSeconds": 3, "minRunSeconds": 0}},
        }
        return {
            "apiVersion": "redisqueue.dev/v1alpha1",
            "kind": "RedisQueue",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": merged(base, spec),
        }

    def apply(self, **spec: Any) -> None:
        self.cluster.apply(self.manifest(**spec))

    def publish(self, jobs: Iterable[Mapping[str, Any]]) -> None:
        queue = RedisMessageQueue(self.name, client=self.client)
        for job in jobs:
            assert queue.publish(dict(job))

    def starts(self) -> list[Entry]:
        return self._entries("starts")

    def ends(self) -> list[Entry]:
        return self._entries("ends")

    def _entries(self, kind: str) -> list[Entry]:
        return [Entry(*json.loads(line)) for line in self.client.lrange(f"e2e:{self.name}:{kind}", 0, -1)]

    def resource(self) -> Manifest:
        found = self.cluster.get("redisqueue", self.name, self.namespace)
        assert found is not None, f"RedisQueue {self.name} is gone"
        return found

    def replicas(self) -> int | None:
        """What the Deployment is asked for; None while there is none."""
        found = self.cluster.get("deployment", f"{self.name}-worker", self.namespace)
        return None if found is None else int(found["spec"]["replicas"])

    def pods(self) -> list[Manifest]:
        return self.cluster.list("pods", self.namespace, f"redisqueue.dev/queue={self.name}")

    def ready_workers(self) -> int:
        """Ready workers, as the status says."""
        return int(self.resource().get("status", {}).get("workers", {}).get("ready", 0))

    def decision(self) -> dict[str, Any]:
        """What was decided last, as the status says; empty where it says nothing."""
        return self.resource().get("status", {}).get("decision") or {}

    def condition(self, kind: str) -> tuple[str, str]:
        """Status and reason of a condition; ("", "") while it is not there."""
        for one in self.resource().get("status", {}).get("conditions", []):
            if one["type"] == kind:
                return one["status"], one["reason"]
        return "", ""

    def events(self) -> list[tuple[str, str]]:
        """(reason, message) of every Event about the RedisQueue or what was made for it."""
        return [
            (one.get("reason", ""), one.get("message", ""))
            for one in self.cluster.list("events", self.namespace)
            if f"{one['involvedObject'].get('name', '')}-".startswith(f"{self.name}-")
        ]

    def wait_for_ends(self, count: int, seconds: float) -> list[Entry]:
        """At least that many handlers have ended."""
        wait_until(
            lambda: self.client.llen(f"e2e:{self.name}:ends") >= count, seconds, f"{count} handlers ended"
        )
        return self.ends()

    def wait_for_starts(self, count: int, seconds: float) -> list[Entry]:
        """At least that many handlers have started."""
        wait_until(
            lambda: self.client.llen(f"e2e:{self.name}:starts") >= count, seconds, f"{count} handlers started"
        )
        return self.starts()

    def wait_for_zero(self, seconds: float) -> None:
        """The Deployment is asked for no worker, and no worker is left."""
        wait_until(lambda: self.replicas() == 0 and not self.pods(), seconds, "no worker left")

    def assert_each_once(self, ids: Iterable[str]) -> None:
        """Each id was started exactly once and ended exactly once, and nothing else was."""
        expected = Counter(ids)
        for kind, entries in (("start", self.starts()), ("end", self.ends())):
            seen = Counter(entry.id for entry in entries)
            assert not expected - seen, f"no {kind} of {sorted(expected - seen)[:10]}"
            assert not seen - expected, f"a second {kind} of {sorted(seen - expected)[:10]}"
