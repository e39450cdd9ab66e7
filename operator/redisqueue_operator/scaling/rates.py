"""Rates and ages from two counters of Redis, claims and pending, and Redis' own clock. No payload is read.

`arrived = claims + waiting` only ever grows, and messages are claimed in the order they arrived. So the one
that waits longest is number `claims + 1`, and it arrived when `arrived` first exceeded the claims of now.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from redisqueue_operator.scaling.decision import Rates

if TYPE_CHECKING:
    from redisqueue_operator.observation import QueueObservation

RATE_SECONDS = 10.0
"""Rates are averages of the last ten seconds: long enough for a few slow messages, short enough to react."""
_SPACING_SECONDS = 0.5
_MOST_POINTS = 96


class _Point(NamedTuple):
    at: float
    arrived: int
    claims: int


@dataclass(frozen=True, slots=True)
class RateHistory:
    """Samples of the counters, dense in the recent past and sparse before."""

    points: tuple[_Point, ...] = ()
    claims_per_slot: float | None = None
    """Claims per second of one busy slot, averaged over the time in which messages waited."""

    def add(self, queue: QueueObservation, busy_slots: int) -> RateHistory:
        """Take in one sample. A counter that fell (FLUSHALL, failover, purge) starts the history anew."""
        if queue.claims_total is None:
            return RateHistory()
        waiting = queue.pending + queue.delayed_due
        point = _Point(queue.time_ms / 1000, queue.claims_total + waiting, queue.claims_total)
        last = self.points[-1] if self.points else None
        if last and (point.claims < last.claims or point.arrived < last.arrived or point.at < last.at):
            return RateHistory((point,), self.claims_per_slot)
        points = RateHistory(_thinned(self.points, point), self.claims_per_slot)
        if last is None or waiting == 0 or busy_slots <= 0:
            return points
        return RateHistory(points.points, points._per_slot(busy_slots, point.at - last.at))

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
        now = self.points[-1]
        past = (point for point in reversed(self.points) if point.at <= now.at - RATE_SECONDS)
        start = next(past, self.points[0])
        seconds = now.at - start.at
        if seconds < 1.0:
            return None, None
        return (now.arrived - start.arrived) / seconds, (now.claims - start.claims) / seconds

    def _oldest_age(self) -> float:
        now = self.points[-1]
        return next((now.at - point.at for point in self.points if point.arrived > now.claims), 0.0)

    def _per_slot(self, busy_slots: int, seconds: float) -> float | None:
        _, claims = self._per_second()
        if not claims:
            return self.claims_per_slot
        measured = claims / busy_slots
        if self.claims_per_slot is None:
            return measured
        weight = 1 - math.exp(-seconds / RATE_SECONDS)
        return self.claims_per_slot + weight * (measured - self.claims_per_slot)


def _thinned(points: tuple[_Point, ...], new: _Point) -> tuple[_Point, ...]:
    """Append; points closer than the spacing replace each other, and a long past keeps every second point."""
    if len(points) > 1 and points[-1].at - points[-2].at < _SPACING_SECONDS:
        points = points[:-1]
    if len(points) >= _MOST_POINTS:
        half = len(points) // 2
        points = points[:half:2] + points[half:]
    return (*points, new)
