"""A keyed work queue for one event loop: many reasons to look at an object become one look.

A key is never handed out twice at once: what arrives while it is worked on makes it ready again afterwards.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

FIRST_BACKOFF_SECONDS = 0.1
LAST_BACKOFF_SECONDS = 60.0
HEAD_START_SECONDS = 5.0
"""What is urgent is served as if it had been due for so long: no other waits longer for it."""
SPARE_TIMERS = 64


class WorkQueue(Generic[K]):
    """Keys to work on, now or later, each with its own backoff.

    Args:
        clock: seconds, monotonic.
        jitter: a number in [0, 1) that spreads retries.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, jitter: Callable[[], float] = random.random
    ) -> None:
        self._clock = clock
        self._jitter = jitter
        self._due: dict[K, float] = {}
        self._timers: list[tuple[float, int, K]] = []
        self._order = itertools.count()
        self._working: dict[K, float] = {}
        self._taken_at = clock()
        self._failures: dict[K, int] = {}
        self._not_before: dict[K, float] = {}
        self._news: set[K] = set()
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._due)

    def waiting(self) -> int:
        """How many keys are due by now."""
        now = self._clock()
        return sum(due <= now for due in self._due.values())

    def is_behind(self) -> bool:
        """Whether a key is due. It costs nothing, and may still be true of one that was due a moment ago."""
        return bool(self._timers) and self._timers[0][0] <= self._clock()

    def stuck_seconds(self) -> float:
        """How long the slowest work takes already, or how long none has begun although some is due."""
        now = self._clock()
        ready = (due for key, due in self._due.items() if due <= now and key not in self._working)
        idle_since = max(min(ready, default=now), self._taken_at)
        return now - min(idle_since, *self._working.values(), now)

    def add(
        self, key: K, *, after_seconds: float = 0.0, skip_backoff: bool = False, urgent: bool = False
    ) -> None:
        """Work on `key` in that many seconds, or earlier when it was due earlier, if `urgent` before others.

        While the key backs off from a failure it waits at least for that, unless `skip_backoff` says that
        something new was learnt (its spec changed), which deserves a fresh try, also when the work that is
        under way, and may have begun before, fails.
        """
        if skip_backoff and key in self._working:
            self._news.add(key)
        due = self._clock() + after_seconds - (HEAD_START_SECONDS if urgent else 0.0)
        if not skip_backoff:
            due = max(due, self._not_before.get(key, due))
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            self._set_timer(due, key)
            self._changed.set()

    def _set_timer(self, due: float, key: K) -> None:
        heapq.heappush(self._timers, (due, next(self._order), key))
        # Each earlier time leaves a later timer behind, which nobody waits for.
        if len(self._timers) > 2 * len(self._due) + SPARE_TIMERS:
            self._timers = [timer for timer in self._timers if self._due.get(timer[2]) == timer[0]]
            heapq.heapify(self._timers)

    async def get(self) -> K:
        """Wait for a key that is due; give it back with `done` or `failed`."""
        while True:
            key, wait_seconds = self._next()
            if key is not None:
                return key
            self._changed.clear()
            try:
                async with asyncio.timeout(wait_seconds):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _next(self) -> tuple[K | None, float | None]:
        busy: list[tuple[float, int, K]] = []
        found: tuple[K | None, float | None] = (None, None)
        while self._timers:
            due, order, key = heapq.heappop(self._timers)
            if self._due.get(key) != due:
                continue  # an earlier time replaced this one, or the key was forgotten
            if due > self._clock():
                heapq.heappush(self._timers, (due, order, key))
                found = (None, due - self._clock())
                break
            if key in self._working:
                busy.append((due, order, key))
                continue
            del self._due[key]
            self._working[key] = self._taken_at = self._clock()
            found = (key, None)
            break
        for timer in busy:
            heapq.heappush(self._timers, timer)
        return found

    def done(self, key: K) -> None:
        """The key's work succeeded: its backoff starts anew."""
        self._news.discard(key)
        self._failures.pop(key, None)
        self._not_before.pop(key, None)
        self._finish(key)

    def failed(self, key: K) -> float:
        """The key's work failed: it is due again after the returned seconds, which double each time.

        At once, and 0 is returned, when something new was learnt about it meanwhile.
        """
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        backoff: float = min(FIRST_BACKOFF_SECONDS * 2 ** min(failures, 20), LAST_BACKOFF_SECONDS)
        seconds = backoff * (0.5 + 0.5 * self._jitter())
        self._not_before[key] = self._clock() + seconds
        self._due.pop(key, None)
        self._finish(key)
        if key in self._news:
            self._news.discard(key)
            self.add(key, skip_backoff=True)
            return 0.0
        self.add(key, after_seconds=seconds)
        return seconds

    def forget(self, key: K) -> None:
        """Drop the key's timer and backoff; work that runs is not interrupted."""
        self._due.pop(key, None)
        self._news.discard(key)
        self._failures.pop(key, None)
        self._not_before.pop(key, None)

    def _finish(self, key: K) -> None:
        self._working.pop(key, None)
        self._changed.set()
