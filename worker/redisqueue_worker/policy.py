"""Decides what becomes of a message from how its handler ended. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tenacity import RetryCallState, Retrying
from tenacity.wait import wait_base, wait_exponential, wait_random

from redis_message_queue.consumer import Claim, Outcome, Settlement
from redisqueue_worker.failures import Cause, Failure
from redisqueue_worker.outcomes import LONGEST_DELAY_SECONDS

# What is kept beside a dead letter: enough for a traceback's end, small enough for thousands of them.
MAX_DETAIL_CHARACTERS = 4000


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How failures are repeated.

    Attributes:
        max_attempts: failures of the handler before a message becomes a dead letter; with 1 the first one
            is final and the message goes to the failed ones. What ended with its worker is no attempt.
    """

    max_attempts: int = 3
    initial_seconds: float = 1.0
    max_seconds: float = 300.0

    def delay_seconds(self, attempt: int) -> float:
        """How long to wait after the `attempt`-th failure: doubled each time, up to a quarter of jitter."""
        wait = wait_exponential(multiplier=self.initial_seconds, max=self.max_seconds)
        base = wait_seconds(wait, attempt)
        return min(base + wait_seconds(wait_random(0, base / 4), attempt), LONGEST_DELAY_SECONDS)

    def settlement(self, claim: Claim, failure: Failure | None) -> Settlement:
        """What becomes of `claim` after its handler returned (`failure` is None) or failed."""
        match failure:
            case None:
                return Settlement(claim, Outcome.DONE)
            case Failure(cause=Cause.RETRY, delay_seconds=delay):
                returned = claim.delivery_count - claim.lost_leases
                chosen = self.delay_seconds(returned) if delay is None else delay
                return Settlement(claim, Outcome.RETRY, delay_seconds=chosen, reason=failure.text)
            case Failure(cause=Cause.DEAD_LETTER):
                return Settlement(claim, Outcome.DEAD, reason=failure.text)
            case Failure(cause=Cause.INVALID_PAYLOAD):
                return Settlement(claim, Outcome.DEAD, reason=f"invalid payload: {failure.text}")
        reason = f"timeout: {failure.text}" if failure.cause is Cause.TIMEOUT else failure.text
        detail = failure.detail[-MAX_DETAIL_CHARACTERS:]
        if self.max_attempts == 1:
            return Settlement(claim, Outcome.FAILED, reason=reason, detail=detail, failed=True)
        attempt = claim.failures + 1
        if attempt >= self.max_attempts:
            spent = f"{reason} (attempt {attempt} of {self.max_attempts})"
            return Settlement(claim, Outcome.DEAD, reason=spent, detail=detail, failed=True)
        delay = self.delay_seconds(attempt)
        return Settlement(claim, Outcome.RETRY, delay_seconds=delay, reason=reason, failed=True)


def wait_seconds(wait: wait_base, attempt: int) -> float:
    """What a tenacity wait strategy gives after `attempt` failures."""
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = max(1, attempt)
    return wait(state)
