"""A circuit breaker: a worker that only fails stops eating the queue, and tries a message now and then. Pure.

    closed ──failures in a row──▶ open ──pause──▶ half-open ──a message handled──▶ closed
                                   ▲                  │
                                   └─ it failed: twice the pause

A message that fails by itself must not stop the others: what a half-open worker tries is one delivery like
any other, so it is retried later or given up, and the next try gets the next message.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from tenacity.wait import wait_exponential, wait_random

from redisqueue_worker.policy import wait_seconds

SHORTEST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
_PAUSE = wait_exponential(multiplier=SHORTEST_PAUSE_SECONDS, max=LONGEST_PAUSE_SECONDS)


class Circuit(StrEnum):
    CLOSED = "closed"  # claims for all free slots
    OPEN = "open"  # claims nothing
    HALF_OPEN = "half-open"  # claims one message at a time


@dataclass(frozen=True, slots=True)
class Breaker:
    """Where the breaker stands. Times are on the caller's clock, in seconds.

    Attributes:
        threshold: failures in a row that open it; 0 for never.
        failures: failures in a row so far.
        pauses: pauses since it was closed; 0 while it is.
        resume_at: the end of the last pause.
        epoch: how often it has opened. A message belongs to the epoch in which it was claimed.
    """

    threshold: int
    failures: int = 0
    pauses: int = 0
    resume_at: float = 0.0
    epoch: int = 0

    @property
    def tripped(self) -> bool:
        """Whether it is open or half-open."""
        return self.pauses > 0

    def circuit(self, now: float) -> Circuit:
        if not self.tripped:
            return Circuit.CLOSED
        return Circuit.OPEN if now < self.resume_at else Circuit.HALF_OPEN

    def pause_seconds(self, now: float) -> float | None:
        """How long nothing is claimed from now on; None when something may be."""
        return self.resume_at - now if self.circuit(now) is Circuit.OPEN else None

    def room(self, free: int, *, probes: int, now: float) -> int:
        """How many messages to claim at most.

        Args:
            free: slots that have nothing to do.
            probes: messages of this epoch in hand.
        """
        match self.circuit(now):
            case Circuit.CLOSED:
                return free
            case Circuit.OPEN:
                return 0
            case Circuit.HALF_OPEN:
                return min(free, max(0, 1 - probes))

    def excuses(self, epoch: int) -> bool:
        """Whether a failure of a message claimed in `epoch` is held against the worker, not the message.

        That is so for what was in hand when the breaker opened: it goes back, for a better worker.
        """
        return self.tripped and epoch < self.epoch

    def succeeded(self) -> Breaker:
        """A handler returned."""
        return replace(self, failures=0, pauses=0) if self.failures or self.pauses else self

    def failed(self, epoch: int, now: float) -> Breaker:
        """A handler of a message claimed in `epoch` raised, timed out or died."""
        if self.threshold == 0 or self.excuses(epoch):
            return self
        failures = self.failures + 1
        if not self.tripped and failures < self.threshold:
            return replace(self, failures=failures)
        pauses = self.pauses + 1
        pause = wait_seconds(_PAUSE, pauses)
        pause += wait_seconds(wait_random(0, pause / 4), pauses)
        return replace(self, failures=failures, pauses=pauses, resume_at=now + pause, epoch=self.epoch + 1)
