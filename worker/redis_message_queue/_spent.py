"""Records that nobody will read again: a call was answered, so it will not be repeated."""

from __future__ import annotations

from collections import deque

_MOST_AT_ONCE = 64
# A process may serve a queue for each of its users: of those that it has done with, it keeps no name.
_MOST_QUEUES = 256


class SpentRecords:
    """Names of records by queue: the next call on the queue removes them, so they cost no round trip.

    Threads may share it. What is never removed that way ends by its expiry.
    """

    def __init__(self) -> None:
        self._names: dict[str, deque[str]] = {}

    def add(self, queue: str, *names: str) -> None:
        """Note records for removal."""
        self._names.setdefault(queue, deque(maxlen=_MOST_AT_ONCE)).extend(names)
        while len(self._names) > _MOST_QUEUES:
            try:
                del self._names[next(iter(self._names))]
            except (KeyError, StopIteration, RuntimeError):  # another thread is at it
                break

    def take(self, queue: str) -> tuple[str, ...]:
        """The records to remove with the call that is about to be sent."""
        names, taken = self._names.pop(queue, None), []
        while names:
            try:
                taken.append(names.popleft())
            except IndexError:  # another thread took it
                break
        return tuple(taken)
