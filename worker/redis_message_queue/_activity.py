"""Who is inside a queue object right now: a drain waits for them instead of locking them out."""

from __future__ import annotations

import threading
from collections import Counter
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
        self._callers: Counter[object] = Counter()
        self._leader: object = None

    @contextmanager
    def of(self, caller: object) -> Iterator[bool]:
        """Count `caller` inside the block; gives False, and counts nobody, once the queue is stopping."""
        with self._lock:
            admitted = not self.stopping
            if admitted:
                self._callers[caller] += 1
        try:
            yield admitted
        finally:
            if admitted:
                with self._lock:
                    self._callers[caller] -= 1
                    if not self._callers[caller]:
                        del self._callers[caller]

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
