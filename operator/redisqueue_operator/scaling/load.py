"""How much work the workers had: the mean of their busy slots over a window, by Redis' own clock.

How many are busy at one moment is chance. A fleet that shrinks to that soon has too few, and grows again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from redisqueue_operator.observation import QueueObservation
    from redisqueue_operator.scaling.policy import Policy

BUSY_SHARE = 0.8
"""The part of its time that a worker may be busy on average: the nearer to 1, the longer messages wait."""
_MOST_POINTS = 12


class _Point(NamedTuple):
    at: float
    slot_seconds: float
    claims: int


@dataclass(frozen=True, slots=True)
class LoadHistory:
    """Busy slots summed over time, at a few moments of the window; the last point is the present."""

    points: tuple[_Point, ...] = ()
    busy_slots: int = 0
    """At the last look: so many were busy until the next one."""

    def add(self, queue: QueueObservation, busy_slots: int, window_seconds: float) -> LoadHistory:
        """Take in one look. Nothing is remembered without a window or the counter of claims."""
        if queue.claims_total is None or window_seconds <= 0:
            return LoadHistory()
        now, points = queue.time_ms / 1000, self.points
        if points and (queue.claims_total < points[-1].claims or now < points[-1].at):
            points = ()  # FLUSHALL, failover: begin anew
        spent = points[-1].slot_seconds + self.busy_slots * (now - points[-1].at) if points else 0.0
        if len(points) > 1 and points[-1].at - points[-2].at < window_seconds / _MOST_POINTS:
            points = points[:-1]
        points = (*points, _Point(now, spent, queue.claims_total))
        while len(points) > 2 and points[1].at <= now - window_seconds:
            points = points[1:]
        return LoadHistory(points, busy_slots)

    def workers(self, policy: Policy, replicas: int) -> int:
        """How many workers the load of the window needs: those it kept busy, and one to spare for every four.

        Zero while there were fewer claims than workers: handlers then outlast the window, and who is busy now
        says more than a mean.
        """
        if len(self.points) < 2:
            return 0
        first, last = self.points[0], self.points[-1]
        if last.claims - first.claims < replicas or last.at <= first.at:
            return 0
        busy = (last.slot_seconds - first.slot_seconds) / (last.at - first.at) / policy.concurrency
        return max(math.ceil(busy), int(busy / BUSY_SHARE))
