"""Who gets the next worker, as long as something is left: each number at once, not worker by worker. Pure."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Amount = tuple[int, int, int]
"""Workers, thousandths of a processor, bytes of memory."""
Limit = tuple[float, float, float]
"""The most of each; infinite where there is no limit."""


@dataclass(slots=True)
class Allocation:
    """Workers of several queues, by index, and what is left for more of them.

    Args:
        costs: of one worker of each queue.
        counts: how many each has; they grow.
        limit: what there is for all together.
    """

    costs: Sequence[Amount]
    counts: list[int]
    limit: Limit

    def left(self) -> list[float]:
        """Of each resource; below zero where more is in use than there is."""
        return less(self.limit, self.counts, self.costs)

    def fill(
        self,
        goals: Sequence[int],
        priorities: Sequence[int],
        ties: Sequence[int],
        *,
        parts: Sequence[int] | None = None,
        reserve: bool = False,
    ) -> None:
        """Give one worker after another, none beyond its goal: to the highest priority, of that to the queue
        with the fewest, of equals to one that has fewer than its number of `ties`, and then to the first.

        `parts` are what the numbers are measured by: a queue with twice the part gets twice as many. A worker
        that does not fit is passed over, and all others of its queue; with `reserve` all that comes after it
        waits.
        """
        parts = parts or [1] * len(goals)
        left = self.left()

        def entry(n: int) -> tuple[float, bool, int]:
            return self.counts[n] / parts[n], self.counts[n] >= ties[n], n

        short = sorted(
            (n for n, goal in enumerate(goals) if self.counts[n] < goal), key=lambda n: -priorities[n]
        )
        for _, each in groupby(short, key=lambda n: priorities[n]):
            group = list(each)
            while group:
                level = self._raise(group, goals, parts, left)
                line = [entry(n) for n in group if self.counts[n] < goals[n]]
                heapq.heapify(line)
                while line and line[0][0] < level:
                    n = line[0][2]
                    if fits(self.costs[n], left):
                        self._give(n, 1, left)
                        if self.counts[n] < goals[n]:
                            heapq.heapreplace(line, entry(n))
                            continue
                    elif reserve:
                        return
                    heapq.heappop(line)
                group = [n for _, _, n in line]

    def _raise(
        self, group: Sequence[int], goals: Sequence[int], parts: Sequence[int], left: list[float]
    ) -> float:
        """Give to all of the group as far as there is enough for everybody's next one.

        Returns a level below which not all workers fit, and no more than one for each queue are missing; zero
        when all have their goals.
        """

        def wants(level: float) -> list[int]:
            """How many more each has when all workers below the level are there."""
            return [max(0, min(goals[n], below(level, parts[n])) - self.counts[n]) for n in group]

        scarce = [part for part, each in enumerate(left) if each < math.inf]

        def enough(more: Sequence[int]) -> bool:
            needs = [
                sum(count * self.costs[n][part] for n, count in zip(group, more, strict=True))
                for part in scarce
            ]
            return fits(needs, [left[part] for part in scarce])

        low, high = 0.0, max(goals[n] / parts[n] for n in group)
        least, most = [0] * len(group), wants(high)
        if enough(most):
            least, high = most, 0.0
        while high and sum(most) - sum(least) > len(group):
            middle = (low + high) / 2
            if enough(more := wants(middle)):
                low, least = middle, more
            else:
                high, most = middle, more
        for n, count in zip(group, least, strict=True):
            self._give(n, count, left)
        return high

    def _give(self, n: int, count: int, left: list[float]) -> None:
        self.counts[n] += count
        for part, each in enumerate(self.costs[n]):
            left[part] -= each * count


def below(level: float, part: int) -> int:
    """How many workers have fewer than that before them, measured by `part`: count / part < level."""
    count = math.ceil(level * part)
    if part == 1:
        return count
    while count > 0 and (count - 1) / part >= level:
        count -= 1
    while count / part < level:
        count += 1
    return count


def fits(cost: Sequence[int], left: Sequence[float]) -> bool:
    """Whether there is enough of each resource that it needs."""
    return all(have >= each for have, each in zip(left, cost, strict=True) if each)


def less(limit: Limit, counts: Sequence[int], costs: Sequence[Amount]) -> list[float]:
    """What is left of the limit, in whole units."""
    return [
        (most if most == math.inf else math.floor(most))
        - sum(count * cost[part] for count, cost in zip(counts, costs, strict=True))
        for part, most in enumerate(limit)
    ]
