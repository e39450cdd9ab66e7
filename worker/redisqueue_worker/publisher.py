"""Publishing from within a handler, over one connection pool for the whole process."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from redis_message_queue import RedisMessageQueue

if TYPE_CHECKING:
    from redis_message_queue.connection import ConnectionSettings


class Publisher:
    """Publishes to any queue of the Redis that the worker's own queue is on. Threads may share it."""

    def __init__(self, connection: ConnectionSettings, queue: str, key_separator: str) -> None:
        self.queue = queue
        self._connection = connection
        self._key_separator = key_separator
        self._lock = threading.Lock()
        self._client: Any = None
        self._queues: dict[str, RedisMessageQueue] = {}

    def publish(
        self, payload: str | dict[str, Any], *, queue: str | None = None, delay_seconds: float | None = None
    ) -> None:
        """Enqueue `payload` on `queue` (default: the worker's own). See `Context.publish`."""
        self._queue(queue or self.queue).publish(payload, delay_seconds=delay_seconds)

    def _queue(self, name: str) -> RedisMessageQueue:
        with self._lock:
            if name not in self._queues:
                self._client = self._client or self._connection.connect()
                self._queues[name] = RedisMessageQueue(
                    name, client=self._client, deduplication=False, key_separator=self._key_separator
                )
            return self._queues[name]
