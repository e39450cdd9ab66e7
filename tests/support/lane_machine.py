"""Random histories of messages with priorities and limit keys: what must hold whoever is claimed before whom.

Unlike leased work it has no model that foretells each claim. Each message is in one place until it has ended,
a lane is begun in its order, no key has more in flight than it may, and nothing is left when all is handled.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

import hypothesis.strategies as st
import redis
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.support.faulty_redis import CUT, LOST, Wire
from tests.support.queue_machine import FACE, FACES, FAULTS, KEYS, LEASE_SECONDS, name_of

from redis_message_queue.asyncio.consumer import Consumer as AsyncConsumer
from redis_message_queue.consumer import Claim, Consumer, Limits, Outcome, Settlement, WorkerIdentity
from redis_message_queue.holders import expire_leases

if TYPE_CHECKING:
    from tests.support.v7 import Peer

MOST_OF_A_KEY, MOST_OF_ALL = 2, 5
LEVEL = st.sampled_from(["high", "normal", "normal", "low"])
KEY = st.sampled_from([None, "a", "b", 'c "ü"'])
FAULT = st.sampled_from(["", "", CUT, LOST])
WAYS = st.sampled_from(["", "", "many", "front", "later"])
# One consumer that keeps to both limits, one to those of keys, one to none.
KINDS = (
    {"limits": Limits(max_in_flight=MOST_OF_ALL), "key_limits": Limits(max_in_flight=MOST_OF_A_KEY)},
    {"key_limits": Limits(max_in_flight=MOST_OF_A_KEY)},
    {},
)


class LaneMachine(RuleBasedStateMachine):
    """Enqueues, claims, settles, crashes, cancels and redrives; with a peer, 7.0.0 takes part."""

    wire: Wire
    steps: ClassVar[Counter[str]]
    peer: ClassVar[Peer | None] = None

    @initialize()
    def start(self) -> None:
        self.server = self.wire.plain
        self.server.flushdb()
        self.steps["histories"] += 1
        self.clients = [self.wire.client(face, False) for face in (0, 1)]
        self.queues = [
            FACES[face].RedisMessageQueue("jobs", client=self.clients[face], deduplication=False)
            for face in (0, 1)
        ]
        self.consumers = [self.new_consumer(face, kind) for face in (0, 1) for kind in range(len(KINDS))]
        self.claims: list[tuple[int, Claim]] = []
        self.limited: dict[
            str, tuple[str, bytes]
        ] = {}  # token → key and message that a limited consumer began
        self.lanes: dict[tuple[str, str | None], list[str]] = {}
        self.enqueued: set[str] = set()
        self.ids: dict[str, str] = {}
        self.keys: dict[str, str | None] = {}
        self.begun: set[str] = set()
        self.ended: set[str] = set()
        self.their_queue = self.peer.queue("jobs", "sync", gateway=self.of_theirs()) if self.peer else None
        self.their_hands: list[str] = []

    def of_theirs(self) -> dict[str, Any]:
        return {
            "message_visibility_timeout_seconds": LEASE_SECONDS,
            "max_delivery_count": 100,
            "dead_letter_queue": KEYS.dead_letter,
            "message_wait_interval_seconds": 0,
        }

    def new_consumer(self, face: int, kind: int) -> Any:
        identity = WorkerIdentity(f"w{face}{kind}", 8, instance=f"i{face}{kind}")
        return (Consumer, AsyncConsumer)[face](
            self.clients[face],
            "jobs",
            visibility_timeout_seconds=LEASE_SECONDS,
            max_delivery_count=None,
            worker=identity,
            **KINDS[kind],
        )

    # -- rules --

    @rule(face=FACE, count=st.integers(1, 4), priority=LEVEL, limit_key=KEY, way=WAYS, faults=FAULTS)
    def enqueue(
        self, face: int, count: int, priority: str, limit_key: str | None, way: str, faults: tuple[str, ...]
    ) -> None:
        names = [f"m{len(self.enqueued) + place}" for place in range(count if way == "many" else 1)]
        options: dict[str, Any] = {"priority": priority, "limit_key": limit_key}
        with self.wire.faults(self.clients[face], faults):
            if way == "many":
                receipts = self.wire.wait(self.queues[face].enqueue_many(names, **options))
            else:
                more = {"front": {"at_front": True}, "later": {"delay_seconds": 3600}}.get(way, {})
                receipts = [self.wire.wait(self.queues[face].enqueue(names[0], **options, **more))]
        self.enqueued |= {*names}
        for name, receipt in zip(names, receipts, strict=True):
            self.ids[name], self.keys[name] = receipt.message_id, limit_key
        if way in ("", "many"):
            self.lanes.setdefault((priority, limit_key), []).extend(names)

    @rule(one=st.integers(0, 5), count=st.integers(1, 6), fault=FAULT)
    def claim(self, one: int, count: int, fault: str) -> None:
        self.call(one, [], count, fault)

    @precondition(lambda self: self.claims)
    @rule(
        places=st.lists(st.integers(0, 9), min_size=1, max_size=4),
        end=st.sampled_from(Outcome),
        count=st.integers(0, 4),
        fault=FAULT,
    )
    def settle(self, places: list[int], end: Outcome, count: int, fault: str) -> None:
        """By the consumer that has the first of them in hand."""
        one = self.claims[places[0] % len(self.claims)][0]
        own = [claim for holder, claim in self.claims if holder == one]
        chosen = {claim.token: claim for claim in (own[place % len(own)] for place in places)}
        delay = 3600.0 if end is Outcome.RETRY and count % 2 else 0.0
        settlements = [Settlement(claim, end, delay) for claim in chosen.values()]
        self.claims = [pair for pair in self.claims if pair[0] != one or pair[1].token not in chosen]
        self.call(one, settlements, count, fault)

    @rule(face=FACE)
    def process(self, face: int) -> None:
        """A consumer that knows no limits, and does what it claims."""
        gateway = FACES[face].RedisGateway(
            redis_client=self.clients[face],
            message_wait_interval_seconds=0,
            message_visibility_timeout_seconds=300,
        )
        queue = FACES[face].RedisMessageQueue("jobs", gateway=gateway, deduplication=False)
        block = queue.process_message()
        payload = self.wire.wait((getattr(block, "__aenter__", None) or block.__enter__)())
        self.wire.wait((getattr(block, "__aexit__", None) or block.__exit__)(None, None, None))
        if payload is not None:
            self.begin([name_of(payload)])
            self.ended.add(name_of(payload))

    @rule(place=st.integers(0, 99))
    def cancel(self, place: int) -> None:
        """One that waits; what runs is another history's matter."""
        waiting = sorted(self.ids.keys() - self.begun - self.ended)
        if waiting:
            name = waiting[place % len(waiting)]
            assert self.queues[0].cancel(self.ids[name]) == "removed"
            self.begun.add(name)
            self.ended.add(name)

    @rule()
    def expire(self) -> None:
        """All leases end."""
        for stored in self.server.zrange(KEYS.lease_deadlines, 0, -1):
            self.server.zadd(KEYS.lease_deadlines, {stored: 1}, xx=True)

    @rule(one=st.integers(0, 5))
    def die(self, one: int) -> None:
        """A process ends with all that it has in hand."""
        expire_leases(self.server, KEYS, f"i{one // 3}{one % 3}")
        self.claims = [pair for pair in self.claims if pair[0] != one]

    @rule()
    def time_passes(self) -> None:
        """What is delayed is due, and keys at their limits are looked at again."""
        for place, stored in enumerate(self.server.zrange(KEYS.delayed, 0, -1)):
            self.server.zadd(KEYS.delayed, {stored: place + 1}, xx=True)
        for lane, turn in self.server.zrange(KEYS.lanes.turns, 0, -1, withscores=True):
            self.server.zadd(KEYS.lanes.turns, {lane: min(turn, 0)}, xx=True)

    @precondition(lambda self: self.their_queue)
    @rule(leave=st.booleans())
    def they_take_one(self, leave: bool) -> None:
        """7.0.0 claims from pending alone; what it finds there, it ends."""
        assert self.their_queue
        for name in self.their_hands if leave else ():
            if not any("lease expired" in warning for warning in self.their_queue.leave(name)):
                self.ended.add(name)
        if leave:
            self.their_hands = []
        elif (name := self.their_queue.enter()) is not None and name not in self.their_hands:
            self.their_hands.append(name)
            self.begin([name])

    # -- what holds --

    def call(self, one: int, settlements: list[Settlement], count: int, fault: str) -> None:
        consumer, client = self.consumers[one], self.clients[one // 3]
        with self.wire.faults(client, (fault,) if fault else ()):
            try:
                reply = self.wire.wait(consumer.settle(settlements, count))
            except redis.RedisError:
                reply = None
        if reply is None:  # once more: it is not done twice, and its claims are given again
            reply = self.wire.wait(consumer.settle(settlements, count))
        for settlement, applied in zip(settlements, reply.applied, strict=True):
            if applied and settlement.outcome not in (Outcome.RETRY, Outcome.RELEASE):
                self.ended.add(name_of(settlement.claim.stored))
        for claim in reply.claimed.claims:
            self.claims.append((one, claim))
            if one % 3 < 2 and (key := self.keys[name_of(claim.stored)]) is not None:
                self.limited[claim.token] = key, claim.stored
        self.begin([name_of(claim.stored) for claim in reply.claimed.claims])

    def begin(self, names: list[str]) -> None:
        """These were handed out: those of a lane that were never before, before the ones behind them."""
        for names_of_lane in self.lanes.values():
            fresh = [name for name in names_of_lane if name not in self.begun]
            new = [name for name in fresh if name in names]
            assert {*fresh[: len(new)]} == {*new}, (fresh, names)
        self.begun |= {*names}

    @invariant()
    def all_is_well(self) -> None:
        self.steps["checks"] += 1
        if not hasattr(self, "server"):
            return
        self.check_places()
        current = self.server.hgetall(KEYS.lease_tokens)
        held = Counter(
            key for token, (key, stored) in self.limited.items() if current.get(stored) == token.encode()
        )
        assert all(count <= MOST_OF_A_KEY for count in held.values()), held

    def check_places(self) -> None:
        places = Counter(
            name_of(stored)
            for stored in (
                *self.server.lrange(KEYS.pending, 0, -1),
                *self.server.lrange(KEYS.processing, 0, -1),
                *self.server.zrange(KEYS.delayed, 0, -1),
                *(one.split(b"\0", 2)[2] for one in self.server.zrange(KEYS.lanes.waiting, 0, -1)),
            )
        )
        assert places == Counter(self.enqueued - self.ended), "lost, doubled, or there after its end"
        lanes = {one.split(b"\0", 1)[0] for one in self.server.zrange(KEYS.lanes.waiting, 0, -1)}
        assert lanes <= {*self.server.zrange(KEYS.lanes.turns, 0, -1)}, "never looked at again"

    def teardown(self) -> None:
        """Handle all that is left, within the limits: then nothing is."""
        if not hasattr(self, "server"):
            return
        self.their_hands = []
        rounds = 0
        while self.enqueued - self.ended:
            rounds += 1
            assert rounds < 200, "what is left does not come"
            self.expire()
            self.time_passes()
            self.claims = []
            reply = self.wire.wait(self.consumers[0].claim(4)).claims
            assert len(reply) <= MOST_OF_ALL
            done = [Settlement(claim, Outcome.DONE) for claim in reply]
            settled = self.wire.wait(self.consumers[0].settle(done))
            assert all(settled.applied)
            self.ended |= {name_of(claim.stored) for claim in reply}
        self.check_places()
        lanes = KEYS.lanes
        self.wire.wait(self.consumers[0].claim(1))
        assert not self.server.exists(lanes.waiting, lanes.turns, KEYS.lease_tokens, KEYS.lease_deadlines)
        self.expire()
