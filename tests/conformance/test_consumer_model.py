"""Random histories of two consumers against a model that fits on a page."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import hypothesis.strategies as st
import redis
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from tests.support.queues import LossyRedis, lease_sets, payloads, publish

from redis_message_queue import _core, _sync, envelope
from redis_message_queue.consumer import Claim, Consumer, Outcome, Settlement
from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    from tests.support.servers import Server

KEYS = QueueKeys("{jobs}")
LIMIT = 3
CONSUMER = st.integers(0, 1)
PLACE = st.integers(0, 7)
ENDS = st.dictionaries(PLACE, st.sampled_from(Outcome), min_size=1, max_size=5)


@dataclass
class Model:
    """A queue in which nothing can go wrong; payloads are unique, so they name messages."""

    pending: list[str] = field(default_factory=list)  # next first
    leased: dict[str, str] = field(default_factory=dict)  # payload → token, in the order of deadlines
    expired: list[str] = field(default_factory=list)
    delayed: list[str] = field(default_factory=list)
    due: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    kept: dict[Outcome, list[str]] = field(
        default_factory=lambda: {Outcome.DONE: [], Outcome.FAILED: [], Outcome.DEAD: []}
    )
    tokens: int = 0

    def claim(self, count: int) -> list[tuple[str, str, int]]:
        """What a claim answers: payload, token, delivery count."""
        if count == 0:
            return []
        promoted, self.due = self.due[:count], self.due[count:]
        self.pending = self.expired + promoted + self.pending
        for payload in self.expired:
            del self.leased[payload]
        self.expired = []
        taken: list[tuple[str, str, int]] = []
        while self.pending and len(taken) < count:
            payload = self.pending.pop(0)
            self.counts[payload] = self.counts.get(payload, 0) + 1
            if self.counts[payload] > LIMIT:
                self.kept[Outcome.DEAD].append(payload)
                del self.counts[payload]
                continue
            self.tokens += 1
            self.leased[payload] = str(self.tokens)
            taken.append((payload, str(self.tokens), self.counts[payload]))
        return taken

    def settle(self, claims: list[tuple[Claim, Outcome]]) -> list[bool]:
        """What a settlement answers."""
        applied = [self.leased.get(name(claim)) == claim.token for claim, _ in claims]
        released = []
        for (claim, outcome), current in zip(claims, applied, strict=True):
            if not current:
                continue
            payload = name(claim)
            del self.leased[payload]
            self.expired = [other for other in self.expired if other != payload]
            if outcome is Outcome.RETRY:
                self.delayed.append(payload)
            elif outcome is Outcome.RELEASE:
                released.append(payload)
                self.counts[payload] -= 1
            else:
                self.kept[outcome].append(payload)
                del self.counts[payload]
        self.pending = released + self.pending
        return applied


def name(claim: Claim) -> str:
    """The payload as text."""
    return claim.payload.decode() if isinstance(claim.payload, bytes) else claim.payload


class ConsumerMachine(RuleBasedStateMachine):
    """Publishes, claims, settles, renews; leases expire, delays end, replies are lost."""

    server: Server

    @initialize()
    def start(self) -> None:
        self.client = LossyRedis.from_url(self.server.url)
        self.client.flushdb()
        self.consumers = [
            Consumer(self.client, "{jobs}", max_delivery_count=LIMIT, keep_completed=1000) for _ in range(2)
        ]
        self.model = Model()
        self.history: list[Claim] = []  # every claim ever granted, newest first
        self.published = 0
        self.clock = 0
        self.publish(10)
        self._settle_and_claim(0, [], 5, lose=False)

    def teardown(self) -> None:
        if hasattr(self, "client"):
            self.client.close()

    def _past(self) -> int:
        self.clock += 1
        return self.clock

    def _new(self) -> str:
        self.published += 1
        return str(self.published)

    @rule(count=st.integers(1, 5))
    def publish(self, count: int) -> None:
        fresh = [self._new() for _ in range(count)]
        publish(self.client, KEYS, *fresh)
        self.model.pending.extend(fresh)

    @rule()
    def publish_delayed(self) -> None:
        fresh = self._new()
        call = _core.add_delayed(delayed=KEYS.delayed, stored=[envelope.encode(fresh)], delay_seconds=3600)
        _sync.execute(self.client, call)
        self.model.delayed.append(fresh)

    def _recent(self, places: list[int]) -> list[Claim]:
        """Claims by age; their leases may be lost by now."""
        return [self.history[place] for place in places if place < len(self.history)]

    @rule(who=CONSUMER, count=st.integers(0, 4), lose=st.booleans())
    def claim(self, who: int, count: int, lose: bool) -> None:
        self._settle_and_claim(who, [], count, lose)

    @rule(who=CONSUMER, outcomes=ENDS, count=st.integers(0, 3), lose=st.booleans())
    def settle(self, who: int, outcomes: dict[int, Outcome], count: int, lose: bool) -> None:
        claims = self._recent(list(outcomes))
        self._settle_and_claim(who, list(zip(claims, outcomes.values(), strict=False)), count, lose)

    @rule(who=CONSUMER, places=st.lists(PLACE, min_size=1, max_size=4, unique=True))
    def release(self, who: int, places: list[int]) -> None:
        self._settle_and_claim(who, [(claim, Outcome.RELEASE) for claim in self._recent(places)], 0, False)

    def _settle_and_claim(
        self, who: int, claims: list[tuple[Claim, Outcome]], count: int, lose: bool
    ) -> None:
        settlements = [Settlement(claim, outcome, delay_seconds=3600) for claim, outcome in claims]
        if lose:
            self._lost(who, settlements, count)
        reply = self.consumers[who].settle(settlements, claim=count)
        assert list(reply.applied) == self.model.settle(claims)
        assert [(name(claim), claim.token, claim.delivery_count) for claim in reply.claimed.claims] == (
            self.model.claim(count)
        )
        self.history = [*reversed(reply.claimed.claims), *self.history]

    def _lost(self, who: int, settlements: list[Settlement], count: int) -> None:
        self.consumers[who].claim(0)  # the reply that gets lost must not be the server's NOSCRIPT
        self.client.lose = 1
        try:
            self.consumers[who].settle(settlements, claim=count)
        except redis.ConnectionError:
            return
        raise AssertionError("the reply was not lost")

    @rule(who=CONSUMER, places=st.lists(PLACE, max_size=3, unique=True))
    def renew(self, who: int, places: list[int]) -> None:
        claims = self._recent(places)
        expected = tuple(self.model.leased.get(name(claim)) == claim.token for claim in claims)
        assert self.consumers[who].renew(claims) == expected
        renewed = {name(claim) for claim, current in zip(claims, expected, strict=True) if current}
        self.model.expired = [payload for payload in self.model.expired if payload not in renewed]

    @rule(places=st.lists(PLACE, min_size=1, max_size=3, unique=True))
    def expire(self, places: list[int]) -> None:
        for claim in self._recent(places):
            if self.client.zadd(KEYS.lease_deadlines, {claim.stored: self._past()}, xx=True, ch=True):
                payload = name(claim)
                self.model.expired = [other for other in self.model.expired if other != payload] + [payload]

    @rule()
    def delays_end(self) -> None:
        waiting = {name_of(stored): stored for stored in self.client.zrange(KEYS.delayed, 0, -1)}
        for payload in self.model.delayed:
            self.client.zadd(KEYS.delayed, {waiting[payload]: self._past()}, xx=True)
        self.model.due += self.model.delayed
        self.model.delayed = []

    @invariant()
    def server_and_model_agree(self) -> None:
        if not hasattr(self, "model"):
            return
        model = self.model
        assert payloads(self.client, KEYS.pending) == model.pending
        processing, deadlines, tokens = lease_sets(self.client, KEYS)
        assert processing == deadlines == tokens
        leased = {
            name_of(stored): token.decode()
            for stored, token in self.client.hgetall(KEYS.lease_tokens).items()
        }
        assert leased == model.leased
        counts = {name_of(stored): int(n) for stored, n in self.client.hgetall(KEYS.delivery_counts).items()}
        assert counts == {payload: count for payload, count in model.counts.items() if count}
        delayed = [name_of(stored) for stored in self.client.zrange(KEYS.delayed, 0, -1)]
        assert sorted(delayed) == sorted(model.due + model.delayed)
        assert payloads(self.client, KEYS.completed) == model.kept[Outcome.DONE]
        assert payloads(self.client, KEYS.failed) == model.kept[Outcome.FAILED]
        assert payloads(self.client, KEYS.dead_letter) == model.kept[Outcome.DEAD]
        everywhere = [*model.pending, *model.leased, *model.delayed, *model.due]
        everywhere += [payload for kept in model.kept.values() for payload in kept]
        assert sorted(everywhere, key=int) == [str(number + 1) for number in range(self.published)]


def name_of(stored: bytes) -> str:
    """The payload of a stored message as text."""
    payload = envelope.decode(stored).payload
    return payload.decode() if isinstance(payload, bytes) else payload


def test_no_history_loses_repeats_or_reorders(redis_server: Server) -> None:
    class Machine(ConsumerMachine):
        server = redis_server

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=80,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
