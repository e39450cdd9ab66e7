"""What a handler may know and do about the message that it has in hand."""

from __future__ import annotations

import asyncio
import logging
import threading
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from redis_message_queue._clock import monotonic
from redisqueue_worker.exceptions import checked_seconds
from redisqueue_worker.headers import headers_of, tells_when
from redisqueue_worker.logs import STANDARD, free_names

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping
    from typing import Any

    from redis_message_queue import RedisMessageQueue
    from redis_message_queue.consumer import Claim
    from redis_message_queue.enqueue import Priority, Receipt
    from redisqueue_worker.headers import Headers
    from redisqueue_worker.metrics import Metrics
    from redisqueue_worker.settings import Settings


_MOST_QUEUES = 256
# Beyond those of the handlers: a wait, a renewal.
_FEW_MORE = 2


class Publishes(Protocol):
    """Where a context's messages go."""

    queue: str

    def publish(self, payload: str | dict[str, Any], *, queue: str | None = None, **options: Any) -> bool:
        """See `Context.publish`."""

    def enqueue(self, payload: object, *, queue: str | None = None, **options: Any) -> Receipt:
        """See `Context.enqueue`."""


class Publisher:
    """Publishes to any queue of the Redis that the worker's own queue is on. Threads may share it."""

    def __init__(self, connect: Callable[[], Any], queue: str, key_separator: str) -> None:
        self.queue = queue
        self._connect = connect
        self._key_separator = key_separator
        self._lock = threading.Lock()
        self._client: Any = None
        # Bounded: a handler may publish to a queue for each of its users.
        self._queue = lru_cache(_MOST_QUEUES)(self._open)

    def publish(self, payload: str | dict[str, Any], *, queue: str | None = None, **options: Any) -> bool:
        """Enqueue `payload` on `queue` (default: the worker's own). See `Context.publish`."""
        return self._queue(queue or self.queue).publish(payload, **options)

    def enqueue(self, payload: object, *, queue: str | None = None, **options: Any) -> Receipt:
        """Enqueue `payload` as handlers read it back. See `Context.enqueue`."""
        return self._queue(queue or self.queue).enqueue(payload, **options)

    def _open(self, name: str) -> RedisMessageQueue:
        from redis_message_queue import RedisMessageQueue  # noqa: PLC0415  (few handlers publish)

        with self._lock:
            self._client = self._client or self._connect()
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


_handler_log = logging.getLogger("handler")


class Context:
    """The optional second argument of a handler; safe to use from any thread.

    Attributes:
        id: the message's id; None for a message that was published without one.
        delivery_count: how often this message was handed out, this time included.
        task: for the worker: where an async handler runs.
        has_seen_cancellation: for the worker: `cancelled` was true when the handler asked.
        keeps_result: for the worker: whether to `keep` what the handler returns.
        result: for the worker: the text of what the handler returned, where results are kept.
    """

    def __init__(
        self,
        *,
        id: str | None,  # noqa: A002  (the handler's author reads `context.id`)
        delivery_count: int,
        timeout_seconds: float | None,
        draining: threading.Event,
        publisher: Publishes,
        payload: str | bytes,
        keeps_result: bool = False,
    ) -> None:
        self.id = id
        self.delivery_count = delivery_count
        self._payload = payload
        self._publisher = publisher
        self._draining = draining
        self._lease_lost = False
        self._cancelled = False
        self.has_seen_cancellation = False
        self.task: asyncio.Task[Any] | None = None
        self.keeps_result = keeps_result
        self.result = ""
        self._timeout_seconds = timeout_seconds
        self._deadline = None if timeout_seconds is None else monotonic() + timeout_seconds

    # What few handlers ask for is made when one does.

    @cached_property
    def _headers(self) -> Headers:
        return headers_of(self._payload)

    @property
    def enqueued_at(self) -> datetime | None:
        """When it was published (UTC or any zone); None unless its producer told, by `stamp()`."""
        return self._headers.enqueued_at

    @property
    def trace(self) -> dict[str, str]:
        """The W3C trace fields that its producer sent along, mostly none."""
        return self._headers.trace or {}

    @cached_property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose lines carry the message's id."""
        return MessageLogger(_handler_log, self.id, self.delivery_count)

    @property
    def deadline(self) -> datetime | None:
        """The moment (UTC) at which the handler is timed out; None without a handler timeout."""
        remaining = self.remaining_seconds
        return None if remaining is None else datetime.now(UTC) + timedelta(seconds=remaining)

    @property
    def remaining_seconds(self) -> float | None:
        """Seconds until the deadline, negative after it; None without a handler timeout."""
        deadline = self._deadline  # which another thread may set meanwhile
        return None if deadline is None else deadline - monotonic()

    @property
    def draining(self) -> bool:
        """Whether the worker is about to stop: a long handler may end early, as by `raise Retry(0)`."""
        return self._draining.is_set()

    @property
    def lease_lost(self) -> bool:
        """Whether the message belongs to somebody else by now, or may: then this outcome hardly counts.

        It may when no renewal came through for as long as a lease lasts.
        """
        return self._lease_lost

    @property
    def cancelled(self) -> bool:
        """Whether somebody has cancelled the message: a handler in a thread should look, and end.

        How it ends does not matter then: the message does not come again. An async handler is cancelled, and
        a process slot killed, so these hardly get to look.
        """
        if self._cancelled:
            self.has_seen_cancellation = True
        return self._cancelled

    def extend(self, seconds: float) -> None:
        """Move the deadline to at least `seconds` from now; it never comes nearer.

        The lease needs no such call: the worker renews it for as long as the handler runs.
        Without a handler timeout there is no deadline to move.

        Raises ValueError unless `seconds` is a number above zero, and at most 30 days.
        """
        seconds = checked_seconds("seconds", seconds)
        if not seconds > 0:
            raise ValueError(f"seconds: {seconds:g} must be above 0")
        if self._deadline is not None:
            self._deadline = max(self._deadline, monotonic() + seconds)

    @property
    def queue(self) -> str:
        """The name of the queue that the message came from."""
        return self._publisher.queue

    def publish(
        self,
        payload: str | dict[str, Any],
        *,
        queue: str | None = None,
        delay_seconds: float | None = None,
        deduplication_key: str | None = None,
        deduplication_seconds: int | None = None,
    ) -> bool:
        """Enqueue a message on `queue` of the same Redis (default: the queue that this message came from).

        It is there at once, whatever becomes of the message in hand; handled again, that publishes again,
        unless `deduplication_key` makes it a duplicate for `deduplication_seconds` (an hour): False then.
        Blocks for a round trip: an async handler uses `publish_async`.

        Raises TypeError or ValueError for a payload that cannot be stored, redis.RedisError when Redis
        does not take it.
        """
        return self._publisher.publish(
            payload,
            queue=queue,
            delay_seconds=delay_seconds,
            deduplication_key=deduplication_key,
            deduplication_seconds=deduplication_seconds,
        )

    async def publish_async(
        self,
        payload: str | dict[str, Any],
        *,
        queue: str | None = None,
        delay_seconds: float | None = None,
        deduplication_key: str | None = None,
        deduplication_seconds: int | None = None,
    ) -> bool:
        """As `publish`, without blocking the event loop."""
        return await asyncio.to_thread(
            self.publish,
            payload,
            queue=queue,
            delay_seconds=delay_seconds,
            deduplication_key=deduplication_key,
            deduplication_seconds=deduplication_seconds,
        )

    def enqueue(
        self,
        payload: object,
        *,
        queue: str | None = None,
        delay_seconds: float | None = None,
        at: datetime | None = None,
        deduplication_key: str | None = None,
        deduplication_seconds: int | None = None,
        at_front: bool = False,
        priority: Priority = "normal",
        limit_key: str | None = None,
        message_id: str | None = None,
    ) -> Receipt:
        """Enqueue whatever a handler can be given: see `RedisMessageQueue.enqueue`; `queue` as in `publish`.

        The receipt has the message's id; it is false for a duplicate, and tells which message holds the key.
        """
        return self._publisher.enqueue(
            payload,
            queue=queue,
            delay_seconds=delay_seconds,
            at=at,
            deduplication_key=deduplication_key,
            deduplication_seconds=deduplication_seconds,
            at_front=at_front,
            priority=priority,
            limit_key=limit_key,
            message_id=message_id,
        )

    async def enqueue_async(
        self,
        payload: object,
        *,
        queue: str | None = None,
        delay_seconds: float | None = None,
        at: datetime | None = None,
        deduplication_key: str | None = None,
        deduplication_seconds: int | None = None,
        at_front: bool = False,
        priority: Priority = "normal",
        limit_key: str | None = None,
        message_id: str | None = None,
    ) -> Receipt:
        """As `enqueue`, without blocking the event loop."""
        return await asyncio.to_thread(
            self.enqueue,
            payload,
            queue=queue,
            delay_seconds=delay_seconds,
            at=at,
            deduplication_key=deduplication_key,
            deduplication_seconds=deduplication_seconds,
            at_front=at_front,
            priority=priority,
            limit_key=limit_key,
            message_id=message_id,
        )

    def restart_clock(self) -> None:
        """Called by the worker when the handler begins: its time counts from now."""
        timeout = self._timeout_seconds
        self._deadline = None if timeout is None else monotonic() + timeout

    def limit(self, timeout_seconds: float | None) -> None:
        """Called by the worker when it knows what the handler may take; its time counts from now."""
        self._timeout_seconds = timeout_seconds
        self.restart_clock()

    def keep(self, value: object) -> None:
        """Called by the worker with what the handler returned."""
        if self.keeps_result:
            from redis_message_queue.results import completed  # noqa: PLC0415  (few workers keep results)

            self.result = completed(value)

    def mark_cancelled(self) -> None:
        """Called by the worker when somebody has cancelled the message."""
        self._cancelled = True

    def mark_lease_lost(self) -> None:
        """Called by the worker when somebody else holds the lease, or may."""
        self._lease_lost = True


class MessageLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger that adds the message's id and delivery count to each of its lines."""

    def __init__(self, logger: logging.Logger, message_id: str | None, delivery_count: int) -> None:
        super().__init__(logger, {"message_id": message_id, "delivery_count": delivery_count})

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Merge what the caller says in `extra`, which the base class would throw away.

        A name that a log record has already is no reason to fail the message: it gets an underscore.
        """
        ours = self.extra or {}
        theirs = free_names(kwargs.get("extra") or {}, {*STANDARD, *ours})
        return msg, {**kwargs, "extra": {**theirs, **ours}}


class Contexts:
    """Makes the contexts of one process's messages."""

    def __init__(
        self,
        timeout_seconds: float | None,
        publisher: Publisher,
        metrics: Metrics,
        *,
        keeps_results: bool = False,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._keeps_results = keeps_results
        self._publisher = publisher
        self._metrics = metrics

    def of(self, claim: Claim, draining: threading.Event) -> Context:
        """The context of a message that was claimed just now."""
        if claim.delivery_count == 1 and tells_when(claim.payload):  # a retry's wait is mostly the backoff
            self._count_wait(claim)
        return Context(
            id=claim.id,
            delivery_count=claim.delivery_count,
            timeout_seconds=self._timeout_seconds,
            draining=draining,
            publisher=self._publisher,
            payload=claim.payload,
            keeps_result=self._keeps_results,
        )

    def _count_wait(self, claim: Claim) -> None:
        if enqueued_at := headers_of(claim.payload).enqueued_at:
            waited = datetime.now(UTC) - enqueued_at
            self._metrics.queue_wait_seconds.observe(max(0.0, waited.total_seconds()))
