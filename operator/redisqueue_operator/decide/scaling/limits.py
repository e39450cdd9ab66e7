"""What `queue.limits` let through: workers beyond that would wait for messages that may not begin.

Limits of single keys are not here: how many keys wait, and of which, no counter tells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redisqueue_operator.decide.scaling.decision import LIMITS, Term
from redisqueue_operator.decide.scaling.rates import BUSY_SHARE

if TYPE_CHECKING:
    from redisqueue_operator.decide.scaling.rates import RateHistory

MAX_IN_FLIGHT, RATE_LIMIT = LIMITS
_DEFAULT_BURST_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Limits:
    """What all workers of a queue may begin together; None is no limit."""

    rate_per_second: float | None = None
    rate_burst: int | None = None
    """Messages that may begin at once after a pause; None: a tenth of a second's worth, at least one."""
    max_in_flight: int | None = None

    @property
    def burst(self) -> int:
        """How many may begin at once, as the claim counts it."""
        return self.rate_burst or max(1, math.ceil((self.rate_per_second or 0) * _DEFAULT_BURST_SECONDS))


NO_LIMITS = Limits()


def limit_terms(limits: Limits, concurrency: int, in_flight: int, history: RateHistory) -> list[Term]:
    """The workers of `concurrency` slots that each limit lets work, never fewer than hold what is in flight.

    While no message was seen to be done, nobody knows what a rate needs, and it bounds nothing.
    """
    held = max(1, math.ceil(in_flight / concurrency))
    terms = []
    if (most := limits.max_in_flight) is not None:
        text = f"{most} in flight at most / {concurrency} slots"
        terms.append(Term(MAX_IN_FLIGHT, max(held, math.ceil(most / concurrency)), text))
    if (rate := limits.rate_per_second) is not None and (seconds := history.handler_seconds()) is not None:
        unspent = history.unspent(rate, limits.burst)
        slots = rate * seconds / BUSY_SHARE + unspent
        text = (
            f"({rate:g}/s * {seconds:.3g} s each / {BUSY_SHARE:g} busy + {unspent} of the burst)"
            f" / {concurrency} slots"
        )
        terms.append(Term(RATE_LIMIT, max(held, math.ceil(slots / concurrency)), text))
    return terms
