"""Random histories of work without leases: at most once, nothing lost but what a crash had in hand."""

from __future__ import annotations

from collections import Counter
from typing import Any

import hypothesis.strategies as st
import pytest
import redis
from hypothesis.stateful import initialize, precondition, rule
from tests.support.faulty_redis import CUT, LOST
from tests.support.queue_machine import (
    CAP,
    FACE,
    FAULTS,
    KEEP_FAILED,
    KEEP_INFO,
    KEYS,
    MARKS,
    PLACE,
    Hand,
    Processor,
    QueueMachine,
    name_of,
)
from tests.support.queue_model import QueueModel

from redis_message_queue import RetryBudgetExhaustedError
from redis_message_queue.consumer import Outcome


class PlainMachine(QueueMachine):
    """Claims, settles, crashes, drains and drops, without leases: a claim's token is only the model's."""

    @initialize(decode=st.tuples(st.booleans(), st.booleans()))
    def start(self, decode: tuple[bool, bool]) -> None:
        self.begin(QueueModel(None, KEEP_FAILED, KEEP_INFO, sharing=False), decode)
        self.processors = [Processor(self.new_queue(face, False)) for face in (0, 1)]

    def gateway_options(self) -> dict[str, Any]:
        return {}

    @rule(face=FACE, marks=MARKS, single=st.booleans())
    def publish_dropping(self, face: int, marks: list[str], single: bool) -> None:
        queue = self.new_queue(face, False, max_pending_length=CAP, pending_overload_policy="drop_oldest")
        names = self.fresh(marks[:1] if single else marks)
        pending = self.model.pending
        if single:
            assert self.wire.wait(queue.publish(names[0])) is True
            dropped = pending[:1] if len(pending) >= CAP else []
        else:
            assert self.wire.wait(queue.publish_many(names)) == [True] * len(names)
            dropped = [*pending, *names][:-CAP]
        self.model.publish(names)
        self.model.gone += dropped
        del pending[: len(dropped)]

    # -- processors --

    @rule(face=FACE, faults=FAULTS)
    def enter(self, face: int, faults: tuple[str, ...]) -> None:
        processor = self.processors[face]
        block = processor.queue.process_message()
        if (faults and processor.unknown) or len(faults) > 1:
            self.claim_in_vain(processor, block, face, faults)
            return
        with self.wire.faults(self.clients[face], faults):
            payload = self.open_block(block)
        claims = self.recovered(processor) or self.claim_one()
        if not claims:
            assert payload is None
            self.leave_block(block)
            return
        assert payload is not None
        assert name_of(payload) == claims[0][0]
        self.hands.append(Hand(face, claims[0], block))

    def claim_in_vain(self, processor: Processor, block: Any, face: int, faults: tuple[str, ...]) -> None:
        """Every attempt fails, so nobody knows what the claim brought."""
        recovering = bool(processor.unknown)
        error = redis.RedisError if recovering else RetryBudgetExhaustedError
        with self.wire.faults(self.clients[face], faults[:1] if recovering else faults), pytest.raises(error):
            self.open_block(block)
        if not recovering:
            processor.unknown.append(self.claim_one() if LOST in faults else [])

    def claim_one(self) -> list[tuple[str, str]]:
        return self.model.claim(1, promoting=100, counting=False).leases

    def recovered(self, processor: Processor) -> list[tuple[str, str]]:
        while processor.unknown:
            if leases := processor.unknown.popleft():
                return leases
        return []

    @precondition(lambda self: self.hands)
    @rule(place=PLACE, succeed=st.booleans(), faults=FAULTS)
    def end_block(self, place: int, succeed: bool, faults: tuple[str, ...]) -> None:
        hand = self.hands.pop(place % len(self.hands))
        self.model.settle([(hand.lease, Outcome.DONE if succeed else Outcome.FAILED)])
        with self.wire.faults(self.clients[hand.face], faults):
            self.leave_block(hand.block, None if succeed else ValueError("no"))

    def known(self) -> list[tuple[str, str]]:
        """Messages in processing that somebody has seen: not those of lost replies."""
        hidden = {lease[0] for one in self.processors for leases in one.unknown for lease in leases}
        return [lease for lease in self.model.leased.items() if lease[0] not in hidden]

    @precondition(lambda self: self.known())
    @rule(face=FACE, place=PLACE, faults=FAULTS)
    def remove_twice(self, face: int, place: int, faults: tuple[str, ...]) -> None:
        """Whoever has seen a message can acknowledge it, once."""
        lease = self.known()[place % len(self.known())]
        gateway, stored = self.gateways[face], self.stored[lease[0]]
        with self.wire.faults(self.clients[face], faults):
            assert self.wire.wait(gateway.remove_message(KEYS.processing, stored)) is True
        assert self.wire.wait(gateway.remove_message(KEYS.processing, stored)) is False
        self.model.settle([(lease, None)])

    @rule(face=FACE, fault=st.sampled_from(["", CUT, LOST]))
    def drain(self, face: int, fault: str) -> None:
        """Claims of unknown outcome go back to the front; one without an answer is left for a later drain."""
        processor = self.processors[face]
        if fault and processor.unknown:
            kept = processor.unknown.popleft()
            with self.wire.faults(self.clients[face], [fault]):
                assert self.wire.wait(processor.queue.drain()) is False
            self.give_back(processor)
            processor.unknown.append(kept)
        assert self.wire.wait(processor.queue.drain()) is True
        self.give_back(processor)
        self.processors[face] = Processor(self.new_queue(face, False))

    def give_back(self, processor: Processor) -> None:
        while processor.unknown:
            self.model.settle([(lease, Outcome.RELEASE) for lease in processor.unknown.popleft()])

    @rule(face=FACE)
    def crash(self, face: int) -> None:
        """What a dying process had in hand stays in processing for good."""
        for hand in [hand for hand in self.hands if hand.face == face]:
            self.leave_block(hand.block, SystemExit())
        self.hands = [hand for hand in self.hands if hand.face != face]
        self.processors[face] = Processor(self.new_queue(face, False))

    @rule()
    def records_expire(self) -> None:
        for record in self.wire.plain.scan_iter("*_result:*", count=1000):
            self.wire.plain.delete(record)

    # -- the check --

    def read_leases(self, pipe: Any) -> None:
        pipe.hgetall(KEYS.claim_result_ids).hgetall(KEYS.claim_result_backrefs)
        pipe.exists(KEYS.lease_deadlines, KEYS.lease_tokens, KEYS.lease_token_counter, KEYS.delivery_counts)

    def check_leases(self, replies: list[Any], processing: list[bytes], now_ms: int) -> None:
        ids, backrefs, leases = replies
        assert leases == 0
        assert Counter(ids.values()) == Counter(processing)
        assert {stored: claim for claim, stored in ids.items()} == backrefs
