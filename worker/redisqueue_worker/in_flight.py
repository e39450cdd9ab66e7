"""The messages that this process holds, claimed and not yet settled, and the timeouts of their handlers."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from redis_message_queue._clock import monotonic
from redisqueue_worker.retry_policy import unless_unwanted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from redis_message_queue.consumer import Claim
    from redisqueue_worker.context import Context
    from redisqueue_worker.effective_policy import EffectivePolicy
    from redisqueue_worker.metrics import Metrics
    from redisqueue_worker.retry_policy import Failure, RetryPolicy
    from redisqueue_worker.stacks import Question

log = logging.getLogger(__name__)

# How long a cancelled handler may take to end before it counts as one that never will.
CANCEL_SECONDS = 5.0


@dataclass(eq=False, slots=True)
class InFlight:
    """One claimed message on its way through the handler.

    Attributes:
        cancel: stops the handler, where that is possible (async handlers, once they run).
        queued: no slot has begun with it, so that its handler's time does not count yet.
        timed_out_at: when the handler overran its deadline, on the monotonic clock.
        abandoned: nobody waits for this handler any more; the process must be replaced to be rid of it.
        finished: the handler has ended, the outcome is not settled yet.
        lost: somebody else holds the lease.
        cancelled: somebody wants it to end; `stopped` once its handler was told to.
        pid: of the process slot that is at it; what its handler is at can be asked by a `question`.
        epoch: the circuit breaker's when it was claimed.
        retries: its handler's own; None for the worker's.
    """

    claim: Claim
    context: Context
    started: float = field(default_factory=monotonic)
    cancel: Callable[[], object] | None = None
    queued: bool = False
    timed_out_at: float | None = None
    abandoned: bool = False
    finished: bool = False
    lost: bool = False
    cancelled: bool = False
    stopped: bool = False
    pid: int | None = None
    question: Question | None = None
    epoch: int = 0
    retries: RetryPolicy | None = None

    @property
    def age_seconds(self) -> float:
        return monotonic() - self.started

    def follow(self, policy: EffectivePolicy) -> None:
        """It is known for which handler it is: what holds for that one holds for it."""
        self.retries = policy.retries
        self.context.limit(policy.timeout_seconds)

    def end(self, failure: Failure | None) -> Failure | None:
        """Its handler has ended; how that counts."""
        self.finished = True
        return unless_unwanted(failure, self.context) if self.cancelled else failure

    def begin(self, cancel: Callable[[], object] | None) -> None:
        """A slot begins with it, or a batch with another call of it: from here its handler's time counts."""
        # As an earlier call may have left it, and has ended.
        self.timed_out_at, self.abandoned, self.stopped = None, False, False
        self.started = monotonic()
        self.context.restart_clock()
        self.cancel = cancel
        self.queued = False


class InFlightTable:
    """The table of messages, shared by the consumer loop, the lease keeper and the supervisor."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_lease: dict[object, InFlight] = {}

    def add(self, *messages: InFlight) -> None:
        with self._lock:
            for message in messages:
                self._by_lease[message.claim.lease] = message

    def remove(self, *claims: Claim) -> None:
        """Forget the messages of `claims`, where there are any."""
        with self._lock:
            for claim in claims:
                self._by_lease.pop(claim.lease, None)

    def without(self, claims: Sequence[Claim]) -> list[Claim]:
        """Those of `claims` that it does not have."""
        with self._lock:
            return [claim for claim in claims if claim.lease not in self._by_lease]

    def of(self, claim: Claim) -> InFlight | None:
        with self._lock:
            return self._by_lease.get(claim.lease)

    def all(self) -> list[InFlight]:
        with self._lock:
            return list(self._by_lease.values())

    def __len__(self) -> int:
        return len(self._by_lease)

    def running(self) -> list[InFlight]:
        """Those whose handler has not ended."""
        return [message for message in self.all() if not message.finished]

    def leased(self) -> list[Claim]:
        """What must be renewed: finished ones too, for as long as Redis has not heard of their outcome."""
        return [message.claim for message in self.all() if not message.lost]

    def mark_lost(self, claim: Claim, *, sure: bool) -> bool:
        """Tell the handler of `claim` that somebody else has it, or may; False when it has ended or knows.

        While that is not sure, it may also still be ours: the lease is renewed on, and the outcome counts if
        Redis says so.
        """
        message = self.of(claim)
        if message is None or message.finished or message.lost:
            return False
        message.lost = sure
        message.context.mark_lease_lost()
        return True

    def cancel(self, tokens: Collection[str]) -> None:
        """Somebody wants the messages of these leases to end."""
        for message in self.running() if tokens else ():
            if message.claim.token in tokens and not message.cancelled:
                message.cancelled = True
                message.context.mark_cancelled()
                log.info("cancelled: its handler is told", extra={"message_id": message.claim.id})

    def stacks(self) -> Iterator[str]:
        """Where their handlers stand: see `stacks.stacks`."""
        from redisqueue_worker.stacks import stacks  # noqa: PLC0415  (few ask)

        return stacks(self.running())

    def oldest_age_seconds(self) -> float | None:
        """The age of the oldest running handler; None when none runs."""
        return max((message.age_seconds for message in self.running()), default=None)


class HandlerTimeouts:
    """Looks after what runs; `look` is to be called a few times a second.

    Args:
        max_in_flight_seconds: a handler without a deadline is reported as hung after this.

    Attributes:
        can_cancel: whether handlers run where they can be stopped; then they get a moment for it.
    """

    def __init__(self, in_flight: InFlightTable, metrics: Metrics, max_in_flight_seconds: float) -> None:
        self._in_flight = in_flight
        self._metrics = metrics
        self._max_in_flight_seconds = max_in_flight_seconds
        self._warned: set[InFlight] = set()
        self.can_cancel = False

    @property
    def has_abandoned(self) -> bool:
        """Whether some handler will not end, so that only a fresh process is rid of it."""
        return any(message.abandoned for message in self._in_flight.running())

    def look(self) -> None:
        """Stop, abandon and report what is due for it."""
        now = monotonic()
        patience = CANCEL_SECONDS if self.can_cancel else 0.0
        for message in self._in_flight.running():
            if message.cancelled and message.cancel and not message.stopped:
                message.stopped = True
                message.cancel()
            remaining = message.context.remaining_seconds
            if remaining is None:
                self._report_hung(message)
            elif not message.queued and message.timed_out_at is None and remaining <= 0:
                self._stop(message, now)
            overrun = message.timed_out_at is not None and now >= message.timed_out_at + patience
            if overrun and not message.abandoned:
                message.abandoned = True
                self._metrics.abandoned += 1
                _tell("handler cannot be stopped: replacing the process when the others are done", message)
        self._warned.intersection_update(self._in_flight.all())

    def _stop(self, message: InFlight, now: float) -> None:
        message.timed_out_at = now
        self._metrics.timeouts += 1
        _tell("handler timed out", message)
        if message.cancel:
            message.cancel()

    def _report_hung(self, message: InFlight) -> None:
        if message.age_seconds > self._max_in_flight_seconds and message not in self._warned:
            self._warned.add(message)
            _tell("handler seems to hang; consider a handler timeout", message)


def _tell(text: str, message: InFlight) -> None:
    log.error(text, extra={"message_id": message.claim.id, "age_seconds": round(message.age_seconds, 1)})
