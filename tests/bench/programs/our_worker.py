"""Our whole worker in this process: `redisqueue-worker run` with a handler that does nothing."""

from __future__ import annotations

import tempfile
import uuid

import peer_tasks
import redis
from measure import PAYLOAD, Meter

from redis_message_queue import envelope

PENDING = "bench::pending"


class Threads:
    """A sync handler on threads."""

    handler = "peer_tasks:handle"
    concurrency = 16

    def __init__(self, url: str, meter: Meter, amount: float) -> None:
        self.url = url
        self.client = redis.Redis.from_url(url)

    def send(self, payload: str) -> None:
        """Enqueue, as a producer of any version does."""
        self.client.lpush(PENDING, envelope.encode(payload))

    def fill(self, count: int) -> None:
        """Enqueue many."""
        for start in range(0, count, 1000):
            self.client.lpush(PENDING, *(envelope.encode(PAYLOAD) for _ in range(min(1000, count - start))))

    def work(self) -> None:
        """Run the worker as its command does."""
        from redisqueue_worker import cli

        settings = {
            "handler": self.handler,
            "queue": "bench",
            "redis-url": self.url,
            "concurrency": self.concurrency,
            "http-port": 0,
            "run-dir": tempfile.mkdtemp(),
            "worker-id": uuid.uuid4().hex,
            "log-level": "ERROR",
        }
        cli.main(["run", *(f"--{name}={value}" for name, value in settings.items())])


class OneThread(Threads):
    """One message at a time."""

    concurrency = 1


class Tasks(Threads):
    """An async handler on an event loop."""

    handler = "our_worker:handle"


async def handle(payload: str) -> None:
    """Hand one payload to the contestant."""
    peer_tasks.handle(payload)
