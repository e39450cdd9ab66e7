"""A queue that rests is never overslept: whatever is lost, comes late or in another order."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from redisqueue_operator.decide import waking
from redisqueue_operator.decide.waking import LONGEST_PAUSE_SECONDS, LOOK_SECONDS, Waking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHANGED = 0
MOST_ARMINGS, MOST_UNDER_WAY = 3, 3


@dataclass(frozen=True)
class World:
    """One queue, a server that tells of it over a connection that may break, and looks over another one.

    What is told and the replies to armings (by number) are under way for as long as they like, in the order
    of the connection. A look takes what the server has at one moment between its begin and its end.
    """

    waking: Waking = field(default=Waking())
    waits: bool = False
    remembers: bool = False
    asked: int = 0
    registered: int = 0
    armings: int = 0
    under_way: tuple[int, ...] = ()
    looking: bool = False
    saw: bool | None = None

    def overslept(self) -> bool:
        """Whether a message waits, the queue rests, and nobody will tell of it."""
        return self.waits and self.waking.rests and CHANGED not in self.under_way


def written(world: World, *, waits: bool) -> World:
    told = (CHANGED,) if world.remembers else ()
    return replace(world, waits=waits, remembers=False, under_way=world.under_way + told)


def arrived(world: World) -> World:
    first, world = world.under_way[0], replace(world, under_way=world.under_way[1:])
    if first == CHANGED:
        return replace(world, registered=0, waking=waking.told(world.waking)) if world.registered else world
    return replace(world, waking=waking.armed(world.waking, first)) if first == world.registered else world


def looked(world: World) -> World:
    after = waking.looked(world.waking, sleeps=not world.saw, now=0.0, due_seconds=None, share=1.0)
    return replace(world, waking=replace(after, in_vain=0, arm_at=0.0), looking=False, saw=None)


def steps(world: World) -> Iterator[World]:
    """What may happen next."""
    yield written(world, waits=not world.waits)
    yield replace(
        world, waking=waking.lost(world.waking), remembers=False, asked=0, registered=0, under_way=()
    )
    if world.waking.arming is None and not world.asked and world.armings < MOST_ARMINGS:
        number = world.armings + 1
        yield replace(world, armings=number, asked=number, registered=number)
    if world.asked and len(world.under_way) < MOST_UNDER_WAY:
        yield replace(world, asked=0, remembers=True, under_way=(*world.under_way, world.asked))
    if world.under_way:
        yield arrived(world)
    if not world.looking:
        yield replace(world, looking=True, waking=waking.looking(world.waking))
    elif world.saw is None:
        yield replace(world, saw=world.waits)
    else:
        yield looked(world)


def first_overslept(start: World) -> World | None:
    """Look at every order of all that may happen; what goes wrong first."""
    seen, todo = {start}, [start]
    while todo:
        for world in steps(todo.pop()):
            if world.overslept():
                return world
            if world not in seen:
                seen.add(world)
                todo.append(world)
    assert len(seen) > 1000
    assert any(world.waking.rests for world in seen)
    return None


def test_in_no_order_of_events_is_a_message_overslept() -> None:
    assert first_overslept(World()) is None


def test_it_would_be_where_a_look_from_before_the_arming_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the test above can fail."""
    begun = waking.looking
    monkeypatch.setattr(waking, "looking", lambda state: replace(begun(state), before=MOST_ARMINGS))
    original = waking.armed
    monkeypatch.setattr(waking, "armed", lambda state, _: original(state, MOST_ARMINGS))
    assert first_overslept(World()) is not None


@pytest.mark.parametrize("due_seconds", [None, 0.0, 3.0])
def test_rest_ends_by_itself_and_when_a_delayed_message_is_due(due_seconds: float | None) -> None:
    queue = waking.looking(waking.armed(Waking(), 1))
    queue = waking.looked(queue, sleeps=True, now=5.0, due_seconds=due_seconds, share=1.0)
    ends = 5.0 + (LOOK_SECONDS if due_seconds is None else due_seconds)
    assert queue.rests
    assert waking.is_due(queue, ends)
    assert due_seconds == 0 or not waking.is_due(queue, ends - 0.1)


def rested() -> Waking:
    seen = waking.looking(waking.armed(Waking(), 1))
    return waking.looked(seen, sleeps=True, now=0.0, due_seconds=None, share=1.0)


def test_rest_needs_an_arming_and_then_a_look() -> None:
    assert rested().rests
    look_first = waking.armed(waking.looking(Waking()), 1)
    assert not waking.looked(look_first, sleeps=True, now=0.0, due_seconds=None, share=1.0).rests


@pytest.mark.parametrize("event", [waking.told, waking.lost])
def test_what_is_told_or_lost_is_looked_at_at_once(event: Callable[[Waking], Waking]) -> None:
    assert waking.is_due(event(rested()), now=0.0)


def test_a_queue_that_others_empty_is_armed_more_and_more_seldom_until_it_really_rests() -> None:
    queue, pauses = rested(), []
    for number in range(2, 12):
        queue = waking.looking(waking.told(queue))
        queue = waking.looked(queue, sleeps=True, now=0.0, due_seconds=None, share=1.0)
        pauses.append(queue.arm_at)
        queue = waking.looking(waking.armed(queue, number))
        queue = waking.looked(queue, sleeps=True, now=0.0, due_seconds=None, share=1.0)
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (0.25, LONGEST_PAUSE_SECONDS)
    assert (
        waking.looked(waking.looking(queue), sleeps=True, now=20.0, due_seconds=None, share=1.0).in_vain == 0
    )


def look(queue: Waking, *, sleeps: bool, due_seconds: float | None = None) -> Waking:
    return waking.looked(waking.looking(queue), sleeps=sleeps, now=0.0, due_seconds=due_seconds, share=1.0)


def test_a_server_is_silent_where_a_message_was_found_and_then_is_not_told_of_either() -> None:
    found = look(rested(), sleeps=False)
    assert not found.silent, "it may be on its way"
    assert look(found, sleeps=False).silent
    assert not look(waking.told(found), sleeps=False).silent
    assert not look(waking.lost(found), sleeps=False).silent
    assert not look(look(found, sleeps=True), sleeps=False).silent, "whoever took it may have been faster"


def test_nobody_tells_of_a_delayed_message_that_comes_due() -> None:
    waits = look(waking.armed(Waking(), 1), sleeps=True, due_seconds=1.0)
    assert waits.rests
    assert not look(look(waits, sleeps=False), sleeps=False).silent
