"""Whose status is written when: nobody waits for workers because somebody else's status is written."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redisqueue_operator.api.model import Key
    from redisqueue_operator.loop.workqueue import WorkQueue

AT_ONCE = 8
"""Statuses wait for the rate limiter. The other half of the workers is free for what somebody waits for."""
AT_ONCE_MEANWHILE = 2
"""The same while others wait to be looked at: some are always written, so that none waits for ever."""


class Reports:
    """Who has a status to write and waits for it; in time, `queue` is told to look at it once more."""

    def __init__(self, queue: WorkQueue[Key]) -> None:
        self._queue = queue
        self._under_way = 0
        self._waiting: dict[Key, None] = {}
        self._called: set[Key] = set()

    def is_crowded(self, key: Key) -> bool:
        """Whether this one has to wait: asked once at each look at it."""
        if key in self._called:
            self._called.discard(key)
            return self._under_way >= AT_ONCE
        return self._under_way >= self._most()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """One status is written in the block."""
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    def wait(self, key: Key) -> None:
        """Have this one looked at again when there is room; those who wait are served in order."""
        self._waiting[key] = None

    def call_next(self, after: Key) -> None:
        """The look at `after` is over: have as many others looked at as there is room for."""
        self._called.discard(after)
        room = self._most() - self._under_way - len(self._called)
        for key in tuple(itertools.islice(self._waiting, max(0, room))):
            del self._waiting[key]
            self._called.add(key)
            self._queue.add(key)

    def forget(self, key: Key) -> None:
        """There is nothing to tell of it any more."""
        self._waiting.pop(key, None)
        self._called.discard(key)

    def _most(self) -> int:
        return AT_ONCE_MEANWHILE if self._queue.is_behind() else AT_ONCE
