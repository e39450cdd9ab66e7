"""The consumer loop: one thread that settles what ended and claims for the slots that are free.

Both go in one round trip. What it claims beyond its slots waits here for moments: else a message waits in
Redis, where any worker can take it. Where handlers are quick, a second call is sent before the first is
answered, so that Redis and this process work at once.
"""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING, TypeAlias

from redis_message_queue._clock import monotonic
from redis_message_queue.trouble import AWAY
from redisqueue_worker.calls import Calls
from redisqueue_worker.circuit_breaker import Breaker, CircuitBreaker
from redisqueue_worker.claim_timing import ClaimTiming
from redisqueue_worker.deliveries import Deliveries
from redisqueue_worker.outbox import Outbox
from redisqueue_worker.shutdown import Load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis_message_queue.consumer import ClaimReply, Consumer, SettleReply
    from redis_message_queue.leases import Leases
    from redis_message_queue.pipelined import PipelinedConsumer
    from redisqueue_worker.calls import Asked
    from redisqueue_worker.context import Contexts
    from redisqueue_worker.health import Pulse
    from redisqueue_worker.in_flight import InFlight, InFlightTable
    from redisqueue_worker.metrics import Metrics
    from redisqueue_worker.prefetch import Prefetch
    from redisqueue_worker.retry_policy import Failure, RetryPolicy
    from redisqueue_worker.succession import Succession
    from redisqueue_worker.wakeup import WakeUp


log = logging.getLogger(__name__)

# How long a drain tries to learn what became of a claim whose reply was lost; its lease covers the rest.
RECOVERY_SECONDS = 10.0

Finished: TypeAlias = "tuple[InFlight, Failure | None]"


class ConsumerLoop(threading.Thread):
    """Owns the worker's claims from their arrival to their settlement.

    Args:
        connect: a consumer on a connection of this thread's own; may raise what `trouble.AWAY` names.
        changed: called when something happened that a drain may be waiting for.
        emptied: called when a claim brought nothing, with the seconds until something delayed is due, how
            many messages are in hand, and what tells how many wait all the same, for a limit.
    """

    def __init__(
        self,
        connect: Callable[[], PipelinedConsumer],
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
        emptied: Callable[[float | None, int, Callable[[], int]], None],
    ) -> None:
        super().__init__(name="redisqueue-consumer-loop", daemon=True)
        self._in_flight = in_flight
        self._timing = ClaimTiming()
        self._circuit = CircuitBreaker(breaker, metrics, self._timing)
        self._pulse = pulse
        self._changed = changed
        self._emptied = emptied
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
        self._calls = Calls(connect, self.outbox, self._timing, metrics)
        self._prefetch = prefetch
        self.deliveries = Deliveries(
            in_flight,
            leases,
            self.outbox,
            prefetch=prefetch,
            policy=policy,
            circuit=self._circuit,
            contexts=contexts,
            metrics=metrics,
            draining=self._draining,
        )
        self.has_claimed = False  # or was told that there is nothing

    def attach(
        self,
        start: Callable[[Sequence[InFlight]], None],
        wakeup: WakeUp,
        succession: Succession | None,
    ) -> None:
        """Give it its slots, its wake-up and whom it comes after; before `start()`."""
        self.deliveries.start = start
        self._wakeup = wakeup
        self._succession = succession

    # ---- called from other threads -------------------------------------------------

    def finish(self, message: InFlight, failure: Failure | None) -> None:
        """A handler ended: returned if `failure` is None."""
        self._inbox.put((message, failure))
        if (following := self._prefetch.next(draining=self._draining.is_set())) is not None:
            following.begin(None)
            self.deliveries.start((following,))

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

    # ---- the loop ------------------------------------------------------------------

    def run(self) -> None:
        while not self._leaving:
            self._collect(self._patience(monotonic()))
            if seconds := self._linger_seconds():
                self._draining.wait(seconds)
                self._collect(0.0)
            self._pulse.beat()
            self.deliveries.give_back(held=self._draining.is_set() or self._circuit.state.tripped)
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
                    self.deliveries.ended(*news)
                news = self._inbox.get_nowait()
        except queue.Empty:
            return

    def _linger_seconds(self) -> float:
        """How long results wait for others: while handlers run, and nothing is the matter."""
        alone = not (self.deliveries.running and self.outbox.new) or self._calls.under_way
        troubled = self._timing.failures or self._circuit.state.tripped or not self.outbox.is_plain
        if alone or troubled:
            return 0.0
        return self._prefetch.linger_seconds

    def _patience(self, now: float) -> float:
        """Seconds until there is something to do without any news."""
        draining = self._draining.is_set()
        if self._calls.under_way:
            return 0.0
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
        if not self._calls.under_way:  # else it would take a connection more
            self._see_to_the_rest(now)
        if self._overlaps(now):
            self._overlap()
        elif self._calls.under_way:
            self._answered(*self._calls.receive())
        else:
            self._call(now)
        if self._timing.failures:  # everything was answered
            self._calls.answered_again(in_flight=len(self._in_flight))

    def _see_to_the_rest(self, now: float) -> None:
        """What comes before settling and claiming."""
        if self._timing.failures:  # first renew, so that the next claim cannot reclaim our own messages
            leased = [*self._in_flight.leased(), *self.deliveries.kept]
            self._calls.unless_refused("renew", lambda consumer: consumer.renew(leased))
            self._timing.report_soon()
        if self._timing.report_due(now):
            self._calls.unless_refused("report", self._report)
        if succession := self._succession:  # before the first claim
            self._calls.unless_refused("expire", lambda _: succession.give_back())
            self._succession = None
        if self.deliveries.kept:
            self.deliveries.release_kept(all_of_them=self._draining.is_set())

    def _call(self, now: float) -> None:
        """Settle and claim, and wait for the answer."""
        batch = self.outbox.next(now)
        wanted = self._wanted(now, calling=bool(batch))
        if batch or wanted:
            due = self._circuit.state.due(now)
            self._answered(*self._calls.settle(batch, wanted, in_hand=self.deliveries.running, due=due))
        elif self._calls.unanswered:  # and claiming no more: what that claim was given goes back
            self.deliveries.release(self._calls.recover())

    def _overlaps(self, now: float) -> bool:
        """Whether a call is sent before the one before is answered: where Redis is what slots wait for."""
        if self._timing.is_report_due(now):
            return False
        calm = not (self._draining.is_set() or self.deliveries.kept or self._circuit.state.tripped)
        answering = not (self._timing.failures or self._calls.unanswered) and self.outbox.is_plain
        return calm and answering and self._prefetch.is_quick and self._calls.may_overlap()

    def _overlap(self) -> None:
        """Have two calls under way, and take in what the first brings while Redis works on the second."""
        while self._send():
            pass
        if self._calls.under_way:
            self._calls.wait()
            self._collect(0.0)
            self._send()
            self._answered(*self._calls.receive())

    def _send(self) -> bool:
        """Begin a call: a second one only if it has enough to carry, either way."""
        now = monotonic()
        share = self._prefetch.share
        if self._calls.under_way:
            enough = 2 * max(self.outbox.new, self._room(now)) >= share
            if not (enough and self._calls.may_overlap()):
                return False
        batch = self.outbox.next(now)
        wanted = min(share, self._wanted(now, calling=bool(batch)))
        if not (batch or wanted):
            return False
        due = self._circuit.state.due(now)
        self._calls.send(batch, wanted, in_hand=self._in_hand, due=due)
        return True

    def _answered(self, asked: Asked, reply: SettleReply | None) -> None:
        if reply is None:
            return
        self._prefetch.called(monotonic() - asked.since)
        self.deliveries.settled(asked.batch, reply.applied)
        self.deliveries.take(reply.claimed)
        if asked.wanted:
            self.has_claimed = True
            self._plan(reply.claimed, asked.wanted)

    @property
    def _in_hand(self) -> int:
        """How many messages have a slot, wait for one, or may come."""
        return self.deliveries.running + self._calls.coming

    def _wanted(self, now: float, *, calling: bool) -> int:
        if self._draining.is_set() or not self._timing.may_claim(now, calling=calling):
            return 0
        return 0 if calling and self.outbox.suspicious else self._room(now)

    def _room(self, now: float) -> int:
        """How many more messages this worker should have."""
        return self.deliveries.room(self._in_hand, now)

    def _report(self, consumer: Consumer) -> None:
        tokens = consumer.report(
            busy=len(self._in_flight) + len(self.deliveries.kept),
            oldest_start_age_seconds=self._in_flight.oldest_age_seconds(),
            draining=self._draining.is_set(),
            tripped=self._circuit.state.tripped,
        )
        self._in_flight.cancel(tokens)

    def _plan(self, reply: ClaimReply, wanted: int) -> None:
        """When to claim next, given what this claim brought."""
        now = monotonic()
        self._prefetch.saturated = len(reply.claims) == wanted
        if reply.retired and not self._timing.was_held(now):
            log.info("retired by the operator: not claiming")
        if not reply.claims and not reply.retired:
            self._emptied(reply.next_due_seconds, self._in_hand, self._calls.waiting)
        if self._timing.claimed(now, self._circuit.put_off(reply, now), wanted) and self._wakeup:
            self._wakeup.arm()

    def woken(self) -> None:
        """Messages may have come. Called by the wake-up."""
        self._timing.woken(monotonic())
        self.poke()

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
        kept = self.deliveries.kept or self._calls.under_way or self.outbox.untried(self._closed_at)
        waiting = kept or (self._calls.unanswered and not given_up)
        held = [message for message in self._in_flight.running() if not message.abandoned]
        if not waiting and not held:
            self._quiet_since = closings
        self._changed()

    def _say_goodbye(self) -> None:
        """The last round trip: what ended, what is given up, and the worker's own field."""
        self._draining.set()  # what comes now goes back
        self._receive_all()
        self._collect(0.0)  # also what has ended meanwhile
        self.deliveries.give_back(held=True)
        running = self._in_flight.running()
        try:
            with self._pulse.away():
                self.deliveries.release_kept(all_of_them=True)
                for message in running:
                    if self._releases or message.abandoned:
                        self.deliveries.give_up(message)
                self._empty_outbox()
                if self._calls.unanswered:
                    self.deliveries.release(self._calls.recover())
                    self._empty_outbox()
                if self._deregisters:
                    self._calls.deregister()
        except AWAY as error:
            self._calls.left(error, in_flight=len(self._in_flight))

    def _receive_all(self) -> None:
        try:
            with self._pulse.away():
                while self._calls.under_way:
                    self._answered(*self._calls.receive())
        except AWAY:
            self._calls.lost()

    def _empty_outbox(self) -> None:
        """Ask Redis once more to take each result."""
        self.outbox.hurry()
        now = monotonic()
        while batch := self.outbox.next(now):
            _, reply = self._calls.settle(batch, 0)
            if reply:
                self.deliveries.settled(batch, reply.applied)
