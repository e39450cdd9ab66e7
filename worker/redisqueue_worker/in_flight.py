"""The messages that this process holds: claimed, and not yet settled."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from redis_message_queue._clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis_message_queue.consumer import Claim
    from redisqueue_worker.context import Context


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
        epoch: the circuit breaker's when it was claimed.
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
    epoch: int = 0

    @property
    def age_seconds(self) -> float:
        return monotonic() - self.started

    def begin(self, cancel: Callable[[], object]) -> None:
        """A slot begins with it only now: from here its handler's time counts."""
        self.started = monotonic()
        self.context.restart_clock()
        self.cancel = cancel
        self.queued = False


class InFlightTable:
    """The table of messages, shared by the consumer loop, the lease keeper and the supervisor."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_lease: dict[object, InFlight] = {}

    def add(self, message: InFlight) -> None:
        with self._lock:
            self._by_lease[message.claim.lease] = message

    def remove(self, claim: Claim) -> None:
        """Forget the message of `claim`, if there is one."""
        with self._lock:
            self._by_lease.pop(claim.lease, None)

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

    def mark_lost(self, claim: Claim) -> bool:
        """Note that `claim` belongs to somebody else; False when its handler has ended anyway."""
        message = self.of(claim)
        if message is None or message.finished or message.lost:
            return False
        message.lost = True
        message.context.mark_lease_lost()
        return True

    def mark_doubtful(self, claim: Claim) -> bool:
        """Tell the handler of `claim` that it may be somebody else's; False when it has ended anyway.

        It may also still be ours: the lease is renewed on, and the outcome counts if Redis says so.
        """
        message = self.of(claim)
        if message is None or message.finished:
            return False
        message.context.mark_lease_lost()
        return True

    def oldest_age_seconds(self) -> float | None:
        """The age of the oldest running handler; None when none runs."""
        return max((message.age_seconds for message in self.running()), default=None)
