"""Sharing out by numbers comes to the same as worker by worker, in a moment."""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redisqueue_operator.decide.budget.allocation import Allocation, below, fits, less

if TYPE_CHECKING:
    from redisqueue_operator.decide.budget import Amount, Limit


class WorkerByWorker(Allocation):
    """The rule as it is said, one worker at a time."""

    def fill(
        self,
        goals: list[int],
        priorities: list[int],
        ties: list[int],
        *,
        parts: list[int] | None = None,
        reserve: bool = False,
    ) -> None:
        measure, left = parts or [1] * len(goals), self.left()

        def entry(n: int) -> tuple[int, float, bool, int]:
            return -priorities[n], self.counts[n] / measure[n], self.counts[n] >= ties[n], n

        heap = [entry(n) for n, goal in enumerate(goals) if self.counts[n] < goal]
        heapq.heapify(heap)
        while heap:
            n = heap[0][3]
            if fits(self.costs[n], left):
                left = [have - each for have, each in zip(left, self.costs[n], strict=True)]
                self.counts[n] += 1
                if self.counts[n] < goals[n]:
                    heapq.heapreplace(heap, entry(n))
                    continue
            elif reserve:
                return
            heapq.heappop(heap)


@st.composite
def allocations(draw: st.DrawFn) -> tuple[list[Amount], list[int], list[int], list[int], list[int], Limit]:
    number = draw(st.integers(1, 7))

    def each(values: st.SearchStrategy[int]) -> list[int]:
        return draw(st.lists(values, min_size=number, max_size=number))

    costs: list[Amount] = [
        (1, cpu, memory)
        for cpu, memory in zip(each(st.sampled_from([0, 1, 2, 5, 70])), each(st.integers(0, 3)), strict=True)
    ]
    limits = [st.integers(0, most) | st.just(math.inf) for most in (150, 400, 200)]
    limit = draw(st.tuples(*limits))
    return (
        costs,
        each(st.integers(0, 9)),
        each(st.sampled_from([0, 1, 3, 10, 40])),
        each(st.integers(0, 1)),
        each(st.integers(0, 12)),
        limit,
    )


@given(allocations(), st.booleans(), st.booleans())
@settings(max_examples=400)
def test_it_comes_to_the_same_as_worker_by_worker(
    drawn: tuple[list[Amount], list[int], list[int], list[int], list[int], Limit],
    reserve: bool,
    in_proportion: bool,
) -> None:
    costs, counts, goals, priorities, ties, limit = drawn
    parts = [max(1, goal) for goal in goals] if in_proportion else None
    ours, theirs = (kind(costs, list(counts), limit) for kind in (Allocation, WorkerByWorker))
    ours.fill(goals, priorities, ties, parts=parts, reserve=reserve)
    theirs.fill(goals, priorities, ties, parts=parts, reserve=reserve)
    assert ours.counts == theirs.counts
    assert ours.left() == less(limit, ours.counts, costs)


@given(st.integers(0, 1000), st.integers(1, 1000))
def test_who_is_exactly_at_a_level_is_not_below_it(count: int, part: int) -> None:
    assert below(count / part, part) == count


@pytest.mark.parametrize("in_proportion", [False, True])
def test_the_work_does_not_grow_with_the_number_of_workers(in_proportion: bool) -> None:
    class Counting(list[int]):
        """What is shared out, and how often somebody is given something."""

        given = 0

        def __setitem__(self, key: object, value: object) -> None:
            self.given += 1
            super().__setitem__(key, value)  # type: ignore[index, assignment]

    given_by = []
    for wanted in (10, 1000):
        counts = Counting([0] * 100)
        goals = [wanted + n for n in range(100)]
        allocation = Allocation([(1, 0, 0)] * 100, counts, (50 * wanted, math.inf, math.inf))
        allocation.fill(goals, [0] * 100, [0] * 100, parts=goals if in_proportion else None)
        assert sum(counts) == 50 * wanted
        given_by.append(counts.given)
    assert max(given_by) <= 4 * 100
