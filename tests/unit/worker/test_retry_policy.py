"""What becomes of a message, from how its handler ended."""

from __future__ import annotations

import pytest

from redis_message_queue.consumer import Claim, Outcome, Settlement
from redisqueue_worker import DeadLetter, Retry
from redisqueue_worker.exceptions import LONGEST_DELAY_SECONDS, InvalidPayload
from redisqueue_worker.retry_policy import HandlerTimeout, RetryPolicy, failure_of

POLICY = RetryPolicy(max_attempts=3, initial_seconds=2, max_seconds=60)
FINAL = RetryPolicy(max_attempts=1)


def settled(policy: RetryPolicy, attempt: int, error: BaseException | None) -> Settlement:
    return policy.settlement(claim(attempt), failure_of(error) if error else None)


def claim(attempt: int, lost_leases: int = 0) -> Claim:
    """Of a message whose handler failed at each attempt before."""
    return Claim("x", "1", "1", "x", attempt + lost_leases, failures=attempt - 1, lost_leases=lost_leases)


@pytest.mark.parametrize(
    ("policy", "attempt", "error", "outcome", "reason"),
    [
        (POLICY, 1, None, Outcome.DONE, ""),
        (POLICY, 1, ValueError("no"), Outcome.RETRY, "ValueError: no"),
        (POLICY, 3, ValueError("no"), Outcome.DEAD, "ValueError: no (attempt 3 of 3)"),
        (POLICY, 5, SystemExit(1), Outcome.DEAD, "SystemExit: 1 (attempt 5 of 3)"),
        (POLICY, 2, HandlerTimeout(3.0), Outcome.RETRY, "timeout: ran for 3.0 s"),
        (POLICY, 9, Retry(), Outcome.RETRY, "retry"),
        (POLICY, 1, DeadLetter("nobody"), Outcome.DEAD, "nobody"),
        (POLICY, 1, InvalidPayload("not JSON"), Outcome.DEAD, "invalid payload: not JSON"),
        (FINAL, 1, ValueError("no"), Outcome.FAILED, "ValueError: no"),
        (FINAL, 1, Retry(1), Outcome.RETRY, "retry"),
    ],
)
def test_settlement(
    policy: RetryPolicy, attempt: int, error: BaseException | None, outcome: Outcome, reason: str
) -> None:
    settlement = settled(policy, attempt, error)
    assert (settlement.outcome, settlement.reason) == (outcome, reason)


def test_what_ended_with_its_worker_is_no_attempt() -> None:
    settlement = POLICY.settlement(claim(1, lost_leases=5), failure_of(ValueError("no")))
    assert settlement.outcome is Outcome.RETRY
    assert settlement.delay_seconds <= 2.5, "the first backoff"


def test_what_a_handler_postponed_itself_is_no_attempt() -> None:
    postponed = Claim("x", "1", "1", "x", delivery_count=7)
    assert POLICY.settlement(postponed, failure_of(ValueError("no"))).outcome is Outcome.RETRY
    assert POLICY.settlement(postponed, failure_of(Retry())).delay_seconds >= 60, "but its own backoff grows"


@pytest.mark.parametrize("error", [None, Retry(), Retry(3), DeadLetter("nobody"), InvalidPayload("no")])
def test_what_a_handler_asks_for_is_no_failure(error: BaseException | None) -> None:
    assert not settled(POLICY, 9, error).failed


@pytest.mark.parametrize("policy", [POLICY, FINAL])
@pytest.mark.parametrize("delivery", [1, 3])
def test_whatever_else_it_raises_is_one(policy: RetryPolicy, delivery: int) -> None:
    assert settled(policy, delivery, ValueError("no")).failed
    assert settled(policy, delivery, HandlerTimeout(3)).failed


def test_backoff_doubles_up_to_its_maximum_with_jitter() -> None:
    for attempt, base in ((1, 2), (2, 4), (3, 8), (6, 60), (2000, 60)):
        delays = {POLICY.delay_seconds(attempt) for _ in range(20)}
        assert all(base <= delay <= base * 1.25 for delay in delays)
        assert len(delays) > 1


def test_an_explicit_delay_is_kept_exactly() -> None:
    assert settled(POLICY, 1, Retry(7.5)).delay_seconds == 7.5
    assert settled(POLICY, 1, Retry(0)).delay_seconds == 0
    with pytest.raises(ValueError, match="delay: -1 is not a number of seconds"):
        Retry(-1)


def test_a_delay_is_never_longer_than_redis_can_count() -> None:
    endless = RetryPolicy(max_attempts=3, initial_seconds=1e300, max_seconds=1.7e308)
    assert settled(endless, 1, ValueError("no")).delay_seconds == LONGEST_DELAY_SECONDS


def test_the_detail_of_a_dead_letter_is_the_end_of_its_traceback() -> None:
    def fail(depth: int) -> None:
        if depth:
            return fail_too(depth - 1)
        raise RuntimeError("x" * 10_000)

    fail_too = fail
    try:
        fail(100)
    except RuntimeError as error:
        settlement = settled(POLICY, 3, error)
    assert len(settlement.detail) <= 4000
    assert "raise RuntimeError" in settlement.detail, "a long text leaves room for the frames"
    assert len(settlement.reason) < 250
