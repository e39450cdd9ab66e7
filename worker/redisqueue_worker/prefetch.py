"""What is claimed beyond the free slots where handlers are quick, so that no slot waits for Redis."""

from __future__ import annotations

import math
import threading
from collections import deque
from typing import TYPE_CHECKING

from redis_message_queue._clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redisqueue_worker.in_flight import InFlight


# What waits for a slot longer than this goes back: another worker may have one free.
LONGEST_WAIT_SECONDS = 1.0
# Where handlers take longer, nobody would notice the call that prefetching spares them.
_LONGEST_HANDLER_SECONDS = 0.05
_SHORTEST_HANDLER_SECONDS = 1e-6
_MOST_MESSAGES = 64
# Where they take less than two calls do, calls overlap, and so much is in hand that each has enough to carry.
_QUICK_CALLS, _QUICK_TIMES, _MOST_QUICK_MESSAGES = 2, 3, 256
# What is shorter than this is not worth a pause: the consumer loop itself takes as long.
_SHORTEST_LINGER_SECONDS = 0.0002
# At most so long, and such a part of a handler's time: where slots wait for the call, and where none does.
_LINGER, _LINGER_PREFETCHING = (0.001, 1 / 16), (0.002, 1 / 5)


class Prefetch:
    """The slots, what waits for one of them, and how much is to wait. Where there is one slot, nothing does.

    Args:
        slots: how many there are, all of them free.
        ahead: False where what begins is counted by limits, so that nothing is to wait for a slot.

    Attributes:
        saturated: whether the last claim brought all that it was to bring.
    """

    def __init__(self, slots: int, *, ahead: bool = True) -> None:
        self.saturated = False
        self._ahead = ahead
        self._slots = slots
        self._mean_seconds: float | None = None
        self._call_seconds = 0.0
        self._lock = threading.Lock()
        self._free = slots
        self._waiting: deque[InFlight] = deque()

    # ---- how much ----

    def took(self, seconds: float) -> None:
        """A handler took so long."""
        if self._slots > 1:
            mean = seconds if self._mean_seconds is None else self._mean_seconds
            self._mean_seconds = mean + (seconds - mean) / 16

    def called(self, seconds: float) -> None:
        """A call to Redis took so long."""
        self._call_seconds += (seconds - self._call_seconds) / 16

    def room(self, running: int) -> int:
        """How many messages to claim, given how many have a slot or wait for one."""
        return max(0, self._slots + self._beyond - running)

    @property
    def is_quick(self) -> bool:
        """Whether slots get through what they have while two calls are answered, and there is more to do."""
        mean = self._mean_prefetched_for
        return mean is not None and mean <= _QUICK_CALLS * self._call_seconds

    @property
    def share(self) -> int:
        """How many messages each of two calls that overlap is to bring."""
        return (self._slots + self._beyond) // 2

    @property
    def linger_seconds(self) -> float:
        """How long a result waits for others to go along in one call, while other handlers run.

        A millisecond at most, and a sixteenth of what a handler takes; 2 ms and a fifth where no slot waits
        meanwhile, since messages were prefetched. 0 for short handlers.
        """
        wanted = _lingered(_LINGER_PREFETCHING if self._beyond else _LINGER, self._mean_seconds or 0.0)
        return wanted if wanted >= _SHORTEST_LINGER_SECONDS else 0.0

    @property
    def _mean_prefetched_for(self) -> float | None:
        """What a handler takes; None where nothing is prefetched for it."""
        mean = self._mean_seconds
        if not (self._ahead and self.saturated) or mean is None or mean > _LONGEST_HANDLER_SECONDS:
            return None
        return mean

    @property
    def _beyond(self) -> int:
        """How many messages to have beyond the slots: what these get through until a call is answered."""
        if self.is_quick:
            return min(_QUICK_TIMES * self._slots, _MOST_QUICK_MESSAGES)
        mean = self._mean_prefetched_for
        if mean is None:
            return 0
        away_seconds = self._call_seconds + _lingered(_LINGER_PREFETCHING, mean)
        begun = math.ceil(self._slots * away_seconds / max(mean, _SHORTEST_HANDLER_SECONDS)) + 1
        return min(begun, self._slots, _MOST_MESSAGES)

    # ---- which; slots ask from their own threads ----

    def add(self, messages: Sequence[InFlight]) -> Sequence[InFlight]:
        """Those that slots are free for, to be begun; the others wait for one."""
        with self._lock:
            if len(messages) <= self._free:
                self._free -= len(messages)
                return messages
            begun, waiting = messages[: self._free], messages[self._free :]
            self._free = 0
            for message in waiting:
                message.queued = True
            self._waiting.extend(waiting)
        return begun

    def next(self, *, draining: bool) -> InFlight | None:
        """A slot has become free: what it is to begin with, if anything."""
        with self._lock:
            waiting = self._waiting
            if draining or not waiting or monotonic() - waiting[0].started >= LONGEST_WAIT_SECONDS:
                self._free += 1
                return None
            return waiting.popleft()

    def take_back(self, *, held: bool) -> list[InFlight]:
        """What no slot is to begin with, since the worker is held up or the first has waited for too long."""
        if not self._waiting:
            return []
        with self._lock:
            if not self._waiting or not (held or self.patience_seconds <= 0):
                return []
            taken = [*self._waiting]
            self._waiting.clear()
        self.saturated = False  # until a slot is free
        return taken

    @property
    def patience_seconds(self) -> float:
        """Seconds until those that wait are to go back; infinite when none does."""
        try:
            return LONGEST_WAIT_SECONDS - self._waiting[0].age_seconds
        except IndexError:
            return math.inf


def _lingered(most: tuple[float, float], mean_seconds: float) -> float:
    longest, part = most
    return min(longest, part * mean_seconds)
