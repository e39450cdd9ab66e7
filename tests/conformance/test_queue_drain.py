"""Draining: it keeps to its time, tells what it does, and may be asked for from anywhere."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis
from tests.support.waiting import PATIENCE_SECONDS, until

from redis_message_queue import DrainFailedError, QueueBackpressureError

if TYPE_CHECKING:
    from tests.support.faces import Face


def told(events: list[Any]) -> list[str]:
    return [f"{event.operation}/{event.outcome}" for event in events]


async def lose_a_claim(face: Face, queue: Any) -> str:
    """Let one claim arrive and its reply be lost; the claim id."""
    gateway = queue._gateway
    execute = gateway._sender.execute

    def lost(client: Any, call: Any) -> Any:
        execute(client, call)
        raise OSError("reply lost")

    async def lost_async(client: Any, call: Any) -> Any:
        await execute(client, call)
        raise OSError("reply lost")

    gateway._sender.execute = lost if face.name == "sync" else lost_async
    with pytest.raises(OSError, match="reply lost"):
        async with face.process(queue):
            raise AssertionError("never runs")
    gateway._sender.execute = execute
    (claim_id,) = gateway._claiming.unanswered.waiting(queue.key.processing)
    return str(claim_id)


def hang(face: Face, queue: Any, free: threading.Event) -> None:
    """Make the reads of a recovery take until then."""
    gateway, original = queue._gateway, queue._gateway._sender.command

    async def slow_async(name: str, *args: Any) -> Any:
        assert await asyncio.to_thread(free.wait, PATIENCE_SECONDS), "it was waited for"
        return await original(name, *args)

    def slow(name: str, *args: Any) -> Any:
        assert free.wait(PATIENCE_SECONDS), "it was waited for"
        return original(name, *args)

    gateway._sender.command = slow if face.name == "sync" else slow_async


async def test_a_drain_tells_its_beginning_and_its_end(face: Face) -> None:
    events: list[Any] = []
    queue = face.queue(on_event=face.callback(events.append))
    assert await face.call(queue.drain, 5) is True
    assert await face.call(queue.drain) is True
    assert told(events) == ["drain/start", "drain/success", "drain/skipped"]
    assert [event.timeout_seconds for event in events] == [5, 5, None]
    assert [event.pending_claim_ids for event in events] == [()] * 3
    assert events[0].duration_ms is None
    assert events[1].duration_ms >= 0


async def test_a_drain_without_time_only_looks_and_says_what_is_left(face: Face) -> None:
    events: list[Any] = []
    queue = face.queue(gateway=face.gateway(), on_event=face.callback(events.append))
    await face.call(queue.publish, "x")
    claim_id = await lose_a_claim(face, queue)
    events.clear()
    assert await face.call(queue.drain, 0) is False
    assert queue.is_draining
    assert told(events) == ["drain/start", "drain/failure"]
    assert [event.pending_claim_ids for event in events] == [(claim_id,)] * 2
    failure = events[1].error
    assert (type(failure), failure.queue, failure.operation) == (DrainFailedError, "{jobs}", "drain")
    assert await face.call(queue.drain) is True
    assert told(events)[2:] == ["drain/start", "drain/success"]


async def test_a_slow_redis_does_not_stretch_a_drain(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue(gateway=face.gateway())
    await face.call(queue.publish, "x")
    await lose_a_claim(face, queue)
    free = threading.Event()
    hang(face, queue, free)
    assert await face.call(queue.drain, 0.1) is False
    free.set()
    del queue._gateway._sender.command

    # The recovery that was given up on may still be under way for a moment.
    await until(lambda: not queue._gateway._claiming.unanswered._recovering)
    assert await face.call(queue.drain, 5) is True
    assert redis_client.llen("{jobs}::pending") == 1


@pytest.mark.foreign_keys("another type stands under the name of one")
async def test_an_error_that_will_not_pass_is_raised_and_told(face: Face, redis_client: redis.Redis) -> None:
    events: list[Any] = []
    queue = face.queue(gateway=face.gateway(), on_event=face.callback(events.append))
    await face.call(queue.publish, "x")
    await lose_a_claim(face, queue)
    events.clear()
    for record in redis_client.scan_iter("{jobs}::processing:claim_result*"):
        redis_client.delete(record)
        redis_client.lpush(record, "alien")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        await face.call(queue.drain)
    assert told(events) == ["drain/start", "drain/failure"]
    assert isinstance(events[1].error, redis.ResponseError)


async def test_a_callback_that_drains_at_every_event_ends(face: Face) -> None:
    events: list[Any] = []

    def plain(event: Any) -> None:
        events.append(event)
        queue.drain()

    async def awaited(event: Any) -> None:
        events.append(event)
        await queue.drain()

    queue = face.queue(on_event=plain if face.name == "sync" else awaited)
    assert await asyncio.wait_for(face.call(queue.publish, "x"), PATIENCE_SECONDS) is True
    assert queue.is_drained
    assert told(events)[0] == "publish/success"
    assert "drain/success" in told(events)


async def test_a_publisher_that_waits_for_room_gives_up_when_its_queue_drains(face: Face) -> None:
    queue = face.queue(
        max_pending_length=1, pending_overload_policy="block", pending_overload_block_timeout_seconds=30
    )
    await face.call(queue.publish, "a")
    client = queue._gateway._client
    if face.name == "sync":
        publishing = asyncio.create_task(asyncio.to_thread(queue.publish, "b"))
    else:
        publishing = asyncio.create_task(queue.publish("b"))
    await until(lambda: queue._gate._callers or publishing.done())
    assert await face.call(queue.drain, 60) is True
    with pytest.raises(QueueBackpressureError, match="shutting down") as caught:
        await asyncio.wait_for(publishing, 60)
    assert (caught.value.queue, caught.value.operation) == ("{jobs}", "publish")
    assert queue._gateway._client is client


async def test_the_drain_of_one_queue_leaves_another_on_the_same_gateway_alone(face: Face) -> None:
    gateway = face.gateway(message_wait_interval_seconds=0)
    first, second = face.queue(gateway=gateway), face.queue("{other}", gateway=gateway)
    await face.call(second.publish, "x")
    await lose_a_claim(face, second)
    assert await face.call(first.drain) is True
    async with face.process(second) as payload:
        assert payload == b"x"


async def test_a_hook_of_a_gateway_of_ones_own_has_the_signature_of_old(face: Face) -> None:
    asked: list[Any] = []

    class Own(face.package.RedisGateway):  # type: ignore[name-defined, misc]
        def _drain_pending_claim_ids(self, processing_key: str, *, deadline_monotonic: float | None) -> Any:
            asked.append((processing_key, deadline_monotonic))
            return super()._drain_pending_claim_ids(processing_key, deadline_monotonic=deadline_monotonic)

    queue = face.queue(gateway=Own(redis_client=face.client()))
    assert await face.call(queue.drain) is True
    assert asked == [("{jobs}::processing", None)]


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 1e300, 10**30])
async def test_a_timeout_that_is_never_reached_is_none_at_all(face: Face, seconds: float) -> None:
    class Slow(face.package.RedisGateway):  # type: ignore[name-defined, misc]
        def _drain_pending_claim_ids(self, processing_key: str, *, deadline_monotonic: float | None) -> Any:
            assert deadline_monotonic is None
            time.sleep(0.1)
            return super()._drain_pending_claim_ids(processing_key, deadline_monotonic=deadline_monotonic)

    queue = face.queue(gateway=Slow(redis_client=face.client()))
    assert await face.call(queue.drain, seconds) is True
