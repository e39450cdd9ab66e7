"""What `decide` remembers between two calls: immutable, small, and safe to lose.

A lost history (restart, new leader) counts as "active now": nothing shrinks before the windows passed again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from redisqueue_operator.decide.scaling.rates import RateHistory

if TYPE_CHECKING:
    from collections.abc import Mapping

STEP_SECONDS = 10.0
"""`maxStep` and `maxPercent` bound the change within any ten seconds. Samples come several times a second:
a bound on a single decision would bound nothing."""

SHRINK_PAUSE_SECONDS = 5.0
"""Between two shrinks: the end of a burst is a few writes then, not one for every sample, and the ReplicaSet
has removed the pods of one shrink before the next ones are chosen."""

Timed = tuple[tuple[float, int], ...]
"""(time in seconds, value), oldest first."""


@dataclass(frozen=True, slots=True)
class History:
    """Times are seconds of the caller's clock: always the same one, and it never goes back."""

    active_at: float
    """When there was last anything to do, or when nobody could tell."""
    active: bool = True
    """Whether that was so at the last decision: then it lasted until the next one."""
    need: int | None = None
    """The need at the last decision, which was in force until the next one; None before the first."""
    unreadable_since: float | None = None
    highest: Timed = ()
    """Needs that may still be the highest of the scale-down window; falling, so the first one is it."""
    lowest: Timed = ()
    """The same for the lowest need of the scale-up window; rising."""
    seen: Timed = ()
    """Changes of the observed replicas; the first entry was in force when the step window began."""
    rates: RateHistory = field(default_factory=RateHistory)

    @classmethod
    def fresh(cls, now: float) -> History:
        """Nothing is known yet: as if there had been work just now."""
        return cls(active_at=now)

    @classmethod
    def of_status(cls, status: Mapping[str, Any], now: float) -> History:
        """The same, but for how long a message takes: a new leader knows what a rate limit lets through."""
        seconds = (status.get("rates") or {}).get("handlerSeconds")
        known = 1 / seconds if isinstance(seconds, (int, float)) and seconds > 0 else None
        return cls(active_at=now, rates=RateHistory(known_per_slot=known))

    def saw(self, now: float, replicas: int) -> History:
        """Note the observed replicas, so that steps are bounded over time, whoever made them."""
        seen = self.seen
        if not seen or seen[-1][1] != replicas:
            seen = (*seen, (now, replicas))
        while len(seen) > 1 and seen[1][0] <= now - STEP_SECONDS:
            seen = seen[1:]
        return self if seen is self.seen else replace(self, seen=seen)

    def shrank_for_seconds(self, now: float) -> float:
        """Since the last shrink that was seen; infinite when it is long ago."""
        if len(self.seen) > 1 and self.seen[-1][1] < self.seen[-2][1]:
            return now - self.seen[-1][0]
        return math.inf

    def step_base(self, *, growing: bool) -> int:
        """What a step counts from: the fewest (growing) or the most replicas of the step window."""
        values = [value for _, value in self.seen]
        return min(values) if growing else max(values)

    def step_ends_in(self, now: float) -> float:
        """Seconds until `step_base` can move on."""
        return self.seen[1][0] + STEP_SECONDS - now if len(self.seen) > 1 else STEP_SECONDS


def push_highest(window: Timed, now: float, value: int, seconds: float) -> Timed:
    """Add a need to a window of which only the highest matters; no longer than there are distinct values."""
    kept = tuple(entry for entry in window if entry[0] > now - seconds and entry[1] > value)
    return (*kept, (now, value))


def push_lowest(window: Timed, now: float, value: int, seconds: float) -> Timed:
    """Add a need to a window of which only the lowest matters."""
    kept = tuple(entry for entry in window if entry[0] > now - seconds and entry[1] < value)
    return (*kept, (now, value))
