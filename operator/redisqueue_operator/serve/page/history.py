"""The last hour of each RedisQueue, for plots: a ring of half minutes of fixed size, and the latest changes.

What is known holds until something else is: nobody looks at a queue in which nothing happens. What could not
be read is unknown, never zero.
"""

from __future__ import annotations

import math
import time
from array import array
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from redisqueue_operator.api.model import Key
    from redisqueue_operator.decide.scaling import Decision
    from redisqueue_operator.observe.facts import Observation

BINS, BIN_SECONDS = 120, 30.0
CHANGES = 8
"""So many of the latest changes of the number of workers are kept, however old they are."""
FEWEST_SECONDS = 1.0
"""A rate of less time than that says nothing."""
UNKNOWN = math.nan


class Gauge(IntEnum):
    """What has a value at any time; a half minute keeps the highest."""

    WAITING = 0
    IN_FLIGHT = 1
    WANTED = 2
    READY = 3


class Flow(IntEnum):
    """What is counted; a half minute keeps how many there were in it."""

    ARRIVED = 4
    CLAIMED = 5


WIDTH = len(Gauge) + len(Flow)


class Change(NamedTuple):
    """The number of workers was changed; `at` in seconds of the history's clock."""

    at: float
    before: int
    after: int
    reason: str


class Ring:
    """The last hour of one queue in 3 KB, whatever happens in it. Times are seconds, monotonic."""

    __slots__ = ("_bin", "_counters", "_gauges", "_since", "_values")

    def __init__(self, now: float) -> None:
        self._values = array("f", [UNKNOWN]) * (BINS * WIDTH)
        self._bin = _bin_of(now)
        self._gauges: tuple[float, ...] = (UNKNOWN,) * len(Gauge)
        self._counters: tuple[int, ...] | None = None
        self._since = now
        """When the counters were first known, after they were not."""

    def add(self, now: float, gauges: Sequence[float | None], counters: tuple[int, int] | None) -> None:
        """What is the case from now on.

        Args:
            gauges: in the order of `Gauge`; None is unknown.
            counters: messages that ever arrived and that were ever claimed; None when unknown.
        """
        self._advance(now)
        self._gauges = tuple(UNKNOWN if value is None else float(value) for value in gauges)
        for gauge, value in enumerate(self._gauges):
            self._raise(gauge, value)
        before, self._counters = self._counters, counters
        if counters is None:
            return
        if before is None or any(now < then for now, then in zip(counters, before, strict=True)):
            self._since, before = now, counters  # it begins, or the queue was emptied or restored
        for flow, is_now, was in zip(Flow, counters, before, strict=True):
            cell = self._cell(self._bin, flow)
            so_far = self._values[cell]
            self._values[cell] = (0.0 if math.isnan(so_far) else so_far) + is_now - was

    def series(self, now: float, what: Gauge | Flow) -> list[float | None]:
        """Each half minute, the oldest first, the present one last; of a flow so many a second."""
        self._advance(now)
        found = (self._values[self._cell(self._bin - age, what)] for age in range(BINS - 1, -1, -1))
        known = [None if math.isnan(value) else value for value in found]
        if isinstance(what, Gauge):
            return known
        rates = [None if value is None else value / BIN_SECONDS for value in known]
        return [*rates[:-1], self.per_second(now, what)]  # the present one has just begun

    def per_second(self, now: float, flow: Flow) -> float | None:
        """The rate of the last half to whole minute; None while it is unknown."""
        self._advance(now)
        seconds = now - max(self._since, (self._bin - 1) * BIN_SECONDS)
        if self._counters is None or seconds < FEWEST_SECONDS:
            return None
        found = (self._values[self._cell(each, flow)] for each in (self._bin - 1, self._bin))
        return sum(value for value in found if not math.isnan(value)) / seconds

    def _advance(self, now: float) -> None:
        """Begin the half minutes that have begun since: what was the case goes on, and nothing moved."""
        newest = max(self._bin, _bin_of(now))
        flow = UNKNOWN if self._counters is None else 0.0
        for each in range(max(self._bin, newest - BINS) + 1, newest + 1):
            start = self._cell(each, 0)
            self._values[start : start + WIDTH] = array("f", [*self._gauges, flow, flow])
        self._bin = newest

    def _raise(self, gauge: int, value: float) -> None:
        cell = self._cell(self._bin, gauge)
        if math.isnan(self._values[cell]) or value > self._values[cell]:
            self._values[cell] = value

    @staticmethod
    def _cell(each: int, what: int) -> int:
        return each % BINS * WIDTH + what


def _bin_of(now: float) -> int:
    return math.floor(now / BIN_SECONDS)


@dataclass(slots=True)
class QueueHistory:
    """One RedisQueue: how it was last seen, and how it came to that."""

    ring: Ring
    began_at: float
    """Since when anything is known of it: what an operator before this one did, it has told nobody."""
    observation: Observation | None = None
    decision: Decision | None = None
    state: str = ""
    conditions: tuple[Mapping[str, Any], ...] = ()
    changes: tuple[Change, ...] = ()
    """The oldest first."""
    expected: Collection[str] = ()

    @property
    def ready(self) -> int | None:
        """Workers that are ready; None while they cannot be seen."""
        seen = self.observation
        return None if seen is None or seen.unseen else seen.ready_replicas

    @property
    def wanted(self) -> int | None:
        """Workers that are wanted; None before a decision, and of one that was made without seeing any."""
        blind = self.observation is not None and self.observation.unseen
        return None if blind or self.decision is None else self.decision.to_replicas


class PageHistory:
    """All RedisQueues that this process decides about. Kept where somebody may look at it, and nowhere else.

    Args:
        clock: seconds, monotonic.
        expected: reasons of conditions that nobody needs to look at.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, expected: Collection[str] = ()
    ) -> None:
        self.clock = clock
        self.expected = expected
        self.queues: dict[Key, QueueHistory] = {}

    def observe(
        self, key: Key, observation: Observation | None, decision: Decision | None, status: Mapping[str, Any]
    ) -> None:
        """This RedisQueue is so from now on. `status` as the object has it, or would have it."""
        now = self.clock()
        seen = self._of(key, now)
        seen.observation, seen.decision = observation, decision
        seen.state, seen.conditions = status.get("state", ""), tuple(status.get("conditions", ()))
        seen.expected = self.expected
        queue = observation.queue if observation is not None else None
        counters = None
        if queue is not None and queue.claims_total is not None:
            counters = (queue.claims_total + queue.pending + queue.delayed_due, queue.claims_total)
        gauges = (
            queue.pending + queue.delayed_due if queue is not None else None,
            queue.in_flight if queue is not None else None,
            seen.wanted,
            seen.ready,
        )
        seen.ring.add(now, gauges, counters)

    def scaled(self, key: Key, before: int, after: int, reason: str) -> None:
        """Its number of workers was changed just now."""
        now = self.clock()
        seen = self._of(key, now)
        seen.changes = (*seen.changes[1 - CHANGES :], Change(now, before, after, reason))

    def forget(self, key: Key) -> None:
        """The RedisQueue is gone."""
        self.queues.pop(key, None)

    def _of(self, key: Key, now: float) -> QueueHistory:
        if (seen := self.queues.get(key)) is None:
            seen = self.queues[key] = QueueHistory(Ring(now), now)
        return seen
