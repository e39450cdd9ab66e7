"""When the claim loop calls Redis next: at once, when something is due, or after a pause. Pure.

All times are seconds on any clock that only goes forward, the same for all calls.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from tenacity.wait import wait_random_exponential

from redisqueue_worker.policy import wait_seconds

if TYPE_CHECKING:
    from redis_message_queue.consumer import ClaimReply

REPORT_SECONDS = 2.0
# An idle worker looks for messages that came due without a wake-up (delayed by others, leases expired).
POLL_SECONDS = 1.0
RETIRED_SECONDS = 0.5
_SHORTEST_SECONDS = 0.01
_RECONNECT = wait_random_exponential(multiplier=0.1, max=5)
_FRUITLESS = wait_random_exponential(multiplier=0.02, max=0.25)


class Pace:
    """The times of one claim loop.

    Attributes:
        failures: calls in a row that Redis did not answer.
        retry_at: no call before this.
    """

    def __init__(self) -> None:
        self.failures = 0
        self.retry_at = 0.0
        self._claim_at = 0.0
        self._held_until = 0.0
        self._report_at = 0.0
        self._fruitless = 0
        self._woken = False

    def failed(self, now: float) -> float:
        """Redis did not answer; the pause until the next try, in seconds."""
        self.failures += 1
        pause = wait_seconds(_RECONNECT, self.failures)
        self.retry_at = now + pause
        return pause

    def answered(self) -> None:
        """Redis answers again."""
        self.failures = 0

    def report_soon(self) -> None:
        """Something that the queue's other watchers wait for has changed."""
        self._report_at = 0.0

    def report_due(self, now: float) -> bool:
        """Whether to report; if so, the next report is planned."""
        if now < self._report_at:
            return False
        self._report_at = now + REPORT_SECONDS
        return True

    def may_claim(self, now: float, *, calling: bool) -> bool:
        """Whether to claim; `calling` says that there is a call to be made anyway."""
        return now >= self._held_until and (calling or now >= self._claim_at)

    def claimed(self, now: float, reply: ClaimReply, wanted: int) -> bool:
        """Plan by what a claim for `wanted` messages brought; whether to wait for a wake-up."""
        if reply.claims:
            self._fruitless = 0
        elif self._woken:  # an empty reply to an idle worker's poll says nothing about others
            self._fruitless += 1
        self._woken = False
        if reply.retired:
            self._held_until = now + _jittered(RETIRED_SECONDS)
        elif len(reply.claims) == wanted:
            self._claim_at = now
        else:
            hints = (_jittered(POLL_SECONDS), reply.next_due_seconds, reply.next_expiry_seconds)
            self._claim_at = now + max(_SHORTEST_SECONDS, min(hint for hint in hints if hint is not None))
            return True
        return False

    def was_held(self, now: float) -> bool:
        """Whether the operator kept this worker from claiming just now."""
        return now < self._held_until + REPORT_SECONDS

    def woken(self, now: float) -> None:
        """Messages may have come."""
        # A wake-up that brought nothing means that others are quicker: do not all run again at once.
        pause = wait_seconds(_FRUITLESS, self._fruitless - 1) if self._fruitless > 1 else 0.0
        self._claim_at = min(self._claim_at, now + pause)
        self._woken = True

    def patience(self, now: float, *, could_claim: bool) -> float:
        """Seconds until there is something to do without any news."""
        due = self._report_at
        if could_claim:
            due = min(due, max(self._claim_at, self._held_until))
        return max(0.0, max(due, self.retry_at) - now)


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(0.8, 1.2)  # noqa: S311  (spreads load, hides nothing)
