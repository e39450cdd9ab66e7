"""One trace from the producer's request to the handler, over both faces and two processes."""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
import redis
import redis.asyncio
from opentelemetry import trace
from tests.support.spans import exporter
from tests.support.worker_process import QUEUE, WorkerProcess, eventually

import redis_message_queue.asyncio
from redis_message_queue import RedisMessageQueue
from redis_message_queue.exceptions import PayloadTooLargeError
from redisqueue_worker import traced_producer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

# What the worker's own process tells goes to a file, a span a line.
HANDLER = """
import json
from pathlib import Path
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from redisqueue_worker import Registry

provider = TracerProvider()
written = ConsoleSpanExporter(
    out=(Path(__file__).parent / "spans").open("a", buffering=1),
    formatter=lambda span: json.dumps(json.loads(span.to_json())) + "\\n",
)
provider.add_span_processor(SimpleSpanProcessor(written))
trace.set_tracer_provider(provider)
kinds = Registry()

@kinds("one")
def handle(payload: dict):
    with trace.get_tracer("shop").start_as_current_span("charge"):
        pass

@kinds.batch("many", max_size=2, max_wait_seconds=30)
def handle_many(payloads: list[dict]):
    pass
"""


@dataclasses.dataclass
class Order:
    id: int
    type: str = "one"


@pytest.fixture(scope="module")
def worker(redis_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    folder: Path = tmp_path_factory.mktemp("tracing")
    (folder / "traced.py").write_text(HANDLER)
    process = WorkerProcess(folder, redis_server.url, "", concurrency=2)
    process.settings["handler"] = "traced:kinds"
    with process:
        yield process


@pytest.fixture(params=["sync", "asyncio"])
async def queue(request: pytest.FixtureRequest, redis_server: Any) -> AsyncIterator[Any]:
    """A traced producer of either face; what it answers may have to be awaited."""
    if request.param == "sync":
        with redis.Redis.from_url(redis_server.url) as client:
            yield traced_producer(RedisMessageQueue(QUEUE, client=client))
    else:
        async with redis.asyncio.Redis.from_url(redis_server.url) as other:
            yield traced_producer(redis_message_queue.asyncio.RedisMessageQueue(QUEUE, client=other))


async def settled(answer: Any) -> Any:
    return await answer if inspect.isawaitable(answer) else answer


def sent() -> list[ReadableSpan]:
    return list(exporter().get_finished_spans())


def spans_of(worker: WorkerProcess, trace_id: int, count: int) -> dict[str, Any]:
    """What the worker has told of a trace, by the names of the spans, once it is so much."""

    def found() -> list[Any]:
        told = [json.loads(line) for line in worker.noted("spans")]
        return [span for span in told if span["context"]["trace_id"] == f"0x{trace_id:032x}"]

    eventually(lambda: len(found()) >= count, f"{count} spans of the worker")
    return {span["name"]: span for span in found()}


@pytest.mark.parametrize("payload", [{"id": 7, "type": "one"}, Order(7)], ids=["dict", "dataclass"])
async def test_one_trace_from_the_request_to_the_handler(
    worker: WorkerProcess, queue: Any, payload: object
) -> None:
    exporter().clear()
    with trace.get_tracer("shop").start_as_current_span("POST /orders") as request:
        receipt = await settled(queue.enqueue(payload))
    (send, _) = sent()
    asked = request.get_span_context()
    assert (send.name, send.kind) == (f"send {QUEUE}", trace.SpanKind.PRODUCER)
    assert send.parent is not None
    assert send.parent.span_id == asked.span_id
    assert dict(send.attributes or {}) == {
        "messaging.system": "redisqueue",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": QUEUE,
        "messaging.message.id": receipt.message_id,
    }
    told = spans_of(worker, asked.trace_id, 3)
    wait, process, charge = (told[name] for name in (f"wait {QUEUE}", f"process {QUEUE}", "charge"))
    assert send.context is not None
    producer = f"0x{send.context.span_id:016x}"
    assert (wait["parent_id"], process["parent_id"]) == (producer, producer)
    assert charge["parent_id"] == process["context"]["span_id"]
    assert [link["context"]["span_id"] for link in process["links"]] == [producer]
    assert (wait["kind"], process["kind"]) == ("SpanKind.INTERNAL", "SpanKind.CONSUMER")
    assert process["attributes"]["messaging.message.id"] == receipt.message_id
    assert wait["end_time"] <= process["start_time"]


async def test_a_batch_is_linked_to_where_each_message_was_sent(worker: WorkerProcess, queue: Any) -> None:
    exporter().clear()
    await settled(queue.enqueue_many([{"type": "many", "n": 1}, {"type": "many", "n": 2}]))
    (send,) = sent()
    assert send.attributes is not None
    assert send.attributes["messaging.batch.message_count"] == 2
    assert send.context is not None
    told = spans_of(worker, send.context.trace_id, 2)
    assert told[f"wait {QUEUE}"]["parent_id"] == f"0x{send.context.span_id:016x}"

    def calls() -> list[Any]:
        spans = [json.loads(line) for line in worker.noted("spans")]
        mine = f"0x{send.context.span_id:016x}" if send.context else ""
        return [one for one in spans if [link["context"]["span_id"] for link in one["links"]] == [mine] * 2]

    (call,) = eventually(calls, "a call with two links")
    assert call["attributes"]["messaging.batch.message_count"] == 2


async def test_what_cannot_be_sent_is_an_error_of_its_span(redis_server: Any) -> None:
    exporter().clear()
    with redis.Redis.from_url(redis_server.url) as client:
        small = traced_producer(RedisMessageQueue(QUEUE, client=client, max_payload_bytes=10))
        with pytest.raises(PayloadTooLargeError):
            small.enqueue({"text": "much too long"})
    (span,) = sent()
    assert span.status.status_code is trace.StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "PayloadTooLargeError"


async def test_texts_go_as_they_are_and_the_rest_is_the_queues_own(redis_server: Any) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        plain = RedisMessageQueue("plain", client=client)
        producer = traced_producer(plain)
        producer.enqueue("a text")
        producer.enqueue([1, 2])
        assert producer.peek(2) == [b"a text", b"[1, 2]"]
        with pytest.raises(TypeError, match="payloads"):
            producer.enqueue_many("one text")
        producer.purge(target="pending")


async def test_a_duplicate_is_told_with_the_message_that_is_there(redis_server: Any) -> None:
    exporter().clear()
    with redis.Redis.from_url(redis_server.url) as client:
        producer = traced_producer(RedisMessageQueue("plain", client=client))
        first = producer.enqueue({"n": 1}, deduplication_key="order 1")
        assert not producer.enqueue({"n": 1}, deduplication_key="order 1")
        producer.purge(target="pending")
    new, again = (dict(span.attributes or {}) for span in sent())
    assert new["messaging.message.id"] == again["messaging.message.id"] == first.message_id
    assert (new.get("redisqueue.duplicate"), again.get("redisqueue.duplicate")) == (None, True)


async def test_without_opentelemetry_a_message_tells_its_time_alone(
    redis_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter().clear()
    for name in ("opentelemetry", "opentelemetry.propagate"):
        monkeypatch.setitem(sys.modules, name, None)
    with redis.Redis.from_url(redis_server.url) as client:
        producer = traced_producer(RedisMessageQueue("plain", client=client))
        assert producer.enqueue({"n": 1})
        (payload,) = producer.peek()
        producer.purge(target="pending")
    assert json.loads(payload).keys() == {"n", "enqueued_at"}
    assert sent() == []
