"""The producer's end of a trace: enqueueing in a span of its own, which goes along with the message."""

from __future__ import annotations

import inspect
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

from redis_message_queue.envelope import PayloadLimits
from redis_message_queue.payload import is_several, written
from redisqueue_worker.headers import stamp
from redisqueue_worker.tracing import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from redis_message_queue import RedisMessageQueue
    from redis_message_queue.asyncio import RedisMessageQueue as AsyncRedisMessageQueue

    Q = TypeVar("Q", RedisMessageQueue, AsyncRedisMessageQueue)


def traced_producer(queue: Q) -> Q:
    """What is used as `queue` is, with each `enqueue` and `enqueue_many` in a producer span.

    The span is a child of the current one. Its trace and the time go along with each message that is a JSON
    object (a dict, a dataclass, a pydantic model, a Struct), as `stamp` does it; texts, bytes and lists go as
    they are. The worker goes on with the trace. `publish` is the queue's own: what is stamped is unlike any
    other message, and no content would be known again. Without opentelemetry-api messages get the time alone.

    Args:
        queue: of either face. It is left as it was.
    """
    is_async = inspect.iscoroutinefunction(queue.enqueue)
    return cast("Q", (_AsyncProducer if is_async else _Producer)(queue))


def _stamped(payload: object) -> object:
    """With the time and the trace, where there is room for both. Raises as `enqueue` does."""
    if isinstance(payload, (str, bytes, bytearray, memoryview)):
        return payload
    content = payload if isinstance(payload, dict) else json.loads(written(payload, PayloadLimits()))
    return stamp(content) if isinstance(content, dict) else payload


def _list_of(payloads: Iterable[object]) -> list[object]:
    """Raises TypeError for a single one, whose letters or keys are no payloads."""
    if not is_several(payloads):
        raise TypeError(f"'payloads' must be an iterable of payloads, got {type(payloads).__name__}")
    return [*payloads]


class _Traced:
    """A queue, and how its calls are put into spans."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    @contextmanager
    def _span(self, count: int | None = None) -> Iterator[Any]:
        """A span, or None without OpenTelemetry; `count` of the messages of a batch."""
        try:
            from opentelemetry import trace  # noqa: PLC0415  (optional)
        except ImportError:
            yield None
            return
        name = self._queue.key.name
        attributes: dict[str, str | int] = {
            "messaging.system": SYSTEM,
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": name,
        }
        if count is not None:
            attributes["messaging.batch.message_count"] = count
        tracer = trace.get_tracer("redisqueue_worker")
        with tracer.start_as_current_span(
            f"send {name}", kind=trace.SpanKind.PRODUCER, attributes=attributes, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except BaseException as error:
                span.set_attribute("error.type", type(error).__qualname__)
                span.set_status(trace.Status(trace.StatusCode.ERROR, type(error).__qualname__))
                raise


def _told(span: Any, receipt: Any) -> Any:
    """The receipt, told to its span: of a duplicate the message that is there already, where it is known."""
    if span is not None:
        message_id = receipt.message_id if receipt.enqueued else receipt.first_id
        if message_id is not None:
            span.set_attribute("messaging.message.id", message_id)
        if not receipt.enqueued:
            span.set_attribute("redisqueue.duplicate", True)
    return receipt


class _Producer(_Traced):
    def enqueue(self, payload: object, **options: Any) -> Any:
        with self._span() as span:
            return _told(span, self._queue.enqueue(_stamped(payload), **options))

    def enqueue_many(self, payloads: Iterable[object], **options: Any) -> Any:
        many = _list_of(payloads)
        with self._span(len(many)):
            return self._queue.enqueue_many([*map(_stamped, many)], **options)


class _AsyncProducer(_Traced):
    async def enqueue(self, payload: object, **options: Any) -> Any:
        with self._span() as span:
            return _told(span, await self._queue.enqueue(_stamped(payload), **options))

    async def enqueue_many(self, payloads: Iterable[object], **options: Any) -> Any:
        many = _list_of(payloads)
        with self._span(len(many)):
            return await self._queue.enqueue_many([*map(_stamped, many)], **options)
