"""A circuit breaker: a worker that only fails stops eating the queue, and tries messages one at a time. Pure.

    closed ──failures in a row──▶ open ──pause──▶ half-open ──a message handled──▶ closed
                                   ▲                  │
                                   └─ it failed: twice the pause

The pause is for what has failed before, and that waits behind everything else. A message that fails for
the first time says little about the worker: the next one follows at once, so that good messages are reached
behind many bad ones. Only after QUICK_TRIES of those nothing at all is tried within a pause.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from redis_message_queue._clock import monotonic
from redis_message_queue.consumer import Due, Outcome
from redisqueue_worker.retry_policy import doubled, spread

if TYPE_CHECKING:
    from redis_message_queue.consumer import ClaimReply, Settlement
    from redisqueue_worker.claim_timing import ClaimTiming
    from redisqueue_worker.in_flight import InFlight, InFlightTable
    from redisqueue_worker.metrics import Metrics


log = logging.getLogger(__name__)

SHORTEST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
QUICK_TRIES = 200
QUICK_PAUSE_SECONDS = 0.02


class Circuit(StrEnum):
    CLOSED = "closed"  # claims for all free slots
    OPEN = "open"  # claims nothing
    HALF_OPEN = "half-open"  # claims one message at a time


class Breaker(NamedTuple):
    """Where the breaker stands. Times are on the caller's clock, in seconds.

    Attributes:
        threshold: failures in a row that open it; 0 for never.
        failures: failures in a row so far.
        pauses: pauses since it was closed; 0 while it is.
        resume_at: the end of the last pause: before it nothing is tried that failed before.
        next_at: nothing at all is tried before this.
        quick_tries: messages tried without a pause since it was closed.
        epoch: how often it has opened. A message belongs to the epoch in which it was claimed.
    """

    threshold: int
    failures: int = 0
    pauses: int = 0
    resume_at: float = 0.0
    next_at: float = 0.0
    quick_tries: int = 0
    epoch: int = 0

    @property
    def tripped(self) -> bool:
        """Whether it is open or half-open."""
        return self.pauses > 0

    def circuit(self, now: float) -> Circuit:
        if not self.tripped:
            return Circuit.CLOSED
        return Circuit.OPEN if now < self.next_at else Circuit.HALF_OPEN

    def pause_seconds(self, now: float) -> float | None:
        """How long nothing is claimed from now on; None when something may be."""
        return self.next_at - now if self.circuit(now) is Circuit.OPEN else None

    def due(self, now: float) -> Due:
        """What to do with retries that are due: while it is tripped they come last, and not in a pause."""
        if not self.tripped:
            return Due.FIRST
        return Due.LAST if now >= self.resume_at else Due.LATER

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
        if not (self.failures or self.pauses):
            return self
        return self._replace(failures=0, pauses=0, quick_tries=0)

    def failed(self, epoch: int, now: float, *, again: bool = False) -> Breaker:
        """A handler of a message claimed in `epoch` raised, timed out or died; `again` if it had before."""
        if self.threshold == 0 or self.excuses(epoch):
            return self
        failed = self._replace(failures=self.failures + 1, next_at=now + QUICK_PAUSE_SECONDS)
        if not self.tripped and failed.failures < self.threshold:
            return failed
        quick = self.tripped and self.quick_tries < QUICK_TRIES
        if quick and not again:
            return failed._replace(quick_tries=self.quick_tries + 1)
        pauses = self.pauses + 1
        pause = doubled(SHORTEST_PAUSE_SECONDS, pauses, LONGEST_PAUSE_SECONDS)
        resume_at = now + pause + spread(pause / 4)
        opened = failed._replace(pauses=pauses, resume_at=resume_at, epoch=self.epoch + 1)
        return opened if quick else opened._replace(next_at=resume_at)


class CircuitBreaker:
    """Keeps the breaker of one consumer loop.

    Attributes:
        state: where it stands.
    """

    def __init__(self, breaker: Breaker, metrics: Metrics, timing: ClaimTiming) -> None:
        self.state = breaker
        self._metrics = metrics
        self._timing = timing

    def verdict(self, message: InFlight, settlement: Settlement) -> Settlement:
        """What becomes of `message` in the end; what a handler asked for says nothing about the worker."""
        before = self.state
        if settlement.outcome is Outcome.DONE and not (before.failures or before.pauses):
            return settlement
        now = monotonic()
        if settlement.failed:
            if before.excuses(message.epoch):
                return replace(settlement, outcome=Outcome.RELEASE, delay_seconds=0.0)
            self.state = before.failed(message.epoch, now, again=message.claim.failures > 0)
        elif settlement.outcome is Outcome.DONE:
            self.state = before.succeeded()
        self._tell(before, now)
        return settlement

    def room(self, free: int, in_flight: InFlightTable, now: float) -> int:
        """How many messages to claim at most, given how many slots are free and what is in flight."""
        state = self.state
        if not state.tripped:
            return free
        probes = sum(message.epoch == state.epoch for message in in_flight.running())
        return state.room(free, probes=probes, now=now)

    def put_off(self, reply: ClaimReply, now: float) -> ClaimReply:
        """What a claim brought, and that what becomes due is not tried before the end of a pause."""
        due_seconds = reply.next_due_seconds
        if due_seconds is None or self.state.due(now) is not Due.LATER:
            return reply
        return reply._replace(next_due_seconds=max(due_seconds, self.state.resume_at - now))

    def _tell(self, before: Breaker, now: float) -> None:
        after = self.state
        if after.epoch != before.epoch:
            self._metrics.circuit_openings += 1
            log.warning(
                "failures in a row: claiming nothing for a while, then one message",
                extra={"failures": after.failures, "pause_seconds": round(after.resume_at - now, 3)},
            )
        if after.tripped != before.tripped:
            self._metrics.circuit_open = after.tripped
            self._timing.report_soon()
            if before.tripped:
                log.info("a message was handled: claiming as before", extra={"failures": before.failures})
