"""When the consumer loop claims next, and when it claims nothing at all. Pure.

All times are seconds on any clock that only goes forward, the same for all calls.
"""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING

from redisqueue_worker.retry_policy import doubled, spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis_message_queue.consumer import Claim, ClaimReply


log = logging.getLogger(__name__)

REPORT_SECONDS = 2.0
# An idle worker looks for messages that came due without a wake-up (delayed by others, leases expired).
POLL_SECONDS = 1.0
RETIRED_SECONDS = 0.5
_SHORTEST_SECONDS = 0.01
# The first and the longest pause, of which any part is taken.
_RECONNECT_SECONDS = (0.1, 5.0)
_FRUITLESS_SECONDS = (0.02, 0.25)
# Of many workers that wait for the limit of their queue, who was late more often waits for more turns.
_MOST_TURNS, _LONGEST_TURNS_SECONDS = 4, 0.25
# The limit may be another by then, or the clock.
_LONGEST_LIMITED_SECONDS = 30.0


class ClaimTiming:
    """The times of one consumer loop.

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
        self._limited = 0
        self._woken = False

    def failed(self, now: float) -> float:
        """Redis did not answer; the pause until the next try, in seconds."""
        self.failures += 1
        pause = _part_of(_RECONNECT_SECONDS, self.failures)
        self.retry_at = now + pause
        return pause

    def answered(self) -> None:
        """Redis answers again."""
        self.failures = 0

    def report_soon(self) -> None:
        """Something that the queue's other watchers wait for has changed."""
        self._report_at = 0.0

    def is_report_due(self, now: float) -> bool:
        """Whether to report."""
        return now >= self._report_at

    def report_due(self, now: float) -> bool:
        """Whether to report; if so, the next report is planned."""
        if not self.is_report_due(now):
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
        elif reply.limited_seconds is not None:  # whatever comes before that has to wait as well
            self._limited = min(self._limited + 1, _MOST_TURNS) if not reply.claims else 0
            turn = reply.limited_seconds
            pause = turn + min(_LONGEST_TURNS_SECONDS, spread(self._limited * turn))
            self._claim_at = now + min(max(_SHORTEST_SECONDS, pause), _LONGEST_LIMITED_SECONDS)
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
        pause = _part_of(_FRUITLESS_SECONDS, self._fruitless - 1) if self._fruitless > 1 else 0.0
        self._claim_at = min(self._claim_at, now + pause)
        self._woken = True

    def patience(self, now: float, *, could_claim: bool) -> float:
        """Seconds until there is something to do without any news."""
        due = self._report_at
        if could_claim:
            due = min(due, max(self._claim_at, self._held_until))
        return max(0.0, max(due, self.retry_at) - now)


def _part_of(pauses: tuple[float, float], attempt: int) -> float:
    first, longest = pauses
    return spread(doubled(first, attempt, longest))


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(0.8, 1.2)  # noqa: S311  (spreads load, hides nothing)


class Quarantine:
    """What came back by an expired lease runs beside nothing else: if the process ends, it is known why.

    Attributes:
        kept: leased, so that no other worker has to wait for room too, and not begun: to be released, and
            claimed again, once no handler runs.
    """

    def __init__(self) -> None:
        self.kept: list[Claim] = []
        self._apart = False

    def admit(self, claims: Sequence[Claim]) -> list[Claim]:
        """Those of one claim that may begin now; the others are kept."""
        begun = [claim for claim in claims if not claim.kept]
        if len(begun) < len(claims):
            self.kept += [claim for claim in claims if claim.kept]
        if begun:
            self._apart = max([claim.lost_leases for claim in begun]) > 0
        if self._apart and begun:
            log.info(
                "came back by an expired lease: nothing is handled beside",
                extra={"message_ids": [claim.id for claim in begun]},
            )
        return begun

    def room(self, free: int, *, running: int) -> int:
        """How many messages to claim at most, `free` being what the slots have room for."""
        return 0 if self.kept or (self._apart and running) else free

    def over(self, *, running: int) -> list[Claim]:
        """The kept ones that are to be released now; they are kept no longer."""
        over, self.kept = ([], self.kept) if running else (self.kept, [])
        return over


class Burst:
    """Counts the time in which no message comes to an end; what a handler works on is no waiting.

    Args:
        patience_seconds: how much of it there may be.
        now: when the worker began.
    """

    def __init__(self, patience_seconds: float, now: float) -> None:
        self._patience_seconds = patience_seconds
        self._waited_seconds = 0.0
        self._looked_at = now
        self._ended = 0

    def look(self, now: float, *, ended: int, oldest_age_seconds: float | None) -> None:
        """To be called a few times a second.

        Args:
            ended: how many messages came to an end so far.
            oldest_age_seconds: of the running handlers; None when none runs.
        """
        passed, self._looked_at = now - self._looked_at, now
        if ended != self._ended:
            self._ended, self._waited_seconds = ended, 0.0
        elif oldest_age_seconds is None or oldest_age_seconds < passed:
            self._waited_seconds += passed

    @property
    def is_over(self) -> bool:
        """Whether it waited for long enough, be it for Redis or for what is retried again and again."""
        return self._waited_seconds >= self._patience_seconds

    def waits_for(self, next_due_seconds: float | None) -> bool:
        """Whether the next message that becomes due is to be waited for; None when there is none."""
        return next_due_seconds is not None and next_due_seconds <= self._patience_seconds
