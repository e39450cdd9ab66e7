"""The three RedisQueues: threads with limits, tasks with priorities, processes with canaries and delays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.chaos.redis_pair import USER
from tests.chaos.sentinels import MASTER
from tests.support.story import merged

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tests.support.cluster import Manifest

SECRET, SOURCE, SERVICE = "redis-login", "chaos-handler", "redis"
HANDLER = Path(__file__).parent / "handler.py"


@dataclass(frozen=True)
class Kind:
    """One of the queues: what its RedisQueue says, and how its messages are enqueued."""

    name: str
    text: str
    per_second: float
    spec: dict[str, Any]
    options: Callable[[random.Random], dict[str, Any]]
    sentinel: bool = False
    """Is its master that of the Sentinels, in place of whatever one name leads to?"""


def _limited(draw: random.Random) -> dict[str, Any]:
    return {"limit_key": draw.choice(("ada", "bob", "cy"))}


def _prioritised(draw: random.Random) -> dict[str, Any]:
    return {"priority": draw.choice(("high", "normal", "normal", "low"))}


def _delayed(draw: random.Random) -> dict[str, Any]:
    return draw.choice(({}, {}, {"delay_seconds": 2.0}))


KINDS = (
    Kind(
        "sync",
        "threads; limits for the queue and for each tenant",
        4.0,
        {
            "queue": {"limits": {"maxInFlight": 10, "perKey": {"maxInFlight": 4}}},
            "worker": {"concurrency": 4},
            "scaling": {"minReplicas": 2},
        },
        _limited,
    ),
    Kind(
        "async",
        "tasks of one event loop; three priorities; Sentinels",
        4.0,
        {"worker": {"handler": "handler:handle_async", "concurrency": 8}},
        _prioritised,
        sentinel=True,
    ),
    Kind(
        "process",
        "a process for each slot; new templates are tried by a canary; some messages are delayed",
        2.0,
        {
            "worker": {"concurrency": 2, "env": [{"name": "REDISQUEUE_SLOTS", "value": "processes"}]},
            "rollout": {
                "strategy": "Versioned",
                "canaryPercent": 50,
                "holdSeconds": 3,
                "gate": {"minMessages": 3, "maxDeadLetters": 0},
            },
        },
        _delayed,
    ),
)


def source(namespace: str) -> Manifest:
    """The handlers, which need no image of their own."""
    metadata = {"namespace": namespace, "name": SOURCE}
    data = {HANDLER.name: HANDLER.read_text()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def login(namespace: str, password: str) -> Manifest:
    """The Secret with which workers and operator log in."""
    metadata = {"namespace": namespace, "name": SECRET}
    data = {"username": USER, "password": password}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}


def redis_of(kind: Kind, sentinels: list[str]) -> dict[str, Any]:
    """How its RedisQueue reaches Redis."""
    if kind.sentinel:
        named = {"masterName": MASTER, "addresses": sentinels}
        return {"url": f"redis://{MASTER}", "mode": "Sentinel", "sentinel": named}
    return {"url": f"redis://{SERVICE}:6379/0"}


def resource(
    kind: Kind, namespace: str, sentinels: list[str], books: Path, version: str, lease_seconds: int
) -> Manifest:
    """The RedisQueue; another `version` is another template of its pods."""
    env = [{"name": "BOOKS", "value": "/books"}, {"name": "VERSION", "value": version}]
    base = {
        "redis": {
            **redis_of(kind, sentinels),
            "auth": {"secretRef": {"name": SECRET, "usernameKey": "username"}},
        },
        "queue": {
            "visibilityTimeoutSeconds": lease_seconds,
            "maxDeliveryCount": 100,
        },
        "worker": {
            "handler": "handler:handle",
            "source": {"configMapRef": {"name": SOURCE}},
            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
            "template": {
                "spec": {
                    "volumes": [{"name": "books", "hostPath": {"path": str(books), "type": "Directory"}}],
                    "containers": [
                        {"name": "worker", "volumeMounts": [{"name": "books", "mountPath": "/books"}]}
                    ],
                }
            },
        },
        "drain": {"timeoutSeconds": 60},
        "scaling": {
            "minReplicas": 1,
            "maxReplicas": 3,
            "scaleDown": {"idleSeconds": 2, "stabilizationSeconds": 5, "minRunSeconds": 0},
        },
    }
    spec = merged(base, kind.spec)
    spec["worker"]["env"] = [*spec["worker"].get("env", ()), *env]
    return {
        "apiVersion": "redisqueue.dev/v1alpha1",
        "kind": "RedisQueue",
        "metadata": {"name": kind.name, "namespace": namespace},
        "spec": spec,
    }
