"""The smallest RedisQueue, parsed, with whatever a test adds to its spec."""

from __future__ import annotations

from typing import Any

from redisqueue_operator.api import RedisQueue, parse


def redis_queue(name: str = "emails", *, generation: int = 1, **spec: Any) -> RedisQueue:
    """A parsed RedisQueue; keyword arguments replace parts of its spec, as in YAML."""
    return parse(manifest(name, generation=generation, **spec))


def manifest(name: str = "emails", *, generation: int = 1, **spec: Any) -> dict[str, Any]:
    """The same, as it comes from the cluster."""
    return {
        "apiVersion": "redisqueue.dev/v1alpha1",
        "kind": "RedisQueue",
        "metadata": {"namespace": "default", "name": name, "uid": f"uid-{name}", "generation": generation},
        "spec": {"redis": {"url": "redis://redis:6379"}, "worker": {"handler": "tasks:handle"}, **spec},
    }
