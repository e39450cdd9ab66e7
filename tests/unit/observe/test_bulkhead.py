"""A few slots for work at many places: those that are slow leave the rest their part."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.waiting import until

from redis_message_queue.connection import ConnectionSettings
from redisqueue_operator.observe.redis.bulkhead import SLOW_FOR_SECONDS, Bulkhead, server_at

if TYPE_CHECKING:
    from redisqueue_operator.observe.redis.bulkhead import Hold

TOTAL, EACH, SLOW_SECONDS = 8, 4, 1.0


class Clock:
    """Stands still until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def bulkhead(clock: Clock) -> Bulkhead[str]:
    return Bulkhead(total=TOTAL, each=EACH, slow_seconds=SLOW_SECONDS, clock=clock)


async def fill(slots: Bulkhead[str], places: str) -> list[Hold[str]]:
    """As many holds at each place, in turn, as there is room for."""
    return [await slots.take(place) for _ in range(EACH) for place in places if slots.has_room(place)]


STEPS = st.lists(
    st.tuples(st.sampled_from(["take", "give", "wait"]), st.integers(0, 5), st.floats(0.0, 3.0)), max_size=60
)


@given(STEPS)
async def test_slow_places_have_half_of_the_slots_and_no_place_more_than_its_share(
    steps: list[tuple[str, int, float]],
) -> None:
    clock = Clock()
    slots = bulkhead(clock)
    held: list[Hold[str]] = []
    for action, number, seconds in steps:
        place = f"place-{number}"
        clock.now += seconds if action == "wait" else 0.0
        if action == "give" and held:
            slots.give(held.pop(number % len(held)))
        if action == "take":
            slow = sum(slots.is_slow(hold.place) for hold in held)
            mine = sum(hold.place == place for hold in held)
            may = len(held) < TOTAL and mine < EACH and not (slots.is_slow(place) and slow >= TOTAL // 2)
            assert slots.has_room(place) == may
            if may:
                held.append(await slots.take(place))
        assert slots.held == len(held) <= TOTAL


async def test_any_number_of_places_that_stalled_lately_leaves_half_of_the_slots_to_others() -> None:
    clock = Clock()
    slots = bulkhead(clock)
    first = await fill(slots, "abcd")
    assert not slots.has_room("well"), "nobody can know at once"
    clock.now += 1.1
    for hold in first:
        slots.give(hold)
    again = await fill(slots, "abcd")
    assert len(again) == TOTAL // 2
    assert slots.has_room("well")
    clock.now += SLOW_FOR_SECONDS - 0.1
    assert slots.is_slow("a"), "it is so long since it took its time"
    for hold in again:
        slots.give(hold)


async def test_a_place_that_is_quick_again_has_its_share_again() -> None:
    clock = Clock()
    slots = bulkhead(clock)
    for seconds, slow in ((1.1, True), (0.1, False)):
        hold = await slots.take("a")
        clock.now += seconds
        slots.give(hold)
        assert slots.is_slow("a") is slow
    slow = await slots.take("a")
    clock.now += 1.1
    assert slots.is_slow("a"), "while it takes its time"
    slots.give(slow)
    clock.now += SLOW_FOR_SECONDS + 0.1
    assert not slots.is_slow("a"), "that was long ago"


async def test_who_came_first_is_first_among_those_that_there_is_room_for() -> None:
    slots = bulkhead(Clock())
    a, b = [await slots.take("a") for _ in range(EACH)], [await slots.take("b") for _ in range(EACH)]
    order: list[str] = []

    async def wait(name: str, place: str) -> None:
        await slots.take(place)
        order.append(name)

    tasks = [asyncio.create_task(wait(name, name[0])) for name in ("b1", "a1", "c1", "a2")]
    await asyncio.sleep(0)
    for hold, served in ((a[0], "a1"), (b[0], "b1"), (b[1], "c1"), (a[1], "a2")):
        slots.give(hold)
        await until(lambda served=served: order[-1:] == [served], f"a slot for {served}")
    await asyncio.gather(*tasks)


async def test_who_is_cancelled_keeps_no_slot() -> None:
    slots = bulkhead(Clock())
    holds = [await slots.take("a") for _ in range(EACH)]
    waiting, next_one = (asyncio.create_task(slots.take("a")) for _ in range(2))
    await asyncio.sleep(0)
    slots.give(holds[0])  # to the one that waits, who is cancelled before it knows
    waiting.cancel()
    await next_one
    assert waiting.cancelled()
    assert slots.held == EACH
    with pytest.raises(TimeoutError):
        async with slots.slot("a", within_seconds=0.01):
            raise AssertionError("there is none")
    assert slots.held == EACH


async def test_a_slow_place_keeps_nobody_waiting() -> None:
    clock = Clock()
    slots = bulkhead(clock)
    holds = [await slots.take("a") for _ in range(EACH)]
    clock.now += 1.1
    with pytest.raises(TimeoutError, match="a is slow"):
        async with slots.slot("a", within_seconds=3600):
            raise AssertionError("there is none")
    slots.give(holds[0])
    async with slots.slot("a", within_seconds=0):
        assert slots.held == EACH


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"url": "redis://a:1/0"}, {"url": "redis://user:word@a:1/7"}, True),
        ({"url": "redis://a:1/0"}, {"url": "redis://a:2/0"}, False),
        ({"url": "unix:///run/a/redis.sock"}, {"url": "unix:///run/b/redis.sock"}, False),
        (
            {"url": "redis://a:1/0", "host_domain": "x.svc"},
            {"url": "redis://a:1/0", "host_domain": "y.svc"},
            False,
        ),
    ],
)
def test_a_server_is_one_for_all_logins_and_databases(
    one: dict[str, str], other: dict[str, str], *, same: bool
) -> None:
    found = [server_at(ConnectionSettings(**each)) for each in (one, other)]  # type: ignore[arg-type]
    assert (found[0] == found[1]) is same
