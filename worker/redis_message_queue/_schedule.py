"""When each of many things is due: a heap whose entries are dropped lazily, once they are outdated."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)
# So many outdated entries may lie in the heap beyond as many as there are current ones.
_SLACK = 64


class Schedule(Generic[T]):
    """Things and the time each is due at, in any unit. O(log n) to set and to pop, O(1) to discard."""

    def __init__(self) -> None:
        self._when: dict[T, float] = {}
        self._heap: list[tuple[float, int, T]] = []
        self._order = count()  # equal times keep the order of their setting, and things need no order

    def __len__(self) -> int:
        return len(self._when)

    def set(self, thing: T, when: float) -> None:
        """`thing` is due at `when`, whatever it was before."""
        self._when[thing] = when
        if len(self._heap) > 2 * len(self._when) + _SLACK:
            self._heap = [entry for entry in self._heap if self._is_current(entry)]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (when, next(self._order), thing))

    def discard(self, thing: T) -> None:
        """`thing` is not due any more. Harmless when it was not."""
        self._when.pop(thing, None)

    def when(self, thing: T) -> float | None:
        """The time at which `thing` is due; None when it is not."""
        return self._when.get(thing)

    @property
    def next_at(self) -> float | None:
        """The earliest time at which anything is due; None when nothing is."""
        while self._heap and not self._is_current(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop(self, now: float) -> T | None:
        """Take out the first thing due by `now`; None when there is none."""
        first = self.next_at
        if first is None or first > now:
            return None
        thing = heapq.heappop(self._heap)[2]
        del self._when[thing]
        return thing

    def _is_current(self, entry: tuple[float, int, T]) -> bool:
        return self._when.get(entry[2]) == entry[0]
