"""Timers and the one thread in which they fire."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import PATIENCE_SECONDS, eventually

from redis_message_queue._clock import monotonic
from redis_message_queue._timer import Timer, Timers

if TYPE_CHECKING:
    from collections.abc import Callable

NEVER = float("inf")


class Noted(Timer):
    """Notes in `fired` when it fires, then does `action`, which tells when to fire again."""

    def __init__(self, fired: list[object], name: object, action: Callable[[], float] = lambda: NEVER):
        self._fired = fired
        self._name = name
        self._action = action

    def fire(self) -> float:
        self._fired.append(self._name)
        return self._action()


@pytest.fixture
def fired() -> list[object]:
    """What has fired, in its order."""
    return []


@pytest.fixture
def timers() -> Timers:
    """Timers of the test's own, with a thread of their own."""
    return Timers()


def alone(timers: Timers) -> bool:
    """Whether the thread has ended."""
    return timers._thread is None


def test_they_fire_in_the_order_of_their_times_and_equal_ones_as_they_were_set(
    timers: Timers, fired: list[object]
) -> None:
    soon = monotonic() + 1
    kept = [Noted(fired, name) for name in ("c", "last", "a", "first", "b")]
    for timer, when in zip(kept, (soon, soon + 0.2, soon, soon - 0.2, soon), strict=True):
        timers.by(timer, when)
    eventually(lambda: len(fired) == 5)
    assert monotonic() >= soon + 0.2
    # Each hands the watch over first, so that those due at once may overtake each other by a little.
    assert (fired[0], sorted(map(str, fired[1:4])), fired[4]) == ("first", ["a", "b", "c"], "last")
    eventually(lambda: alone(timers))


def test_the_earlier_time_counts(timers: Timers, fired: list[object]) -> None:
    timer = Noted(fired, "it")
    timers.by(timer, monotonic() + 1000)
    timers.by(timer, monotonic() + 1)
    timers.by(timer, monotonic() + 1000)
    eventually(lambda: fired)
    eventually(lambda: alone(timers))
    assert fired == ["it"]


def test_one_that_was_cancelled_or_dropped_does_not_fire_nor_keep_the_thread(
    timers: Timers, fired: list[object]
) -> None:
    cancelled, dropped = Noted(fired, "cancelled"), Noted(fired, "dropped")
    for timer in (cancelled, dropped):
        timers.by(timer, monotonic() + 1)
    assert timers.cancel(cancelled)
    del dropped, timer
    eventually(lambda: alone(timers))
    assert fired == []


def test_it_fires_again_when_it_says_and_may_be_cancelled_meanwhile(
    timers: Timers, fired: list[object]
) -> None:
    timer = Noted(fired, "it", lambda: monotonic() + 0.01)
    timers.by(timer, 0.0)
    eventually(lambda: len(fired) > 3)
    assert timers.cancel(timer, PATIENCE_SECONDS)
    eventually(lambda: alone(timers))


def test_one_that_hangs_holds_up_no_other_and_is_waited_for(timers: Timers, fired: list[object]) -> None:
    free = threading.Event()

    def hang() -> float:
        free.wait(PATIENCE_SECONDS)
        return NEVER

    slow, quick = Noted(fired, "slow", hang), Noted(fired, "quick", lambda: monotonic() + 0.01)
    timers.by(slow, 0.0)
    timers.by(quick, monotonic() + 0.01)
    eventually(lambda: fired.count("quick") > 3)
    assert not timers.cancel(slow, 0.01)
    free.set()
    assert timers.cancel(slow, PATIENCE_SECONDS)
    assert timers.cancel(quick, PATIENCE_SECONDS)
    assert fired.count("slow") == 1


def test_those_that_cannot_hang_take_turns_in_one_thread(timers: Timers, fired: list[object]) -> None:
    seen: set[threading.Thread] = set()

    class Quick(Noted):
        may_hang = False

        def fire(self) -> float:
            seen.add(threading.current_thread())
            return super().fire()

    soon = monotonic() + 0.8
    kept = [Quick(fired, number) for number in range(100)]
    for timer in kept:
        timers.by(timer, soon)
    eventually(lambda: len(fired) == 100)
    assert (fired, len(seen)) == (list(range(100)), 1)
    eventually(lambda: alone(timers))


def test_one_that_set_itself_fires_while_it_still_fires(timers: Timers, fired: list[object]) -> None:
    again = threading.Event()

    def action() -> float:
        if len(fired) == 1:
            timers.by(timer, monotonic() + 0.01)
            again.wait(PATIENCE_SECONDS)
        else:
            assert timers.cancel(timer, 0) is False, "the first is at it"
            again.set()
        return NEVER

    timer = Noted(fired, "it", action)
    timers.by(timer, 0.0)
    eventually(again.is_set)
    eventually(lambda: alone(timers))
    assert fired == ["it", "it"]


def test_one_that_raises_is_told_and_harms_no_other(
    timers: Timers, fired: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    crashes: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda crash: crashes.append(crash.exc_type))

    def crash() -> float:
        raise SystemExit

    bad, good = Noted(fired, "bad", crash), Noted(fired, "good")
    timers.by(bad, 0.0)
    timers.by(good, monotonic() + 0.05)
    eventually(lambda: "good" in fired)
    eventually(lambda: crashes == [SystemExit])
    eventually(lambda: alone(timers))


def test_without_a_thread_it_fires_once_there_is_one(
    timers: Timers, fired: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Noted(fired, "first"), Noted(fired, "second")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", lambda self: (_ for _ in ()).throw(RuntimeError("no more")))
        with pytest.raises(RuntimeError, match="no more"):
            timers.by(first, 0.0)
    timers.by(second, 0.0)
    eventually(lambda: len(fired) == 2)


def test_what_came_and_went_takes_no_memory(timers: Timers, fired: list[object]) -> None:
    for number in range(10_000):
        timer = Noted(fired, number)
        timers.by(timer, monotonic() + 60 + number)
        timers.cancel(timer)
    assert len(timers._heap) < 100
    eventually(lambda: alone(timers))
