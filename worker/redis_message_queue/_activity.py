"""Who is inside a queue object right now: a drain waits for them instead of locking them out."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from redis_message_queue._fork import ForgottenAtFork

if TYPE_CHECKING:
    from collections.abc import Iterator


class Activity(ForgottenAtFork):
    """Counts callers (threads or tasks) by identity, so that a drain does not wait for itself.

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
