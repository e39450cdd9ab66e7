"""Tests of one's own with a frozen clock: no wait hangs, none ends before its time, no lease is given up."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import redis
from tests.support import queues
from tests.support.frozen_clock import freeze
from tests.support.waiting import PATIENCE_SECONDS

from redis_message_queue import QueueBackpressureError, RetryBudgetExhaustedError
from redis_message_queue.consumer import Consumer
from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.faces import Face

KEYS = QueueKeys("{jobs}")
CLOCK = time.CLOCK_MONOTONIC


@contextmanager
def patched() -> Iterator[None]:
    """As a test does by hand: the clock stands where it is."""
    stands = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: stands)
        yield


FREEZERS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "freezegun": lambda: freeze("2026-01-01"),
    "by hand": patched,
}


@pytest.fixture(params=FREEZERS)
def frozen(request: pytest.FixtureRequest) -> Callable[[], AbstractContextManager[object]]:
    return FREEZERS[request.param]


@contextmanager
def lasting(least: float, most: float = PATIENCE_SECONDS) -> Iterator[None]:
    """By the real clock; the upper bound only tells a wait from a hang."""
    began = time.clock_gettime(CLOCK)
    yield
    assert least <= time.clock_gettime(CLOCK) - began < most


async def pass_time(seconds: float) -> None:
    """Work of a handler that takes its time whatever the clock says, and blocks no event loop."""
    await asyncio.to_thread(time.sleep, seconds)


def polling(face: Face) -> Any:
    """A client that can wait for nothing: its socket timeout is too short for a blocking call."""
    return face.client(socket_timeout=1.5)


@pytest.mark.parametrize("client", [lambda face: face.client(), polling], ids=["waiting", "polling"])
async def test_an_empty_queue_is_waited_for_as_long_as_ever(face: Face, frozen: Any, client: Any) -> None:
    gateway = face.gateway(redis_client=client(face), message_wait_interval_seconds=1)
    queue = face.queue(gateway=gateway)
    with frozen(), lasting(0.9):
        async with face.process(queue) as payload:
            assert payload is None


@pytest.mark.one_node  # a cluster's client connects when it is made
async def test_a_call_is_repeated_until_its_budget_is_spent(face: Face, frozen: Any) -> None:
    away = type(face.client()).from_url("redis://127.0.0.1:1", retry=face.retry(0))
    gateway = face.gateway(redis_client=away, retry_budget_seconds=1)
    with frozen(), lasting(0.9), pytest.raises(RetryBudgetExhaustedError):
        await face.call(gateway.publish_message, KEYS.pending, "x", "mark")


async def test_room_is_waited_for(face: Face, frozen: Any) -> None:
    queue = face.queue(
        max_pending_length=1, pending_overload_policy="block", pending_overload_block_timeout_seconds=0.5
    )
    with frozen():
        await face.call(queue.publish, "a")
        with lasting(0.45), pytest.raises(QueueBackpressureError, match=r"stayed at .* for 0\.5 s"):
            await face.call(queue.publish, "b")


async def test_a_handler_keeps_its_lease(face: Face, frozen: Any) -> None:
    told: list[str] = []
    queue = face.queue(
        visibility_timeout_seconds=3,
        heartbeat_interval_seconds=0.2,
        on_event=face.callback(lambda event: told.append(str(event.operation))),
    )
    await face.call(queue.publish, "x")
    with frozen():
        async with face.process(queue) as payload:
            assert payload == b"x"
            await pass_time(3.5)
            while told.count("lease_renew") < 3:  # a keeper that hangs is found by the test's own time
                await pass_time(0.05)
    assert told.count("ack") == 1  # a renewal on its way may be told of after it


async def test_a_drain_ends_when_its_time_is_over(face: Face, frozen: Any) -> None:
    queue = face.queue(gateway=face.gateway(message_wait_interval_seconds=3))
    inside = threading.Event()

    async def claim() -> None:
        inside.set()
        async with face.process(queue):
            pass

    with frozen():
        if face.name == "sync":
            other = threading.Thread(target=lambda: asyncio.run(claim()))
            other.start()
            waits: Any = asyncio.to_thread(other.join)
        else:
            waits = asyncio.create_task(claim())
        await asyncio.to_thread(inside.wait)
        with lasting(0):
            await face.call(queue.drain, 0.3)
        await waits
    assert await face.call(queue.drain, 5)


async def test_a_redrive_keeps_its_pace(face: Face, frozen: Any) -> None:
    client = face.server.admin()
    client.rpush(KEYS.dead_letter, *(f"letter {number}" for number in range(1000)))
    queue = face.queue()
    with frozen(), lasting(0.5):
        done = await face.call(queue.redrive, per_second=1000)
    assert done.moved == 1000
    client.close()


async def test_a_consumer_waits_its_time(face: Face, frozen: Any) -> None:
    consumer = face.consumer(KEYS.name)
    with frozen(), lasting(1.1):
        assert not await face.call(consumer.wait, 1.2)


@pytest.mark.parametrize(
    "frozen",
    [*FREEZERS.values(), lambda: freeze("1970-01-02")],
    ids=[*FREEZERS, "in the past"],
)
def test_a_keeper_goes_on_and_tells_of_no_loss(
    redis_client: redis.Redis, redis_url: str, keep: Any, frozen: Any
) -> None:
    lost: list[object] = []
    renewed: list[int] = []
    keeper = keep(lambda: redis.Redis.from_url(redis_url))
    leases = keeper.queue(
        KEYS.name,
        visibility_timeout_seconds=3,
        interval_seconds=0.25,
        on_lost=lambda *loss: lost.append(loss),
        on_renewed=renewed.append,
    )
    queues.publish(redis_client, KEYS, "x")
    consumer = Consumer(redis_client, KEYS.name, visibility_timeout_seconds=3)
    (claim,) = consumer.claim(1).claims
    leases.add(claim)
    with frozen():
        time.sleep(3.5)
        assert leases.remaining_seconds(claim) > 0
        assert keeper.overdue_seconds < 3
        leases.remove(claim)
        leases.add(claim, claimed_at=time.monotonic())
        assert 0 < leases.remaining_seconds(claim) <= 3
    time.sleep(0.5)
    assert keeper.close()
    assert lost == []
    assert len(renewed) >= 4
    assert consumer.renew([claim]) == (True,)
