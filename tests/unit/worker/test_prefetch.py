"""How much a worker claims beyond its free slots, and how long results wait for others."""

from __future__ import annotations

import pytest

from redisqueue_worker.prefetch import Prefetch


def prefetch(slots: int, *handled: float, call_seconds: float = 0.0005, saturated: bool = True) -> Prefetch:
    known = Prefetch(slots)
    for seconds in handled * 200:
        known.took(seconds)
        known.called(call_seconds)
    known.saturated = saturated
    return known


def lingering(slots: int, *handled: float) -> float:
    return prefetch(slots, *handled, saturated=False).linger_seconds


def test_a_result_waits_for_others_a_part_of_a_handler_and_a_millisecond_at_most() -> None:
    assert lingering(16, 0.006, 0.01) == pytest.approx(0.0005, rel=0.1)
    assert lingering(16, 0.02, 60) == 0.001
    assert lingering(2, 3600) == 0.001


def test_a_result_waits_for_no_other_where_there_is_none_or_handlers_are_quick() -> None:
    assert lingering(1, 60) == 0
    assert lingering(16, 0.00001) == 0
    assert lingering(16) == 0, "nothing is known of handlers yet"


def test_a_result_waits_longer_where_messages_were_prefetched_for_the_slots() -> None:
    assert prefetch(16, 0.005).linger_seconds == pytest.approx(0.001)
    assert prefetch(16, 0.01, 0.04).linger_seconds == 0.002
    assert prefetch(16, 60).linger_seconds == 0.001, "nothing is prefetched for such"


@pytest.mark.parametrize(
    ("slots", "handled", "call_seconds", "beyond"),
    [
        (16, 0.01, 0.0005, 5),  # 16 slots get through 4 in the 2.5 ms that results linger and a call takes
        (16, 0.01, 0.005, 13),
        (4, 0.01, 0.0005, 2),
        (16, 0.00101, 0.0005, 13),
        (16, 0.00099, 0.0005, 48),  # less than two calls take: two calls overlap
        (100, 0.00001, 0.0005, 256),
        (16, 0.06, 0.0005, 0),  # nobody would notice
        (1, 0.00001, 0.0005, 0),  # one at a time
    ],
)
def test_messages_are_prefetched_that_slots_get_through_during_a_call(
    slots: int, handled: float, call_seconds: float, beyond: int
) -> None:
    assert prefetch(slots, handled, call_seconds=call_seconds).room(0) == slots + beyond
    assert prefetch(slots, handled, call_seconds=call_seconds).room(slots) == beyond
    assert prefetch(slots, handled, saturated=False).room(0) == slots, "there is no backlog"
    assert prefetch(slots).room(0) == slots, "nothing is known of handlers yet"
    assert prefetch(slots).room(slots + 1) == 0


def test_nothing_is_claimed_ahead_where_limits_count_what_begins() -> None:
    for ahead in (True, False):
        known = Prefetch(4, ahead=ahead)
        known.saturated = True
        known.called(0.001)
        known.took(0.001)
        assert (known.room(0) > 4) is ahead


def test_calls_overlap_where_handlers_are_quicker_than_two_of_them() -> None:
    quick = prefetch(16, 0.00099)
    assert quick.is_quick
    assert 2 * quick.share == quick.room(0) == 64
    assert not prefetch(16, 0.00101).is_quick
    assert not prefetch(16, 0.00099, saturated=False).is_quick, "one call brings all there is"
    assert not prefetch(16).is_quick, "nothing is known of handlers yet"
    assert not prefetch(16, 0.06, call_seconds=0.05).is_quick, "nothing is prefetched for such"
    assert not prefetch(1, 0.00099).is_quick, "one at a time"
