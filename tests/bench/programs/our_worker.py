"""Our whole worker in this process: `redisqueue-worker run`, with slots and handlers as the options say."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
import uuid
from functools import cached_property
from typing import TYPE_CHECKING, Any

import peer_tasks
from measure import PAYLOAD

from redis_message_queue import envelope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from measure import Meter

PENDING = "bench::pending"
# Half of the mean duration of a slow handler, in ms; here because the worker imports handlers by name.
_half_ms = [0]


class Threads:
    """Sync handlers on threads."""

    handler, slow_handler = "peer_tasks:handle", "our_worker:wait_and_handle"

    def __init__(self, url: str, meter: Meter, amount: float) -> None:
        self.url = url
        self.options: Mapping[str, Any] = {}

    @cached_property
    def client(self) -> Any:
        """Who enqueues. A worker that starts does not: it imports redis-py in its own way."""
        import redis

        return redis.Redis.from_url(self.url)

    def send(self, payload: str) -> None:
        """Enqueue, as a producer of any version does."""
        self.client.lpush(PENDING, envelope.encode(payload))

    def fill(self, count: int) -> None:
        """Enqueue many."""
        payload = "x" * self.options.get("payload_bytes", len(PAYLOAD))
        for start in range(0, count, 1000):
            self.client.lpush(PENDING, *(envelope.encode(payload) for _ in range(min(1000, count - start))))

    def work(self) -> None:
        """Run the worker as its command does."""
        from redisqueue_worker import cli

        _half_ms[0] = self.options.get("handler_ms", 0) // 2
        settings = {
            "handler": self.slow_handler if _half_ms[0] else self.handler,
            "queue": "bench",
            "redis-url": self.url,
            "concurrency": self.options.get("slots", 16),
            "http-port": 0,
            "run-dir": tempfile.mkdtemp(),
            "worker-id": uuid.uuid4().hex,
            "log-level": "ERROR",
        }
        cli.main(["run", *(f"--{name}={value}" for name, value in settings.items())])


class Tasks(Threads):
    """Async handlers on an event loop."""

    handler, slow_handler = "our_worker:handle", "our_worker:wait_and_handle_async"


def _duration_seconds() -> float:
    return random.randint(_half_ms[0], 3 * _half_ms[0]) / 1000


def wait_and_handle(payload: str) -> None:
    """Take a while for one payload."""
    time.sleep(_duration_seconds())
    peer_tasks.handle(payload)


async def handle(payload: str) -> None:
    """Hand one payload to the contestant."""
    peer_tasks.handle(payload)


async def wait_and_handle_async(payload: str) -> None:
    """Take a while for one payload."""
    await asyncio.sleep(_duration_seconds())
    peer_tasks.handle(payload)
