"""`deliver_batch`: what becomes of each of several messages that are handled together."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from redisqueue_worker import BatchContext, DeadLetter, Registry, Retry
from redisqueue_worker.exceptions import InvalidPayload
from redisqueue_worker.retry_policy import HandlerTimeout
from redisqueue_worker.testing import deliver_batch, deliver_batch_async

if TYPE_CHECKING:
    from collections.abc import Iterator

shop = Registry()
calls: list[list[int]] = []


@dataclass
class Item:
    id: int
    do: str = ""


def end(items: list[Item], context: BatchContext) -> list[Any]:
    calls.append([item.id for item in items])
    if any(item.do == "raise" for item in items):
        raise ValueError("poison")
    context.enqueue(f"{len(items)} are handled")
    context.contexts[0].enqueue("the first", queue="first")
    return [Retry(7) if item.do == "retry" else item.id * 10 for item in items]


@shop.batch("sync", max_size=4)
def sync(items: list[Item], context: BatchContext) -> list[Any]:
    return end(items, context)


@shop.batch("async", max_size=4)
async def asynchronous(items: list[Item], context: BatchContext) -> list[Any]:
    await asyncio.sleep(0)
    return end(items, context)


@shop.batch("slow", timeout_seconds=0.05)
async def slow(items: list[Item]) -> None:
    await asyncio.sleep(600)


@shop.batch("blocked", timeout_seconds=0.05)
def blocked(items: list[Item]) -> None:
    gate.wait()


@shop("plain")
def plain(item: Item) -> None: ...


gate = threading.Event()


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    calls.clear()
    gate.clear()
    yield
    gate.set()


def test_each_has_a_delivery_of_its_own(kind: str) -> None:
    told = deliver_batch(
        shop,
        [Item(1), {"id": 2, "do": "retry"}, {"id": "three"}, Item(4)],
        type=kind,
        message_id="m",
    )
    assert [one.state for one in told] == ["done", "retried", "dead", "done"]
    assert [one.value for one in told] == [10, None, None, 40]
    assert (told[1].delay_seconds, isinstance(told[1].exception, Retry)) == (7, True)
    assert isinstance(told[2].exception, InvalidPayload)
    assert calls == [[1, 2, 4]]
    assert [message.payload for message in told[3].enqueued] == ["3 are handled", "the first"]


def test_a_call_that_fails_is_cut(kind: str) -> None:
    told = deliver_batch(shop, [Item(1), Item(2, "raise"), Item(3), Item(4)], type=kind)
    assert [one.state for one in told] == ["done", "retried", "done", "done"]
    assert isinstance(told[1].exception, ValueError)
    assert told[0].exception is None
    assert calls == [[1, 2, 3, 4], [1, 2], [1], [2], [3, 4]]


def test_more_than_fit_are_several_batches_and_a_last_attempt_is_alone(kind: str) -> None:
    payloads = [Item(number) for number in range(6)]
    deliver_batch(shop, payloads, type=kind)
    assert calls == [[0, 1, 2, 3], [4, 5]]
    calls.clear()
    deliver_batch(shop, payloads[:3], type=kind, deliveries=3)
    assert calls == [[0], [1], [2]]


@pytest.mark.parametrize("kind", ["slow", "blocked"])
def test_a_call_that_overruns_is_timed_out(kind: str) -> None:
    told = deliver_batch(shop, [Item(1), Item(2)], type=kind, max_attempts=1)
    assert [one.state for one in told] == ["failed", "failed"]
    assert all(isinstance(one.exception, HandlerTimeout) for one in told)
    assert all(one.reason.startswith("timeout: ") for one in told)


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_in_an_event_loop(kind: str) -> None:
    told = await deliver_batch_async(shop, [Item(1), Item(2, "raise")], type=kind)
    assert [one.state for one in told] == ["done", "retried"]
    with pytest.raises(RuntimeError, match="await deliver_batch_async"):
        deliver_batch(shop, [Item(1)], type=kind)


def test_nothing_is_nothing() -> None:
    assert deliver_batch(shop, [], type="sync") == []


def test_a_handler_of_single_messages_is_refused() -> None:
    with pytest.raises(TypeError, match="has no @batch_handler for this message; use deliver"):
        deliver_batch(shop, [Item(1)], type="plain")


def test_a_decision_for_all_is_for_each() -> None:
    registry = Registry()

    @registry.batch("later")
    def later(items: list[Item]) -> None:
        calls.append([item.id for item in items])
        raise Retry(60)

    @registry.batch("never")
    def never(items: list[Item]) -> None:
        raise DeadLetter("no")

    told = deliver_batch(registry, [Item(1), Item(2)], type="later")
    assert [one.delay_seconds for one in told] == [60, 60]
    assert calls == [[1, 2]], "who says when to come again is asked once"
    assert [one.reason for one in deliver_batch(registry, [Item(1), Item(2)], type="never")] == ["no", "no"]
