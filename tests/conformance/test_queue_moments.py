"""What comes at a bad moment: an interrupt in a callback, a call from within a call, a clock under test."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis
from tests.support.faces import AsyncFace

from redis_message_queue import EventDrivenInterruptHandler, QueueBackpressureError, RedisMessageQueue

if TYPE_CHECKING:
    from tests.support.faces import Face

BLOCKING = {"max_pending_length": 1, "pending_overload_policy": "block"}


def exiting_at(word: str, events: list[Any]) -> Any:
    """A callback that notes events, and is interrupted once at the first one called `word`."""
    left = [KeyboardInterrupt()]

    def callback(event: Any) -> None:
        events.append(event)
        if event.operation == word and left:
            raise left.pop()

    return callback


async def test_an_interrupt_in_a_callback_of_the_claim_loses_no_claim(
    face: Face, redis_client: redis.Redis
) -> None:
    events: list[Any] = []
    gateway = face.gateway(message_visibility_timeout_seconds=30, message_wait_interval_seconds=0)
    queue = face.queue(gateway=gateway, on_event=face.callback(exiting_at("claim_reclaim", events)))
    redis_client.lpush("{jobs}::processing", "lost")
    redis_client.zadd("{jobs}::processing:lease_deadlines", {"lost": 1})
    with pytest.raises(KeyboardInterrupt):
        async with face.process(queue):
            raise AssertionError("never runs")
    async with face.process(queue) as payload:
        assert payload == b"lost"
    assert [str(event.operation) for event in events] == ["claim_reclaim", "claim_reclaim", "claim", "ack"]
    assert events[1].claim_id is not None
    assert redis_client.get("{jobs}::processing:lease_token_counter") == b"1"


async def test_an_interrupt_while_a_recovered_claim_is_told_loses_it_neither(
    face: Face, redis_client: redis.Redis
) -> None:
    events: list[Any] = []
    gateway = face.gateway(message_wait_interval_seconds=0)
    queue = face.queue(gateway=gateway, on_event=face.callback(exiting_at("claim_reclaim", events)))
    await face.call(queue.publish, "x")
    async with face.process(queue):
        pass
    # A claim whose reply was lost, as the next process of the same gateway finds it.
    await face.call(queue.publish, "y")
    stored = redis_client.lmove("{jobs}::pending", "{jobs}::processing", "RIGHT", "LEFT")
    redis_client.hset("{jobs}::processing:claim_result_ids", "C", stored)
    redis_client.hset("{jobs}::processing:claim_result_backrefs", stored, "C")
    gateway._claiming.unanswered.add("{jobs}::pending", "{jobs}::processing", "C")
    with pytest.raises(KeyboardInterrupt):
        async with face.process(queue):
            raise AssertionError("never runs")
    async with face.process(queue) as payload:
        assert payload == b"y"
    assert not redis_client.exists("{jobs}::processing", "{jobs}::processing:claim_result_ids")


async def test_a_callback_may_publish_on_its_own_queue(face: Face, redis_client: redis.Redis) -> None:
    numbers = itertools.count()

    def plain(event: Any) -> None:
        if event.operation == "publish" and next(numbers) < 3:
            queue.publish("again")

    async def awaited(event: Any) -> None:
        if event.operation == "publish" and next(numbers) < 3:
            await queue.publish("again")

    queue = face.queue(deduplication=False, on_event=plain if face.name == "sync" else awaited)
    await asyncio.wait_for(face.call(queue.publish, "first"), 5)
    assert redis_client.llen("{jobs}::pending") == 4


async def test_an_interrupt_ends_the_wait_for_room(face: Face) -> None:
    event = threading.Event()
    client = face.client()
    await face.call(face.queue(client=client).publish, "a")
    queue = face.queue(
        client=client,
        interrupt=EventDrivenInterruptHandler(event),
        pending_overload_block_timeout_seconds=600,
        **BLOCKING,
    )
    threading.Timer(0.05, event.set).start()
    with pytest.raises(QueueBackpressureError, match="shutting down"):
        await face.call(queue.publish, "b")


class Server:
    """A client double whose list is always full, and whose clock moves by sleeping alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.slept: list[float] = []
        self.calls = 0
        monkeypatch.setattr(random, "random", lambda: 0.5)

    def eval(self, *args: Any) -> int:
        self.calls += 1
        return -1


async def test_the_waits_for_room_grow_to_a_tenth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users' own tests patch `time.monotonic`, `time.sleep` and `random.random`."""
    server = Server(monkeypatch)
    monkeypatch.setattr(time, "monotonic", lambda: sum(server.slept))
    monkeypatch.setattr(time, "sleep", server.slept.append)
    queue = RedisMessageQueue("q", client=server, pending_overload_block_timeout_seconds=0.5, **BLOCKING)  # type: ignore[arg-type]
    with pytest.raises(QueueBackpressureError, match="stayed at max_pending_length=1"):
        queue.publish("x")
    assert server.slept[:6] == pytest.approx([0.01, 0.02, 0.04, 0.05, 0.05, 0.05])
    assert sum(server.slept) == pytest.approx(0.5)
    assert server.calls == len(server.slept) + 1


async def test_no_time_to_wait_means_one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch)
    monkeypatch.setattr(time, "sleep", server.slept.append)
    queue = RedisMessageQueue("q", client=server, pending_overload_block_timeout_seconds=0, **BLOCKING)  # type: ignore[arg-type]
    with pytest.raises(QueueBackpressureError):
        queue.publish("x")
    assert (server.calls, server.slept) == (1, [])


async def test_every_failed_attempt_is_logged(face: Face, caplog: pytest.LogCaptureFixture) -> None:
    class Away:
        def eval(self, *args: Any) -> Any:
            raise redis.ConnectionError("gone")

    class AwayAsync:
        async def eval(self, *args: Any) -> Any:
            raise redis.ConnectionError("gone")

    gateway = face.gateway(
        redis_client=Away() if face.name == "sync" else AwayAsync(),
        retry_budget_seconds=1,
        retry_initial_delay_seconds=0.4,
    )
    with pytest.raises(redis.RedisError) as caught:
        await face.call(gateway.remove_message, "q", "x")
    levels = [record.levelname for record in caplog.records if record.name.endswith("._retry")]
    assert f"after {len(levels)} attempts" in str(caught.value)
    assert set(levels) == {"WARNING"}


@pytest.fixture
async def async_face(server: Any, redis_url: str) -> Any:
    face = AsyncFace(server)
    yield face
    await face.close()


async def test_a_cancelled_deduplication_callable_is_told(async_face: AsyncFace) -> None:
    events: list[Any] = []
    asked = asyncio.Event()

    async def endless(message: object) -> str:
        asked.set()
        return await asyncio.sleep(60, "k")

    queue = async_face.queue(get_deduplication_key=endless, on_event=async_face.callback(events.append))
    publishing = asyncio.create_task(queue.publish("x"))
    await asked.wait()
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    assert [(str(e.operation), str(e.outcome), e.exception_type) for e in events] == [
        ("publish", "failure", "CancelledError")
    ]
    assert await queue.drain(5) is True
