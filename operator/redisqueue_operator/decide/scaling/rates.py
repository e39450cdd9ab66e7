"""Rates and ages from two counters of Redis, claims and pending, and Redis' own clock. No payload is read.

`arrived = claims + waiting` only ever grows, and messages are claimed in the order they arrived. So the one
that waits longest is number `claims + 1`, and it arrived when `arrived` first exceeded the claims of now.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from redisqueue_operator.decide.scaling.decision import Rates

if TYPE_CHECKING:
    from redisqueue_operator.observe.facts import QueueObservation

RATE_SECONDS = 10.0
"""Rates are averages of the last ten seconds: long enough for a few slow messages, short enough to react."""
ENOUGH_DONE = 100
"""So many messages give the speed of a slot; where there were fewer, the whole history has to do."""
_SPACING_SECONDS = 0.5
_MOST_POINTS = 96


class _Point(NamedTuple):
    at: float
    arrived: int
    claims: int
    busy_slots: int
    """So many worked until the next point."""
    slot_seconds: float
    """The work of all slots until now."""


@dataclass(frozen=True, slots=True)
class RateHistory:
    """Samples of the counters, dense in the recent past and sparse before."""

    points: tuple[_Point, ...] = ()
    known_per_slot: float | None = None
    """The speed of a slot before the counters were reset."""

    def add(self, queue: QueueObservation, busy_slots: int) -> RateHistory:
        """Take in one sample. A counter that fell (FLUSHALL, failover, purge) starts the history anew."""
        if queue.claims_total is None:
            return RateHistory()
        now, arrived = queue.time_ms / 1000, queue.claims_total + queue.pending + queue.delayed_due
        last = self.points[-1] if self.points else _Point(now, arrived, queue.claims_total, 0, 0.0)
        if queue.claims_total < last.claims or arrived < last.arrived or now < last.at:
            return RateHistory(known_per_slot=self.claims_per_slot()).add(queue, busy_slots)
        slot_seconds = last.slot_seconds + last.busy_slots * (now - last.at)
        point = _Point(now, arrived, queue.claims_total, busy_slots, slot_seconds)
        return RateHistory(_thinned(self.points, point), self.known_per_slot)

    def claims_per_slot(self) -> float | None:
        """Messages that one slot gets done in a second of work; None when none was done yet.

        Of the shortest past with enough messages. What is in work is not done, so that the first second of a
        long handler is not taken for the whole of it.
        """
        if not self.points:
            return self.known_per_slot
        now = self.points[-1]
        done, slot_seconds = 0, 0.0
        for point in reversed(self.points):
            done = (now.claims - now.busy_slots) - (point.claims - point.busy_slots)
            slot_seconds = now.slot_seconds - point.slot_seconds
            if done >= ENOUGH_DONE:
                break
        return done / slot_seconds if done > 0 and slot_seconds > 0 else self.known_per_slot

    def busy(self, seconds: float) -> tuple[float, int]:
        """The mean number of busy slots in that time, and the claims made in it; zeros while unknown."""
        if not self.points:
            return 0.0, 0
        start, now = self._start(seconds), self.points[-1]
        if now.at <= start.at:
            return 0.0, 0
        return (now.slot_seconds - start.slot_seconds) / (now.at - start.at), now.claims - start.claims

    def rates(self) -> Rates:
        """The present rates; unknown while there is less than a second of history."""
        if not self.points:
            return Rates()
        now = self.points[-1]
        arrivals, claims = self._per_second()
        waiting = now.arrived - now.claims
        draining = claims is not None and arrivals is not None and claims > arrivals
        eta = waiting / (claims - arrivals) if draining and claims and arrivals is not None else None
        return Rates(arrivals, claims, 0.0 if waiting == 0 else eta, waiting, self._oldest_age())

    def _per_second(self) -> tuple[float | None, float | None]:
        start, now = self._start(RATE_SECONDS), self.points[-1]
        seconds = now.at - start.at
        if seconds < 1.0:
            return None, None
        return (now.arrived - start.arrived) / seconds, (now.claims - start.claims) / seconds

    def _oldest_age(self) -> float:
        now = self.points[-1]
        return next((now.at - point.at for point in self.points if point.arrived > now.claims), 0.0)

    def _start(self, seconds: float) -> _Point:
        """The newest point that is at least as old as that, else the oldest."""
        then = self.points[-1].at - seconds
        return next((point for point in reversed(self.points) if point.at <= then), self.points[0])


def _thinned(points: tuple[_Point, ...], new: _Point) -> tuple[_Point, ...]:
    """Append; points closer than the spacing replace each other, and a long past keeps every second point."""
    if len(points) > 1 and points[-1].at - points[-2].at < _SPACING_SECONDS:
        points = points[:-1]
    if len(points) >= _MOST_POINTS:
        half = len(points) // 2
        points = points[:half:2] + points[half:]
    return (*points, new)
