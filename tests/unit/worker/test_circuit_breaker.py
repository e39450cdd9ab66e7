"""The circuit breaker: what a run of failures stops, and what starts it again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redis_message_queue.consumer import Due
from redisqueue_worker.circuit_breaker import (
    LONGEST_PAUSE_SECONDS,
    QUICK_PAUSE_SECONDS,
    QUICK_TRIES,
    SHORTEST_PAUSE_SECONDS,
    Breaker,
    Circuit,
)


def failing(times: int, breaker: Breaker | None = None, now: float = 100) -> Breaker:
    """After so many failures of messages that were claimed as late as possible."""
    breaker = breaker or Breaker(3)
    for _ in range(times):
        breaker = breaker.failed(breaker.epoch, now)
    return breaker


def test_it_is_closed_until_enough_failures_in_a_row() -> None:
    assert failing(2).circuit(100) is Circuit.CLOSED
    assert failing(2).room(7, probes=0, now=100) == 7
    assert failing(3).circuit(100) is Circuit.OPEN
    assert failing(3).room(7, probes=0, now=100) == 0
    assert failing(2, failing(2).succeeded()).circuit(100) is Circuit.CLOSED, "a success begins a new run"


def test_after_the_pause_one_message_at_a_time_is_tried() -> None:
    breaker = failing(3)
    pause = breaker.pause_seconds(100)
    assert pause is not None
    assert SHORTEST_PAUSE_SECONDS <= pause <= 1.25 * SHORTEST_PAUSE_SECONDS
    then = 100 + pause
    assert (breaker.circuit(then), breaker.pause_seconds(then)) == (Circuit.HALF_OPEN, None)
    assert breaker.room(7, probes=0, now=then) == 1
    assert breaker.room(7, probes=1, now=then) == 0
    assert breaker.room(0, probes=0, now=then) == 0, "all slots are busy with what was claimed before"


def test_a_success_closes_it() -> None:
    closed = failing(5).succeeded()
    assert (closed.circuit(100), closed.failures) == (Circuit.CLOSED, 0)
    assert failing(2, closed).circuit(100) is Circuit.CLOSED, "and a whole run is needed again"


def test_each_failed_try_doubles_the_pause_up_to_a_limit() -> None:
    breaker, pauses, now = failing(3, now=0), [], 0.0
    for _ in range(12):
        pause = breaker.resume_at - now
        pauses.append(pause)
        now += pause
        breaker = breaker.failed(breaker.epoch, now, again=True)
    expected = [min(LONGEST_PAUSE_SECONDS, SHORTEST_PAUSE_SECONDS * 2**n) for n in range(12)]
    assert all(low <= pause <= 1.25 * low for low, pause in zip(expected, pauses, strict=True))
    anew = failing(3, breaker.succeeded(), now).pause_seconds(now)
    assert anew is not None
    assert anew <= 1.25 * SHORTEST_PAUSE_SECONDS, "after a success it begins anew"


def test_a_message_that_fails_for_the_first_time_is_followed_by_the_next_at_once() -> None:
    breaker, now = failing(3, now=0), 2.0
    for _ in range(QUICK_TRIES):
        assert breaker.circuit(now) is Circuit.HALF_OPEN
        before, breaker = now, breaker.failed(breaker.epoch, now)
        now = breaker.next_at
        assert now - before == pytest.approx(QUICK_PAUSE_SECONDS)
    assert (breaker.pauses, breaker.epoch) == (1, 1), "no pause but the first"
    spent = breaker.failed(breaker.epoch, now).pause_seconds(now)
    assert spent is not None
    assert spent >= 2 * SHORTEST_PAUSE_SECONDS, "after so many it is the worker"


def test_what_failed_before_waits_behind_all_else_and_for_the_end_of_the_pause() -> None:
    assert failing(2).due(100) is Due.FIRST
    opened = failing(3, now=100)
    assert (opened.due(100), opened.due(opened.resume_at)) == (Due.LATER, Due.LAST)
    again = opened.failed(opened.epoch, 102, again=True)
    assert again.due(103) is Due.LATER
    assert again.room(7, probes=0, now=103) == 1, "others are tried meanwhile"
    assert again.due(again.resume_at) is Due.LAST
    assert again.succeeded().due(103) is Due.FIRST


def test_what_was_in_hand_when_it_opened_is_excused() -> None:
    before = failing(2)
    opened = before.failed(before.epoch, 100)
    assert opened.excuses(before.epoch)
    assert opened.failed(before.epoch, 100) == opened, "and does not lengthen the pause"
    assert not opened.excuses(opened.epoch), "what is tried is a delivery like any other"
    assert not opened.succeeded().excuses(before.epoch)


def test_zero_switches_it_off() -> None:
    assert failing(1000, Breaker(0)).circuit(100) is Circuit.CLOSED


@given(
    threshold=st.integers(1, 6),
    results=st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=60),
)
def test_it_never_stops_for_good_and_never_opens_without_a_run(
    threshold: int, results: list[tuple[bool, int]]
) -> None:
    breaker, now, run = Breaker(threshold), 0.0, 0
    for ok, wait in results:
        now += wait
        breaker = breaker.succeeded() if ok else breaker.failed(breaker.epoch, now)
        run = 0 if ok else run + 1
        assert breaker.tripped == (run >= threshold)
        pause = breaker.pause_seconds(now)
        assert pause is None or 0 < pause <= 1.25 * LONGEST_PAUSE_SECONDS
        assert breaker.room(4, probes=0, now=now + 1.25 * LONGEST_PAUSE_SECONDS) >= 1
