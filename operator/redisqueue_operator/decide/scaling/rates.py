"""Rates and ages from two counters of Redis, claims and pending, and Redis' own clock. No payload is read.

`arrived = claims + waiting` only ever grows, and messages are claimed in the order they arrived. So the one
that waits longest is number `claims + 1`, and it arrived when `arrived` first exceeded the claims of now.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from redisqueue_operator.decide.scaling.decision import Rates

if TYPE_CHECKING:
    from redisqueue_operator.observe.facts import QueueObservation

RATE_SECONDS = 10.0
"""Rates are averages of the last ten seconds: long enough for a few slow messages, short enough to react."""
ENOUGH_DONE = 100
"""So many messages give the speed of a slot; where there were fewer, the whole history has to do."""
FEW_DONE = 5
"""What was known before counts for more than fewer messages than this."""
BUSY_SHARE = 0.8
"""The part of its time that a worker may be busy on average: the nearer to 1, the longer messages wait."""
_SURE_SECONDS = 30.0
_SEEN_SECONDS = 1.0
"""Busy slots that no sample has met: at most so much work in all."""
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
            return RateHistory(known_per_slot=self.claims_per_slot())
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

    def handler_seconds(self) -> float | None:
        """How long a slot works at one message, on average; None when none was done yet, or nobody says busy.

        Samples meet few of the slots that are busy for moments, so half a minute at least is averaged. Of few
        messages the mean is a guess: it is taken for up to twice as long.
        """
        known = None if self.known_per_slot is None else 1 / self.known_per_slot
        if not self.points:
            return known
        now, done, slot_seconds = self.points[-1], 0, 0.0
        for point in reversed(self.points):
            done = (now.claims - now.busy_slots) - (point.claims - point.busy_slots)
            slot_seconds = now.slot_seconds - point.slot_seconds
            if done >= ENOUGH_DONE and now.at - point.at >= _SURE_SECONDS and slot_seconds:
                break
        if done <= 0 or not slot_seconds or (done < FEW_DONE and known is not None):
            return known
        return max(slot_seconds, _SEEN_SECONDS) / done * (1 + 1 / math.sqrt(done))

    def unspent(self, rate_per_second: float, burst: int) -> int:
        """How many may begin at once now beside the next one, of a bucket of `burst` that fills at this rate.

        With work that waits when it is seen for the first time, and worked at, it was spent before.
        """
        if not self.points:
            return burst - 1
        now, first = self.points[-1], self.points[0]
        level = float(burst)
        for point in self.points:
            full = 0 if point is first and point.busy_slots and point.arrived > point.claims else burst
            level = min(level, full - (now.claims - point.claims) + rate_per_second * (now.at - point.at))
        return max(0, math.floor(level) - 1)

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
        eta = 0.0 if waiting == 0 else eta
        return Rates(arrivals, claims, eta, waiting, self._oldest_age(), self.handler_seconds())

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
