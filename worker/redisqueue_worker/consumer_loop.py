"""The consumer loop: one thread that settles what ended and claims for the slots that are free.

Both go in one round trip. What it claims beyond its slots waits here for moments: else a message waits in
Redis, where any worker can take it.
"""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING

from redis_message_queue._clock import monotonic
from redis_message_queue.consumer import Claim, ClaimReply, Consumer, Outcome, Settlement
from redis_message_queue.trouble import AWAY
from redisqueue_worker.circuit_breaker import Breaker, CircuitBreaker
from redisqueue_worker.claim_timing import ClaimTiming, Quarantine
from redisqueue_worker.in_flight import InFlight, InFlightTable
from redisqueue_worker.outbox import Calls, Outbox, count_settled, tell_outcome
from redisqueue_worker.retry_policy import HandlerTimeout, failure_of
from redisqueue_worker.shutdown import Load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis_message_queue.leases import Leases
    from redisqueue_worker.context import Contexts
    from redisqueue_worker.health import Pulse
    from redisqueue_worker.metrics import Metrics
    from redisqueue_worker.prefetch import Prefetch
    from redisqueue_worker.retry_policy import Failure, RetryPolicy
    from redisqueue_worker.succession import Succession
    from redisqueue_worker.wakeup import WakeUp


log = logging.getLogger(__name__)

# How long a drain tries to learn what became of a claim whose reply was lost; its lease covers the rest.
RECOVERY_SECONDS = 10.0

Finished = tuple[InFlight, "Failure | None"]


class ConsumerLoop(threading.Thread):
    """Owns the worker's claims from their arrival to their settlement.

    Args:
        connect: a Consumer on a connection of this thread's own; may raise what `trouble.AWAY` names.
        changed: called when something happened that a drain may be waiting for.
        emptied: called when a claim brought nothing, with the seconds until something delayed is due, and how
            many messages are in hand.
    """

    def __init__(
        self,
        connect: Callable[[], Consumer],
        in_flight: InFlightTable,
        leases: Leases,
        *,
        prefetch: Prefetch,
        policy: RetryPolicy,
        breaker: Breaker,
        contexts: Contexts,
        metrics: Metrics,
        pulse: Pulse,
        changed: Callable[[], None],
        emptied: Callable[[float | None, int], None],
    ) -> None:
        super().__init__(name="redisqueue-consumer-loop", daemon=True)
        self._in_flight = in_flight
        self._leases = leases
        self._policy = policy
        self._timing = ClaimTiming()
        self._circuit = CircuitBreaker(breaker, metrics, self._timing)
        self._contexts = contexts
        self._metrics = metrics
        self._pulse = pulse
        self._changed = changed
        self._emptied = emptied
        self._start: Callable[[Sequence[InFlight]], None] = lambda _messages: None
        self._wakeup: WakeUp | None = None
        self._succession: Succession | None = None
        self._inbox: queue.SimpleQueue[Finished | None] = queue.SimpleQueue()
        self.outbox = Outbox()
        self._draining = threading.Event()
        self._closings = 0  # how often the gate was closed, and for which of them nothing is left
        self._quiet_since = self._hurried = -1
        self._leaving = False
        self._releases = self._deregisters = True
        self._closed_at = 0.0
        self._quarantine = Quarantine()
        self._calls = Calls(connect, self.outbox, self._timing, metrics)
        self._running = 0
        self._prefetch = prefetch
        self.settled_total = self.ended_total = 0
        self.has_claimed = False  # or was told that there is nothing

    def attach(
        self,
        start: Callable[[Sequence[InFlight]], None],
        wakeup: WakeUp,
        succession: Succession | None,
    ) -> None:
        """Give it its slots, its wake-up and whom it comes after; before `start()`."""
        self._start = start
        self._wakeup = wakeup
        self._succession = succession

    # ---- called from other threads -------------------------------------------------

    def finish(self, message: InFlight, failure: Failure | None) -> None:
        """A handler ended: returned if `failure` is None."""
        self._inbox.put((message, failure))
        if (following := self._prefetch.next(draining=self._draining.is_set())) is not None:
            following.begin(None)
            self._start((following,))

    def poke(self) -> None:
        """Look again at what there is to do."""
        self._inbox.put(None)

    def close_gate(self) -> None:
        """Claim nothing from now on; what an outstanding reply brings is released."""
        self._closed_at = monotonic()
        self._closings += 1
        self._draining.set()
        self._timing.report_soon()
        self.poke()

    def open_gate(self) -> None:
        self._draining.clear()
        self._timing.report_soon()
        self.poke()

    def load(self) -> Load:
        """What a drain has to wait for. Nothing is in flight only when nothing can come either."""
        if self._draining.is_set() and self._quiet_since == self._closings:
            return Load(0, 0)
        held = [message for message in self._in_flight.all() if not message.abandoned]
        return Load(max(1, len(held)), sum(not message.finished for message in held))

    def leave(self, *, release: bool, deregister: bool, timeout_seconds: float) -> bool:
        """Settle what can be settled, and end the thread.

        Args:
            release: put what still runs back to the front of the queue; else its lease is left to expire.
            deregister: take the worker out of the queue's table.

        Returns whether that was done within the timeout.
        """
        self._releases, self._deregisters = release, deregister
        self._leaving = True
        self.poke()
        self.join(timeout_seconds)
        return not self.is_alive()

    def _given_up(self, message: InFlight) -> Settlement:
        if message.abandoned:
            policy = message.retries or self._policy
            return policy.settlement(message.claim, failure_of(HandlerTimeout(message.age_seconds)))
        return Settlement(message.claim, Outcome.RELEASE)

    # ---- the loop ------------------------------------------------------------------

    def run(self) -> None:
        while not self._leaving:
            self._collect(self._patience(monotonic()))
            if seconds := self._linger_seconds():
                self._draining.wait(seconds)
                self._collect(0.0)
            self._pulse.beat()
            self._give_back(held=self._draining.is_set() or self._circuit.state.tripped)
            try:
                with self._pulse.away():
                    self._exchange(monotonic())
            except AWAY as error:
                self._calls.failed(error)
            self._settle_down()
        self._say_goodbye()

    def _collect(self, patience_seconds: float) -> None:
        """Take in what slots and wake-up have to say; wait for the first of it."""
        try:
            patient = patience_seconds > 0
            news = self._inbox.get(patient, patience_seconds if patient else None)
            while True:
                if news is not None:
                    self._take_outcome(*news)
                news = self._inbox.get_nowait()
        except queue.Empty:
            return

    def _give_back(self, *, held: bool) -> None:
        """Release what was prefetched and no slot is to begin with."""
        for message in self._prefetch.take_back(held=held):
            self._in_flight.remove(message.claim)
            self._running -= 1
            self._release([message.claim])

    def _linger_seconds(self) -> float:
        """How long results wait for others: while handlers run, and nothing is the matter."""
        if not (self._running and self.outbox.is_plain):
            return 0.0
        if self._timing.failures or self._circuit.state.tripped:
            return 0.0
        return self._prefetch.linger_seconds

    def _patience(self, now: float) -> float:
        """Seconds until there is something to do without any news."""
        draining = self._draining.is_set()
        if self.outbox.waiting(now) or (draining and self._calls.unanswered):
            return max(0.0, self._timing.retry_at - now)
        patience = self._timing.patience(now, could_claim=not draining and self._room(now) > 0)
        patience = max(0.0, min(patience, self._prefetch.patience_seconds))
        pause, again = self._circuit.state.pause_seconds(now), self.outbox.next_at
        if again is not None:
            patience = min(patience, again - now)
        return patience if pause is None else min(patience, pause)

    def _exchange(self, now: float) -> None:
        """One round: report if due, then settle and claim in one call."""
        if now < self._timing.retry_at:
            return
        if self._timing.failures:  # first renew, so that the next claim cannot reclaim our own messages
            leased = [*self._in_flight.leased(), *self._quarantine.kept]
            self._calls.unless_refused("renew", lambda consumer: consumer.renew(leased))
            self._timing.report_soon()
        if self._timing.report_due(now):
            self._calls.unless_refused("report", self._report)
        if succession := self._succession:  # before the first claim
            self._calls.unless_refused("expire", lambda _: succession.give_back())
            self._succession = None
        if self._quarantine.kept:
            self._release(self._quarantine.over(running=0 if self._draining.is_set() else self._running))
        batch = self.outbox.next(now)
        wanted = self._wanted(now, calling=bool(batch))
        if batch or wanted:
            due = self._circuit.state.due(now)
            if reply := self._calls.settle(batch, wanted, in_hand=self._running, due=due):
                self._prefetch.called(monotonic() - now)
                self._settled(batch, reply.applied)
                self._take_claims(reply.claimed)
                if wanted:
                    self.has_claimed = True
                    self._plan(reply.claimed, wanted)
        elif self._calls.unanswered:  # and claiming no more: what that claim was given goes back
            self._release(self._calls.recover())
        if self._timing.failures:  # everything was answered
            self._calls.answered_again(in_flight=len(self._in_flight))

    def _wanted(self, now: float, *, calling: bool) -> int:
        if self._draining.is_set() or not self._timing.may_claim(now, calling=calling):
            return 0
        return 0 if calling and self.outbox.suspicious else self._room(now)

    def _room(self, now: float) -> int:
        """How many more messages this worker should have."""
        if self.outbox.crowded:
            return 0
        free = self._quarantine.room(self._prefetch.room(self._running), running=self._running)
        return self._circuit.room(free, self._in_flight, now)

    def _report(self, consumer: Consumer) -> None:
        tokens = consumer.report(
            busy=len(self._in_flight) + len(self._quarantine.kept),
            oldest_start_age_seconds=self._in_flight.oldest_age_seconds(),
            draining=self._draining.is_set(),
            tripped=self._circuit.state.tripped,
        )
        self._in_flight.cancel(tokens)

    # ---- what came -----------------------------------------------------------------

    def _take_claims(self, reply: ClaimReply) -> None:
        # A Redis that lost its last writes may grant the very lease again whose handler runs here.
        claims = self._in_flight.without(reply.claims) if reply.claims else []
        if self._draining.is_set():
            self._give_back(held=True)  # they were before these
            self._release(claims)
        elif claims:
            epoch = self._circuit.state.epoch
            messages = [
                InFlight(claim, self._contexts.of(claim, self._draining), epoch=epoch)
                for claim in self._quarantine.admit(claims)
            ]
            self._in_flight.add(*messages)
            self._metrics.redeliveries += sum([message.claim.delivery_count > 1 for message in messages])
            self._leases.add(*claims)
            self._running += len(messages)
            self._start(self._prefetch.add(messages))
        if reply.dead_lettered:
            log.warning("messages spent their deliveries", extra={"dead_lettered": reply.dead_lettered})

    def _release(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            self.outbox.add(Settlement(claim, Outcome.RELEASE), monotonic())

    def _plan(self, reply: ClaimReply, wanted: int) -> None:
        """When to claim next, given what this claim brought."""
        now = monotonic()
        self._prefetch.saturated = len(reply.claims) == wanted
        if reply.retired and not self._timing.was_held(now):
            log.info("retired by the operator: not claiming")
        if not reply.claims and not reply.retired:
            self._emptied(reply.next_due_seconds, self._running)
        if self._timing.claimed(now, self._circuit.put_off(reply, now), wanted) and self._wakeup:
            self._wakeup.arm()

    def woken(self) -> None:
        """Messages may have come. Called by the wake-up."""
        self._timing.woken(monotonic())
        self.poke()

    def _take_outcome(self, message: InFlight, failure: Failure | None) -> None:
        now = monotonic()
        self._running -= 1
        seconds = now - message.started
        policy = message.retries or self._policy
        failure = message.end(failure)
        settlement = self._circuit.verdict(message, policy.settlement(message.claim, failure))
        self._metrics.handler_seconds.observe(seconds)
        self._prefetch.took(seconds)
        self.outbox.add(settlement, now, message.context.result)
        if failure is not None or log.isEnabledFor(logging.DEBUG):
            tell_outcome(log, settlement, failure, seconds)

    def _settled(self, settlements: list[Settlement], applied: tuple[bool, ...]) -> None:
        claims = [settlement.claim for settlement in settlements]
        self._in_flight.remove(*claims)
        self.ended_total += count_settled(log, self._metrics, settlements, applied)
        self.outbox.taken(settlements, monotonic())
        self._leases.remove(*claims)
        self.settled_total += len(settlements)

    # ---- trouble, drain, end -------------------------------------------------------

    def _settle_down(self) -> None:
        """Publish where the loop stands after a round."""
        closings, draining = self._closings, self._draining.is_set()
        if self._wakeup and (draining or not self._room(monotonic())):
            self._wakeup.disarm()
        if not draining:
            return
        given_up = monotonic() > self._closed_at + RECOVERY_SECONDS
        if self._hurried != closings:
            self._hurried = closings
            self.outbox.hurry()
        kept = self._quarantine.kept or self.outbox.untried(self._closed_at)
        waiting = kept or (self._calls.unanswered and not given_up)
        held = [message for message in self._in_flight.running() if not message.abandoned]
        if not waiting and not held:
            self._quiet_since = closings
        self._changed()

    def _say_goodbye(self) -> None:
        """The last round trip: what ended, what is given up, and the worker's own field."""
        self._collect(0.0)
        self._give_back(held=True)
        running = self._in_flight.running()
        given_up = [self._given_up(one) for one in running if self._releases or one.abandoned]
        try:
            with self._pulse.away():
                self._release(self._quarantine.over(running=0))
                for settlement in given_up:
                    self.outbox.add(settlement, monotonic())
                self._empty_outbox()
                if self._calls.unanswered:
                    self._release(self._calls.recover())
                    self._empty_outbox()
                if self._deregisters:
                    self._calls.deregister()
        except AWAY as error:
            self._calls.left(error, in_flight=len(self._in_flight))

    def _empty_outbox(self) -> None:
        """Ask Redis once more to take each result."""
        self.outbox.hurry()
        now = monotonic()
        while batch := self.outbox.next(now):
            if reply := self._calls.settle(batch, 0):
                self._settled(batch, reply.applied)
