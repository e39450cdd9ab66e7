"""Publishing from within a handler, over one connection pool for the whole process."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from redis_message_queue import RedisMessageQueue

if TYPE_CHECKING:
    from redis_message_queue.connection import ConnectionSettings
    from redisqueue_worker.settings import Settings


_MOST_QUEUES = 256
# Beyond those of the handlers: a wait, a renewal.
_FEW_MORE = 2


class Publisher:
    """Publishes to any queue of the Redis that the worker's own queue is on. Threads may share it."""

    def __init__(self, connection: ConnectionSettings, queue: str, key_separator: str) -> None:
        self.queue = queue
        self._connection = connection
        self._key_separator = key_separator
        self._lock = threading.Lock()
        self._client: Any = None
        # Bounded: a handler may publish to a queue for each of its users.
        self._queue = lru_cache(_MOST_QUEUES)(self._open)

    def publish(self, payload: str | dict[str, Any], *, queue: str | None = None, **options: Any) -> bool:
        """Enqueue `payload` on `queue` (default: the worker's own). See `Context.publish`."""
        return self._queue(queue or self.queue).publish(payload, **options)

    def _open(self, name: str) -> RedisMessageQueue:
        with self._lock:
            self._client = self._client or self._connection.connect()
        return RedisMessageQueue(
            name, client=self._client, deduplication=False, key_separator=self._key_separator
        )


def pool_problem(settings: Settings) -> str | None:
    """Names a Redis URL that allows fewer connections than a process has handlers, which may all publish."""
    at_once = 1 if settings.slots == "processes" else settings.concurrency
    most = settings.connection.max_connections
    if most >= at_once + _FEW_MORE:
        return None
    return (
        f"REDISQUEUE_REDIS_URL (--redis-url): max_connections={most} is too few for {at_once} handlers that"
        f" may publish at once: leave it out, or give {at_once + _FEW_MORE} or more"
    )
