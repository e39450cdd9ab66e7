"""Random histories of batches: gathered, cut where a call fails, settled, interrupted, as in a worker.

Whatever else is in a batch: what is at no fault is done in the end, what always fails is a dead letter
after its attempts, and in each batch each message comes to one end.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
from hypothesis.stateful import initialize, precondition, rule
from tests.support.lane_machine import FAULT, LaneMachine
from tests.support.queue_machine import name_of

from redis_message_queue.consumer import Outcome
from redisqueue_worker import DeadLetter, Retry, batch_handler
from redisqueue_worker.batch_handlers import Called, called
from redisqueue_worker.batching import Batch, Collector
from redisqueue_worker.effective_policy import EffectivePolicy
from redisqueue_worker.handler_policy import Batching
from redisqueue_worker.handlers import handler_of
from redisqueue_worker.in_flight import InFlight
from redisqueue_worker.retry_policy import Failure, RetryPolicy
from redisqueue_worker.testing import FakeContext

if TYPE_CHECKING:
    from redis_message_queue.consumer import Claim

ATTEMPTS = 4
# A message takes its call down, has an outcome of its own, or asks for another time for all of its call.
FAULTS_OF_MESSAGES = st.sampled_from(["poison", "poison", "own", "dead", "again"])


class BatchMachine(LaneMachine):
    """Enqueues and claims as its base does; what is claimed is handled in batches."""

    settle = process = they_take_one = None  # type: ignore[assignment]

    @initialize()
    def prepare(self) -> None:
        @batch_handler()
        def take(names: list[str]) -> Any:
            return self.take(names)

        self.handler: Any = handler_of(take, "tests").chosen_for("any")
        self.faulty: dict[str, str] = {}
        self.failures: Counter[str] = Counter()

    # -- rules --

    @precondition(lambda self: self.enqueued - self.ended)
    @rule(place=st.integers(0, 99), fault=FAULTS_OF_MESSAGES)
    def spoil(self, place: int, fault: str) -> None:
        """From now on a message fails, for good: one that was done before is none of them."""
        left = sorted(self.enqueued - self.ended)
        self.faulty.setdefault(left[place % len(left)], fault)

    @precondition(lambda self: self.claims)
    @rule(
        place=st.integers(0, 9),
        size=st.integers(1, 6),
        told=st.integers(0, 9),
        count=st.integers(0, 6),
        fault=FAULT,
    )
    def handle(self, place: int, size: int, told: int, count: int, fault: str) -> None:
        """All that one consumer has in hand; it may die when it has told of some."""
        one = self.claims[place % len(self.claims)][0]
        own = [claim for holder, claim in self.claims if holder == one]
        ends = self.handled(own, size)
        self.claims = [pair for pair in self.claims if pair[0] != one]
        self.tell(one, ends[:told] if told < len(ends) else ends, count, fault)
        if told < len(ends):
            self.die(one)

    # -- a worker's part --

    def take(self, names: list[str]) -> Any:
        """The handler."""
        self.calls += 1
        ways = [self.faulty.get(name) for name in names]
        if "again" in ways:
            for name in names:
                if self.faulty.get(name) == "again":
                    del self.faulty[name]
            raise Retry(0)
        if "poison" in ways:
            raise RuntimeError("poisoned")
        outcomes = {"own": ValueError("no"), "dead": DeadLetter("never")}
        return [outcomes.get(way or "") for way in ways]

    def handled(self, claims: list[Claim], size: int) -> list[tuple[Claim, Failure | None]]:
        """What becomes of each, in the order in which it is known."""
        ends = list[tuple[InFlight, "Failure | None"]]()
        policy = EffectivePolicy(RetryPolicy(ATTEMPTS), None, "threads", Batching(size, 3600))
        assert policy.batching

        def call(part: list[InFlight]) -> Called:
            places = [messages.index(message) for message in part]
            assert places == sorted(places), "out of order"
            assert len(places) <= size, "a batch is larger than it may be"
            last = [message.claim.failures >= ATTEMPTS - 1 for message in part]
            assert len(part) == 1 or not any(last), "a last attempt that is not alone"
            contexts = [message.context for message in part]
            return called(self.handler, [name_of(message.claim.stored) for message in part], contexts)

        def begin(batch: list[InFlight]) -> None:
            self.calls = 0
            Batch(self.handler, batch, lambda *end: ends.append(end)).run(call)
            assert self.calls < 2 * len(batch), "more calls than it takes to have each alone"

        collector = Collector(policy.batching, begin)
        messages = [InFlight(claim, FakeContext(message_id=claim.id)) for claim in claims]
        for message in messages:
            collector.add(message, policy)
        collector.flush()
        assert Counter(id(message) for message, _ in ends) == Counter(map(id, messages)), "not one end each"
        return [(message.claim, message.end(failure)) for message, failure in ends]

    def tell(self, one: int, ends: list[tuple[Claim, Failure | None]], count: int, fault: str) -> None:
        """Settle these; what was applied counts."""
        ended = {*self.ended}
        settlements = [RetryPolicy(ATTEMPTS).settlement(claim, failure) for claim, failure in ends]
        failed = Counter(name_of(one.claim.stored) for one in settlements if one.failed)
        for name, claim in ((name_of(claim.stored), claim) for claim, _ in ends):
            assert claim.failures <= self.failures[name], "told of failures that were none"
        self.call(one, settlements, count, fault)
        for settlement in settlements:
            name = name_of(settlement.claim.stored)
            if name in self.ended - ended and settlement.outcome is Outcome.DEAD:
                assert self.faulty.get(name), "a dead letter that was none's fault but others'"
        self.failures += failed

    def teardown(self) -> None:
        """Handle all that is left in batches: then nothing is."""
        if not hasattr(self, "server"):
            return
        for _ in range(200):
            if not self.enqueued - self.ended:
                break
            self.expire()
            self.time_passes()
            self.claims = []
            self.call(0, [], 4, "")
            self.tell(0, self.handled([claim for _, claim in self.claims], 3), 0, "")
        super().teardown()
