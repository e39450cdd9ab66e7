"""What a process remembers of its own calls: who is in one, which claims and records are still open.

None of it is for the child of a fork: its locks would stay locked there, and the work goes on in the parent.
"""

from __future__ import annotations

import os
import threading
import weakref
from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_RECORDS = 64
# A process may serve a queue for each of its users: of those that it has done with, it keeps no name.
_MOST_QUEUES = 256


class ForgottenAtFork(ABC):
    """State of one process: `forget()` makes it empty, at the beginning and in every child of a fork."""

    def __init__(self) -> None:
        self.forget()
        _living.add(self)

    @abstractmethod
    def forget(self) -> None:
        """Begin anew. Must not wait for a lock: the thread that held it does not exist here."""


_living: weakref.WeakSet[ForgottenAtFork] = weakref.WeakSet()


def _forget_all() -> None:
    for state in list(_living):
        state.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


class InFlightGate(ForgottenAtFork):
    """Who is inside a queue object, by thread or task, so that a drain waits for them but not for itself.

    In a child of a fork nobody is inside: the parent's other threads stayed there.
    """

    stopping = False

    def forget(self) -> None:
        """Count nobody."""
        self._lock = threading.RLock()
        self._callers: dict[object, int] = {}
        self._leader: object = None

    def enter(self, caller: object) -> bool:
        """Count `caller` until it calls `leave`; False, and counts nobody, once the queue is stopping."""
        with self._lock:
            admitted = not self.stopping
            if admitted:
                self._callers[caller] = self._callers.get(caller, 0) + 1
        return admitted

    def leave(self, caller: object) -> None:
        """Undo one `enter` that was True."""
        with self._lock:
            left = self._callers.pop(caller) - 1
            if left:
                self._callers[caller] = left

    def is_stopping(self) -> bool:
        """Whether nobody is admitted any more."""
        return self.stopping

    def stop(self) -> None:
        """Admit nobody from now on."""
        with self._lock:
            self.stopping = True

    @contextmanager
    def draining(self, caller: object) -> Iterator[bool]:
        """Gives True, to one caller at a time, once nobody else is inside.

        A caller that is inside itself (a callback, a signal handler) is not waited for, and may nest.
        """
        with self._lock:
            nested = self._leader == caller
            leads = nested or (self._leader is None and all(who == caller for who in self._callers))
            if leads:
                self._leader = caller
        try:
            yield leads
        finally:
            if leads and not nested:
                self._leader = None


class UnansweredClaims(ForgottenAtFork):
    """Claim ids by processing key, oldest first; an id is recovered by one caller at a time.

    The lock is never held across I/O, and is re-entrant because a signal handler may drain. A child of a fork
    begins with none: the parent recovers its own, and a message has one holder.
    """

    def forget(self) -> None:
        """Know of no claim."""
        self._lock = threading.RLock()
        self.sources: dict[str, dict[str, str]] = {}
        self._recovering: set[str] = set()

    def add(self, source: str, processing: str, claim_id: str) -> None:
        """Remember a claim of unknown outcome, and the list it would have taken from."""
        with self._lock:
            self.sources.setdefault(processing, {}).setdefault(claim_id, source)

    def take(self, processing: str, skip: frozenset[str] = frozenset()) -> tuple[str, str] | None:
        """Reserve the oldest id nobody is recovering, with its source; end with `settle` or `put_back`."""
        with self._lock:
            for claim_id, source in self.sources.get(processing, {}).items():
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
            claims = self.sources.get(processing, {})
            claims.pop(claim_id, None)
            if not claims:
                self.sources.pop(processing, None)

    def waiting(self, processing: str) -> tuple[str, ...]:
        """The ids left for this processing key."""
        with self._lock:
            return tuple(self.sources.get(processing, ()))


class AnsweredRecords(dict[str, tuple[str, ...]]):
    """Names of records by queue, of calls that were answered: `pop` gives them to the next call on the queue.

    That one removes them, so they cost no round trip. Threads may share it; expiry ends the rest.
    """

    def add(self, queue: str, *names: str) -> None:
        """Note records for removal."""
        self[queue] = (*self.get(queue, ()), *names)[-_MOST_RECORDS:]
        while len(self) > _MOST_QUEUES:
            try:
                del self[next(iter(self))]
            except (KeyError, StopIteration, RuntimeError):  # another thread is at it
                break
