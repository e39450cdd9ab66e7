"""Which calls were answered, so that nobody repeats them, and which claims have no answer yet."""

from __future__ import annotations

import threading
from collections import deque

from redis_message_queue._fork import ForgottenAtFork

_MOST_AT_ONCE = 64
# A process may serve a queue for each of its users: of those that it has done with, it keeps no name.
_MOST_QUEUES = 256


class AnsweredRecords:
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


class UnansweredClaims(ForgottenAtFork):
    """Claim ids by processing key, oldest first; an id is recovered by one caller at a time.

    The lock is never held across I/O, and is re-entrant because a signal handler may drain. A child of a fork
    begins with none: the parent recovers its own, and a message has one holder.
    """

    def forget(self) -> None:
        """Know of no claim."""
        self._lock = threading.RLock()
        self._sources: dict[str, dict[str, str]] = {}
        self._recovering: set[str] = set()

    def add(self, source: str, processing: str, claim_id: str) -> None:
        """Remember a claim of unknown outcome, and the list it would have taken from."""
        with self._lock:
            self._sources.setdefault(processing, {}).setdefault(claim_id, source)

    def take(self, processing: str, skip: frozenset[str] = frozenset()) -> tuple[str, str] | None:
        """Reserve the oldest id nobody is recovering, with its source; end with `settle` or `put_back`."""
        with self._lock:
            for claim_id, source in self._sources.get(processing, {}).items():
                if claim_id not in self._recovering and claim_id not in skip:
                    self._recovering.add(claim_id)
                    return claim_id, source
        return None

    def put_back(self, claim_id: str) -> None:
        """End a reservation: the outcome is still unknown."""
        with self._lock:
            self._recovering.discard(claim_id)

    def settle(self, processing: str, claim_id: str) -> None:
        """End a reservation: the outcome is known."""
        with self._lock:
            self._recovering.discard(claim_id)
            claims = self._sources.get(processing, {})
            claims.pop(claim_id, None)
            if not claims:
                self._sources.pop(processing, None)

    def waiting(self, processing: str) -> tuple[str, ...]:
        """The ids left for this processing key."""
        with self._lock:
            return tuple(self._sources.get(processing, ()))
