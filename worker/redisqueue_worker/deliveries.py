"""The messages of one consumer loop from their claim to their settlement."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from redis_message_queue._clock import monotonic
from redis_message_queue.consumer import Outcome, Settlement
from redisqueue_worker.claim_timing import Quarantine
from redisqueue_worker.in_flight import InFlight
from redisqueue_worker.outbox import count_settled, tell_outcome
from redisqueue_worker.retry_policy import HandlerTimeout, failure_of

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from redis_message_queue.consumer import Claim, ClaimReply
    from redis_message_queue.leases import Leases
    from redisqueue_worker.circuit_breaker import CircuitBreaker
    from redisqueue_worker.context import Contexts
    from redisqueue_worker.in_flight import InFlightTable
    from redisqueue_worker.metrics import Metrics
    from redisqueue_worker.outbox import Outbox
    from redisqueue_worker.prefetch import Prefetch
    from redisqueue_worker.retry_policy import Failure, RetryPolicy


log = logging.getLogger("redisqueue_worker.consumer_loop")  # one name tells what becomes of messages


class Deliveries:
    """Gives what was claimed to slots, and what has ended to the outbox.

    Args:
        draining: set while what is claimed goes back at once.

    Attributes:
        running: how many messages have a slot or wait for one.
        start: begins with messages, each in a free slot.
        ended_total: messages that came to an end; `settled_total` counts those that come again, too.
    """

    def __init__(
        self,
        in_flight: InFlightTable,
        leases: Leases,
        outbox: Outbox,
        *,
        prefetch: Prefetch,
        policy: RetryPolicy,
        circuit: CircuitBreaker,
        contexts: Contexts,
        metrics: Metrics,
        draining: threading.Event,
    ) -> None:
        self._in_flight = in_flight
        self._leases = leases
        self._outbox = outbox
        self._prefetch = prefetch
        self._policy = policy
        self._circuit = circuit
        self._contexts = contexts
        self._metrics = metrics
        self._draining = draining
        self._quarantine = Quarantine()
        self.start: Callable[[Sequence[InFlight]], None] = lambda _messages: None
        self.running = 0
        self.settled_total = self.ended_total = 0

    @property
    def kept(self) -> Sequence[Claim]:
        """What is leased and not begun: it is to run beside nothing else."""
        return self._quarantine.kept

    def release_kept(self, *, all_of_them: bool = False) -> None:
        """Release what is kept, once nothing runs; else only if all of it is to go."""
        self.release(self._quarantine.over(running=0 if all_of_them else self.running))

    def room(self, in_hand: int, now: float) -> int:
        """How many more messages this worker should have, beyond those that are or may come in hand."""
        if self._outbox.crowded:
            return 0
        free = self._quarantine.room(self._prefetch.room(in_hand), running=in_hand)
        return self._circuit.room(free, self._in_flight, now)

    def take(self, reply: ClaimReply) -> None:
        """Begin with what a claim has brought."""
        # A Redis that lost its last writes may grant the very lease again whose handler runs here.
        claims = self._in_flight.without(reply.claims) if reply.claims else []
        if self._draining.is_set():
            self.give_back(held=True)  # they were before these
            self.release(claims)
        elif claims:
            epoch = self._circuit.state.epoch
            messages = [
                InFlight(claim, self._contexts.of(claim, self._draining), epoch=epoch)
                for claim in self._quarantine.admit(claims)
            ]
            self._in_flight.add(*messages)
            self._metrics.redeliveries += sum([message.claim.delivery_count > 1 for message in messages])
            self._leases.add(*claims)
            self.running += len(messages)
            self.start(self._prefetch.add(messages))
        if reply.dead_lettered:
            log.warning("messages spent their deliveries", extra={"dead_lettered": reply.dead_lettered})

    def release(self, claims: Sequence[Claim]) -> None:
        """Put them back to the front of the queue."""
        for claim in claims:
            self._outbox.add(Settlement(claim, Outcome.RELEASE), monotonic())

    def give_back(self, *, held: bool) -> None:
        """Release what was prefetched and no slot is to begin with; all of it where the worker is held up."""
        for message in self._prefetch.take_back(held=held):
            self._in_flight.remove(message.claim)
            self.running -= 1
            self.release([message.claim])

    def give_up(self, message: InFlight) -> None:
        """Settle a message whose handler does not end: nobody waits for it any more."""
        settlement = Settlement(message.claim, Outcome.RELEASE)
        if message.abandoned:
            policy = message.retries or self._policy
            settlement = policy.settlement(message.claim, failure_of(HandlerTimeout(message.age_seconds)))
        self._outbox.add(settlement, monotonic())

    def ended(self, message: InFlight, failure: Failure | None) -> None:
        """A handler ended: returned if `failure` is None."""
        now = monotonic()
        self.running -= 1
        seconds = now - message.started
        policy = message.retries or self._policy
        failure = message.end(failure)
        settlement = self._circuit.verdict(message, policy.settlement(message.claim, failure))
        self._metrics.handler_seconds.observe(seconds)
        self._prefetch.took(seconds)
        self._outbox.add(settlement, now, message.context.result)
        if failure is not None or log.isEnabledFor(logging.DEBUG):
            tell_outcome(log, settlement, failure, seconds)

    def settled(self, settlements: Sequence[Settlement], applied: tuple[bool, ...]) -> None:
        """Redis has answered for these: whether each counts."""
        claims = [settlement.claim for settlement in settlements]
        self._in_flight.remove(*claims)
        self.ended_total += count_settled(log, self._metrics, settlements, applied)
        self._outbox.taken(settlements, monotonic())
        self._leases.remove(*claims)
        self.settled_total += len(settlements)
