"""When the claim loop calls next."""

from __future__ import annotations

import pytest

from redis_message_queue.consumer import Claim, ClaimReply
from redisqueue_worker.claim_timing import (
    POLL_SECONDS,
    REPORT_SECONDS,
    RETIRED_SECONDS,
    ClaimTiming,
)

CLAIM = Claim("stored", "1", "id", "payload", 1)
NOTHING = ClaimReply(())


def fresh() -> ClaimTiming:
    """A timing that has just reported, so that the next report is far."""
    timing = ClaimTiming()
    assert timing.report_due(100)
    return timing


def test_a_full_reply_is_followed_by_the_next_claim_at_once() -> None:
    timing = fresh()
    assert timing.claimed(100, ClaimReply((CLAIM, CLAIM)), wanted=2) is False
    assert timing.patience(100, could_claim=True) == 0


def test_an_empty_reply_is_followed_by_waiting_for_a_wake_up() -> None:
    timing = fresh()
    assert timing.claimed(100, NOTHING, wanted=2) is True
    assert 0.8 * POLL_SECONDS <= timing.patience(100, could_claim=True) <= 1.2 * POLL_SECONDS
    assert not timing.may_claim(100.1, calling=False)
    assert timing.may_claim(100.1, calling=True)
    timing.woken(100.2)
    assert timing.may_claim(100.2, calling=False)


@pytest.mark.parametrize("hint", ["next_due_seconds", "next_expiry_seconds"])
def test_what_comes_due_sooner_is_looked_for_sooner(hint: str) -> None:
    timing = fresh()
    timing.claimed(100, ClaimReply((), **{hint: 0.3}), wanted=1)
    assert timing.patience(100, could_claim=True) == pytest.approx(0.3)


def test_what_the_limits_of_the_queue_hold_back_is_claimed_when_they_let_it_go() -> None:
    timing = fresh()
    assert timing.claimed(100, ClaimReply((CLAIM,), limited_seconds=0.3), wanted=2) is False, "no wake-up"
    assert timing.patience(100, could_claim=True) == pytest.approx(0.3)
    assert timing.may_claim(100.1, calling=True)
    for _ in range(50):  # who is late all the time is so for a few turns more
        timing.claimed(100, ClaimReply((), limited_seconds=0.02), wanted=2)
        assert 0.0199 <= timing.patience(100, could_claim=True) <= 0.1001
    timing.claimed(100, ClaimReply((), limited_seconds=86_400.0), wanted=2)
    assert not timing.may_claim(129, calling=False)
    assert timing.may_claim(130, calling=False)


def test_wake_ups_that_bring_nothing_slow_it_down_until_one_brings_something() -> None:
    timing = fresh()
    pauses = []
    for _ in range(200):
        timing.claimed(100, NOTHING, wanted=1)
        timing.woken(100)
        pauses.append(timing.patience(100, could_claim=True))
    assert 0 < max(pauses) <= 0.25
    timing.claimed(100, ClaimReply((CLAIM,)), wanted=2)
    timing.woken(100)
    assert timing.patience(100, could_claim=True) == 0


def test_a_worker_that_was_idle_for_long_wakes_up_at_once() -> None:
    timing = fresh()
    for second in range(100, 200):
        timing.claimed(second, NOTHING, wanted=1)
    timing.woken(200)
    assert timing.patience(200, could_claim=True) == 0


def test_a_retired_worker_asks_seldom_even_when_it_calls_anyway() -> None:
    timing = fresh()
    assert not timing.was_held(100)
    timing.claimed(100, ClaimReply((), retired=True), wanted=1)
    assert timing.was_held(100)
    assert not timing.may_claim(100 + 0.7 * RETIRED_SECONDS, calling=True)
    assert timing.may_claim(100 + 1.3 * RETIRED_SECONDS, calling=True)


def test_failures_are_followed_by_longer_pauses_up_to_a_limit() -> None:
    timing = fresh()
    pauses = [timing.failed(100) for _ in range(60)]
    assert max(pauses[:3]) <= 0.4
    assert 1 < max(pauses) <= 5
    assert timing.patience(100, could_claim=True) == pytest.approx(pauses[-1])
    timing.answered()
    assert timing.failures == 0


def test_reports_come_regularly_and_when_something_changed() -> None:
    timing = fresh()
    assert timing.patience(100, could_claim=False) == REPORT_SECONDS
    assert not timing.report_due(101)
    timing.report_soon()
    assert timing.report_due(101)
