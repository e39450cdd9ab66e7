"""What a producer sends along, and the spans that come of it."""

from __future__ import annotations

import json
import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace
from tests.support.spans import exporter

from redis_message_queue.connection import ConnectionSettings
from redisqueue_worker import Context, DeadLetter, Retry, stamp
from redisqueue_worker.context import Publisher
from redisqueue_worker.handlers import inspected
from redisqueue_worker.headers import headers_of
from redisqueue_worker.tracing import TracedHandler, traced

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans() -> InMemorySpanExporter:
    exporter().clear()
    return exporter()


def a_context(payload: str, delivery_count: int = 2) -> Context:
    return Context(
        id="m1",
        delivery_count=delivery_count,
        timeout_seconds=None,
        draining=threading.Event(),
        publisher=Publisher(ConnectionSettings(url="redis://localhost").connect, "jobs", "::"),
        payload=payload,
    )


def finished(spans: InMemorySpanExporter) -> Sequence[ReadableSpan]:
    return spans.get_finished_spans()


def test_a_stamp_tells_when_a_message_was_published() -> None:
    given = {"order": 7}
    stamped = stamp(given)
    assert given == {"order": 7}
    assert stamped.keys() == {"order", "enqueued_at"}
    for payload in (json.dumps(stamped), json.dumps(stamped).encode()):
        told = headers_of(payload)
        assert told.enqueued_at is not None
        assert timedelta(0) <= datetime.now(UTC) - told.enqueued_at < timedelta(seconds=10)
        assert not told.trace


@pytest.mark.parametrize(
    "payload",
    [
        "plain",
        b"\xff",
        '{"order": 7}',
        'x "enqueued_at"',
        '["enqueued_at"]',
        '{"enqueued_at": 7, "traceparent": 8}',
        '{"enqueued_at": "yesterday"}',
        '{"enqueued_at": "2026-01-02T03:04:05"}',
        "[" * 100_000 + '"traceparent"',
    ],
)
def test_what_is_not_said_is_not_known(payload: str | bytes) -> None:
    told = headers_of(payload)
    assert told.enqueued_at is None
    assert not told.trace


def test_without_opentelemetry_there_are_no_traces_and_no_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = inspected(lambda payload: payload, "x")
    assert isinstance(traced(handler), TracedHandler)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.setitem(sys.modules, "opentelemetry.propagate", None)
    assert traced(handler) is handler
    assert stamp({}).keys() == {"enqueued_at"}


def test_a_stamped_message_continues_its_producers_trace(spans: InMemorySpanExporter) -> None:
    with trace.get_tracer("producer").start_as_current_span("request") as request:
        payload = json.dumps(stamp({"order": 7}))
    handler = TracedHandler(inspected(lambda payload: payload, "x"))
    handler.call(payload, a_context(payload, delivery_count=1))
    _, wait, span = finished(spans)
    sent = request.get_span_context()
    assert [one.parent and one.parent.span_id for one in (wait, span)] == [sent.span_id] * 2
    assert [link.context.span_id for link in span.links] == [sent.span_id]
    assert (span.name, span.kind) == ("process jobs", trace.SpanKind.CONSUMER)
    attributes = dict(span.attributes or {})
    waited = attributes.pop("redisqueue.queue_wait_seconds")
    assert attributes == {
        "messaging.system": "redisqueue",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "jobs",
        "messaging.message.id": "m1",
        "redisqueue.delivery_count": 1,
    }
    assert (wait.name, wait.kind) == ("wait jobs", trace.SpanKind.INTERNAL)
    assert wait.start_time is not None
    assert wait.end_time is not None
    assert waited == pytest.approx((wait.end_time - wait.start_time) / 1e9)


def test_the_time_in_the_queue_is_told_of_the_first_delivery(spans: InMemorySpanExporter) -> None:
    with trace.get_tracer("producer").start_as_current_span("request"):
        payload = json.dumps(stamp({"order": 7}))
    TracedHandler(inspected(lambda payload: payload, "x")).call(payload, a_context(payload))
    assert [span.name for span in finished(spans)] == ["request", "process jobs"]


async def test_an_async_handlers_span_lasts_as_long_as_it_does(spans: InMemorySpanExporter) -> None:
    async def handle(payload: str) -> str:
        assert not finished(spans)
        return payload

    handler = TracedHandler(inspected(handle, "x"))
    assert await handler.call("p", a_context(json.dumps({"traceparent": PARENT}))) == "p"
    (span,) = finished(spans)
    assert span.parent is not None
    assert f"{span.parent.trace_id:032x}" in PARENT


@pytest.mark.parametrize(
    ("error", "status", "events"),
    [
        (RuntimeError("no"), trace.StatusCode.ERROR, ["exception"]),
        (Retry(5), trace.StatusCode.UNSET, ["Retry"]),
        (DeadLetter("no"), trace.StatusCode.UNSET, ["DeadLetter"]),
    ],
)
def test_only_failures_are_errors(
    spans: InMemorySpanExporter, error: Exception, status: trace.StatusCode, events: list[str]
) -> None:
    def handle(payload: str) -> None:
        raise error

    with pytest.raises(type(error)):
        TracedHandler(inspected(handle, "x")).call("p", a_context("p"))
    (span,) = finished(spans)
    assert span.status.status_code is status
    assert [event.name for event in span.events] == events
