"""Calls of handlers in a trace, where opentelemetry-api is installed.

The trace of a message is its producer's: the span of its enqueueing (`producer_tracing`), one for its time in
the queue, and one for each call of its handler, in the words of OpenTelemetry's conventions for messaging.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from redisqueue_worker.exceptions import DeadLetter, Retry
from redisqueue_worker.logs import formatted, text_of, type_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from redisqueue_worker.batch_handlers import BatchContext
    from redisqueue_worker.context import Context
    from redisqueue_worker.handlers import Handler

SYSTEM = "redisqueue"


def traced(handler: Handler) -> Handler:
    """`handler`, with each call in a span of its own."""
    try:
        return TracedHandler(handler)
    except ImportError:
        return handler


class TracedHandler:
    """Calls a handler in a consumer span, child of the producer's where the message carries its trace."""

    is_of_many = False

    def __init__(self, handler: Handler) -> None:
        from opentelemetry import propagate, trace  # noqa: PLC0415  (optional)

        self._handler = handler
        self._extract = propagate.extract
        self._trace = trace
        self._tracer = trace.get_tracer("redisqueue_worker")
        self.is_async = handler.is_async
        self.type = handler.type
        self.by_type = handler.by_type

    def chosen_for(self, payload: str | bytes) -> Handler:
        """As the handler's own, with each call in a span too."""
        chosen = self._handler.chosen_for(payload)
        if chosen is self._handler:
            return self
        return TracedBatch(chosen) if hasattr(chosen, "call_all") else TracedHandler(chosen)

    def call(self, payload: str | bytes, context: Context) -> Any:
        """As the handler's own."""
        if self.is_async:
            return self._call_async(payload, context)
        with self._span(context):
            return self._handler.call(payload, context)

    async def _call_async(self, payload: str | bytes, context: Context) -> Any:
        with self._span(context):
            return await self._handler.call(payload, context)

    def _messages(self, context: Any) -> Sequence[Context]:
        """Those that a call is about."""
        return (context,)

    def _links(self, messages: Sequence[Context]) -> list[Any]:
        """To where each message was sent."""
        spans = (self._trace.get_current_span(self._extract(one.trace)) for one in messages if one.trace)
        found = (span.get_span_context() for span in spans)
        return [self._trace.Link(one) for one in found if one.is_valid]

    def _tell_wait(self, message: Context, began: datetime) -> None:
        """A span from when a message was sent, by its producer's clock, until its handler is first called."""
        if message.enqueued_at is None or not message.trace or message.delivery_count > 1:
            return
        span = self._tracer.start_span(
            f"wait {message.queue}",
            context=self._extract(message.trace),
            start_time=_nanoseconds(min(message.enqueued_at, began)),
            attributes={
                "messaging.system": SYSTEM,
                "messaging.destination.name": message.queue,
                "messaging.message.id": message.id or "",
            },
        )
        span.end(_nanoseconds(began))

    @contextmanager
    def _span(self, context: Context) -> Iterator[None]:
        began, messages = datetime.now(UTC), self._messages(context)
        for message in messages:
            self._tell_wait(message, began)
        attributes: dict[str, str | int | float] = {
            "messaging.system": SYSTEM,
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": context.queue,
            "redisqueue.delivery_count": context.delivery_count,
        }
        if context.id:
            attributes["messaging.message.id"] = context.id
        if self.is_of_many:
            attributes["messaging.batch.message_count"] = len(messages)
        if context.enqueued_at is not None:
            waited = (began - context.enqueued_at).total_seconds()
            attributes["redisqueue.queue_wait_seconds"] = max(0.0, waited)
        with self._tracer.start_as_current_span(
            f"process {context.queue}",
            context=self._extract(context.trace),
            kind=self._trace.SpanKind.CONSUMER,
            attributes=attributes,
            links=self._links(messages),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except (Retry, DeadLetter) as decision:  # what the handler wants is no error
                span.add_event(type_name(decision))
                raise
            except BaseException as error:
                # Not `record_exception`, which asks the exception for its text and lets it raise.
                span.add_event(
                    "exception",
                    {
                        "exception.type": type_name(error),
                        "exception.message": text_of(error),
                        "exception.stacktrace": formatted(error),
                    },
                )
                span.set_attribute("error.type", type_name(error))
                span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, type_name(error)))
                raise


class TracedBatch(TracedHandler):
    """Calls a batch handler in one span, which is linked to the producer's of each message."""

    is_of_many = True

    def __init__(self, handler: Any) -> None:
        super().__init__(handler)
        self.read = handler.read

    def call_all(self, values: list[Any], context: BatchContext) -> Any:
        """As the handler's own."""
        many: Any = self._handler
        if self.is_async:
            return self._call_all_async(many, values, context)
        with self._span(context):
            return many.call_all(values, context)

    async def _call_all_async(self, many: Any, values: list[Any], context: BatchContext) -> Any:
        with self._span(context):
            return await many.call_all(values, context)

    def _messages(self, context: Any) -> Sequence[Context]:
        found: Sequence[Context] = getattr(context, "contexts", ())
        return found


def _nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000) * 1000
