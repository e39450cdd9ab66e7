"""Random histories of leased work: consumers of both kinds and both faces on one queue, against a model."""

from __future__ import annotations

import warnings
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha1
from typing import Any

import hypothesis.strategies as st
import pytest
import redis
from hypothesis.stateful import initialize, precondition, rule
from tests.support.faulty_redis import CUT, LOST
from tests.support.queue_machine import (
    DELAY_SECONDS,
    FACE,
    FAULTS,
    KEEP_FAILED,
    KEEP_INFO,
    KEYS,
    LEASE_SECONDS,
    PLACE,
    PLACES,
    Hand,
    Processor,
    QueueMachine,
    name_of,
)
from tests.support.queue_model import Granted, Lease, Note, QueueModel

from redis_message_queue import QueueDrainedError, RetryBudgetExhaustedError, _batch, envelope, results
from redis_message_queue.asyncio.consumer import Consumer as AsyncConsumer
from redis_message_queue.cancelling import MARK_SECONDS
from redis_message_queue.consumer import Claim, Consumer, Due, Outcome, Settlement
from redis_message_queue.results import Result

CONSUMERS = (Consumer, AsyncConsumer)
END = st.sampled_from(Outcome)
ENDS = st.dictionaries(PLACE, END, min_size=1, max_size=5)
FAULT = st.sampled_from(["", "", CUT, LOST])
ALL = 1_000_000
IN_HAND = st.sampled_from([None, 0, 0, 2])
DUE = st.sampled_from(Due)
LARGE_BYTES = _batch._LARGE_BYTES
NOTES_MS = 2_678_400_000
RESULTS = {
    Outcome.DONE: results.completed,
    Outcome.DEAD: partial(results.ended, "failed"),
    Outcome.FAILED: partial(results.ended, "failed"),
}


@dataclass
class Worker:
    """A `Consumer`, and what the model knows of the calls whose replies it lost."""

    consumer: Any
    unresolved: deque[list[Lease]] = field(default_factory=deque)  # of claims; empty: it got nothing
    recorded: dict[tuple[Any, ...], list[bool]] = field(default_factory=dict)  # answers the server keeps
    spent: list[tuple[Any, ...]] = field(default_factory=list)  # of those: seen, to go with the next call
    owed: tuple[list[tuple[Claim, Outcome]], int] | None = None  # the call that the worker may repeat


class LeasedMachine(QueueMachine):
    """Claims, settles, renews, crashes and drains, with leases."""

    @initialize(
        limit=st.sampled_from([1, 2, 2, 3, None]),
        decode=st.tuples(st.booleans(), st.booleans()),
        keep_completed=st.sampled_from([0, 1000]),
        large=st.booleans(),
        results_ttl=st.sampled_from([0, 600]),
    )
    def start(
        self,
        limit: int | None,
        decode: tuple[bool, bool],
        keep_completed: int,
        large: bool,
        results_ttl: int,
    ) -> None:
        self.begin(QueueModel(limit, KEEP_FAILED, KEEP_INFO), decode)
        self.results_ttl = results_ttl
        self.results: dict[str, Result] = {}
        self.keep_completed = keep_completed  # of workers; none is the quick way
        # Whether settlements name messages by their beginning, as they do large ones.
        _batch._LARGE_BYTES = 0 if large else LARGE_BYTES
        self.workers = [self.new_worker(face) for face in (0, 1)]
        self.processors = [Processor(self.new_queue(face, False)) for face in (0, 1)]
        self.history: list[Claim] = []  # every lease ever seen, newest first
        self.model.publish(names := self.fresh("xyzxyz"))
        self.wire.plain.lpush(KEYS.pending, *names)

    def teardown(self) -> None:
        _batch._LARGE_BYTES = LARGE_BYTES
        super().teardown()

    def new_worker(self, face: int) -> Worker:
        options = {
            "keep_completed": self.keep_completed,
            "keep_failed": KEEP_FAILED,
            "keep_dead_letter_info": KEEP_INFO,
            "results_ttl_seconds": self.results_ttl,
        }
        return Worker(
            CONSUMERS[face](
                self.clients[face],
                "jobs",
                visibility_timeout_seconds=LEASE_SECONDS,
                max_delivery_count=self.model.limit,
                **options,
            )
        )

    def recent(self, places: list[int]) -> list[Claim]:
        """Claims by age; many of their leases are lost."""
        return [self.history[place] for place in dict.fromkeys(place % len(self.history) for place in places)]

    # -- workers: Consumer --

    @rule(face=FACE, count=st.integers(0, 4), fault=FAULT)
    def claim(self, face: int, count: int, fault: str) -> None:
        self.call(face, [], count, fault)

    @rule(face=FACE, count=st.integers(1, 4), in_hand=IN_HAND, due=DUE, fault=FAULT)
    def claim_with_care(self, face: int, count: int, in_hand: int | None, due: Due, fault: str) -> None:
        """What was lost comes apart from others, what is due when the worker wants it."""
        self.call(face, [], count, fault, in_hand=in_hand, due=due)

    @precondition(lambda self: self.history)
    @rule(face=FACE, ends=ENDS, count=st.integers(0, 3), fault=FAULT)
    def settle(self, face: int, ends: dict[int, Outcome], count: int, fault: str) -> None:
        distinct = {place % len(self.history): end for place, end in ends.items()}
        chosen = [(self.history[place], end) for place, end in distinct.items()]
        self.call(face, chosen, count, fault)

    @precondition(lambda self: any(worker.owed for worker in self.workers))
    @rule(fault=FAULT)
    def repeat(self, fault: str) -> None:
        """Make a call again whose reply was lost, maybe long after."""
        face = 0 if self.workers[0].owed else 1
        ends, count = self.workers[face].owed or ([], 0)
        self.call(face, ends, count, fault)

    def call(self, face: int, ends: list[tuple[Claim, Outcome]], count: int, fault: str, **how: Any) -> None:
        worker = self.workers[face]
        settlements = [
            Settlement(
                claim,
                end,
                DELAY_SECONDS,
                "because",
                failed=end is Outcome.RETRY,
                result=result_of(claim, end),
            )
            for claim, end in ends
        ]
        before = worker.unresolved.popleft() if count and worker.unresolved else []
        spent, worker.spent = worker.spent, []
        missed = bool(fault) and not all(map(self.found_by_name, settlements))
        applied, granted = self.executed(worker, ends, count, before, spent, fault, how, missed=missed)
        if fault:
            worker.owed = (ends, count)
            if count:
                worker.unresolved.append(granted.leases if fault == LOST and not before else before)
            with self.wire.faults(self.clients[face], [fault]), pytest.raises(redis.RedisError):
                self.wire.wait(worker.consumer.settle(settlements, claim=count, **how))
            return
        worker.owed = None
        worker.spent.append(key_of(ends))
        reply = self.wire.wait(worker.consumer.settle(settlements, claim=count, **how))
        assert list(reply.applied) == applied
        claimed = reply.claimed
        assert (claimed.reclaimed, claimed.dead_lettered) == (granted.reclaimed, granted.dead_lettered)
        self.model.free(granted.given_up)
        self.check_times(claimed, count)
        self.note(claimed.claims, granted)

    def executed(
        self,
        worker: Worker,
        ends: list[tuple[Claim, Outcome]],
        count: int,
        before: list[Lease],
        spent: list[tuple[Any, ...]],
        fault: str,
        how: dict[str, Any],
        *,
        missed: bool,
    ) -> tuple[list[bool], Granted]:
        """What the model's server does with a call; nothing if it never arrives.

        `missed`: it does not find what was named instead of being sent, and that answer is lost.
        """
        if fault == CUT:
            return [], Granted()
        for key in spent:
            worker.recorded.pop(key, None)
        key = key_of(ends)
        if missed and key not in worker.recorded:
            return [], Granted()
        if key not in worker.recorded:
            keeps = self.keep_completed > 0
            leases = [
                ((name_of(claim.stored), claim.token), end if keeps or end is not Outcome.DONE else None)
                for claim, end in ends
            ]
            late: list[str] = []
            worker.recorded[key] = self.model.settle(leases, "because", freeing=True, late=late)
            self.keep_results(ends, worker.recorded[key])
        else:
            late = []
        if before:
            granted = self.model.claim_again(before, count)
        else:
            granted = self.model.claim(count, promoting=count, **how)
        for name in granted.given_up[: granted.dead_lettered] if self.results_ttl else ():
            self.expect_result(self.id_of(name), Result("failed", None, "MaxDeliveries"))
        self.note_endings()
        return worker.recorded[key], replace(granted, given_up=(*granted.given_up, *late))

    # -- results and cancelling --

    def id_of(self, name: str) -> str:
        """Its id now; empty for a value without envelope."""
        return envelope.decode(self.stored[name]).id or ""

    def expect_result(self, message_id: str | None, result: Result) -> None:
        """This is the newest of its results, if it has an id."""
        if message_id:
            self.results[message_id] = result

    def keep_results(self, ends: list[tuple[Claim, Outcome]], applied: list[bool]) -> None:
        """What workers keep of how these ended."""
        for (claim, end), current in zip(ends, applied, strict=True):
            if current and claim.id and self.results_ttl and end in RESULTS:
                self.results[claim.id] = results.read(result_of(claim, end))

    def note_endings(self) -> None:
        """What was cancelled has that as its result, whether or not workers keep any."""
        for name, when in self.model.endings.items():
            self.expect_result(self.id_of(name), Result("cancelled", None, f"cancelled {when}"))
        self.model.endings.clear()

    @precondition(lambda self: self.stored)
    @rule(face=FACE, place=PLACE, later=st.integers(0, 2), faults=FAULTS)
    def cancel(self, face: int, place: int, later: int, faults: tuple[str, ...]) -> None:
        """Of what is alive: it is out, or will not come again. Each of its calls is repeated."""
        known = sorted(name for name in self.stored if self.id_of(name))
        if not known:
            return
        name = known[place % len(known)]
        with self.wire.faults(self.clients[face], ("",) * later + faults):
            answer = self.wire.wait(self.publishers[face, False].cancel(self.id_of(name)))
        assert answer == self.model.cancel(name)
        self.note_endings()

    @precondition(lambda self: self.results)
    @rule(face=FACE, place=PLACE)
    def ask(self, face: int, place: int) -> None:
        """A result is told; one that has it is not cancelled any more."""
        message_id, result = [*self.results.items()][place % len(self.results)]
        queue = self.publishers[face, True]
        told = self.wire.wait(queue.result(message_id))
        assert told == result, (told, result)
        if message_id not in map(self.id_of, self.stored):
            was_removed = result.reason.startswith("cancelled before ")
            assert self.wire.wait(queue.cancel(message_id)) == ("removed" if was_removed else "finished")

    def found_by_name(self, settlement: Settlement) -> bool:
        """Whether the server finds this message, if only its name is sent."""
        claim, sent = settlement.claim, _batch._settlement_args(settlement)
        if _batch._named(claim, sent) == sent:
            return True
        ends_ms = self.wire.plain.zscore(KEYS.lease_deadlines, claim.stored)
        token = self.wire.plain.hget(KEYS.lease_tokens, claim.stored)
        return bool(ends_ms == claim.lease_end_ms and token == claim.token.encode())

    def note(self, claims: tuple[Claim, ...], granted: Granted) -> None:
        """Compare claims with what the model granted and remember them."""
        seen = [(name_of(claim.stored), claim.token, claim.delivery_count) for claim in claims]
        assert seen == list(granted.claims)
        for claim in claims:
            note = self.model.notes.get(name_of(claim.stored), Note())
            told = Note(claim.failures, claim.lost_leases, claim.kept)
            assert told == note
        fresh = {claim.token for claim in claims}
        self.history = [*reversed(claims), *(old for old in self.history if old.token not in fresh)]

    def check_times(self, claimed: Any, count: int) -> None:
        """The next due message and the next expiry are known whenever fewer came than were asked for."""
        waiting = len(claimed.claims) < count
        assert (claimed.next_due_seconds is not None) == (
            waiting and bool(self.model.due or self.model.delayed)
        )
        assert (claimed.next_expiry_seconds is not None) == (waiting and bool(self.model.leased))

    @precondition(lambda self: self.history)
    @rule(face=FACE, places=PLACES, fault=FAULT)
    def renew(self, face: int, places: list[int], fault: str) -> None:
        claims = self.recent(places)
        if fault:
            with self.wire.faults(self.clients[face], [fault]), pytest.raises(redis.RedisError):
                self.wire.wait(self.workers[face].consumer.renew(claims))
        if fault == CUT:
            return
        expected = tuple(self.model.renew((name_of(claim.stored), claim.token)) for claim in claims)
        if not fault:
            assert self.wire.wait(self.workers[face].consumer.renew(claims)) == expected

    @precondition(lambda self: any(worker.unresolved for worker in self.workers))
    @rule(face=FACE)
    def stop_worker(self, face: int) -> None:
        """Give back what lost replies brought, then leave."""
        worker = self.workers[face]
        expected = [
            lease for before in worker.unresolved for lease in self.model.claim_again(before, ALL).leases
        ]
        recovered = self.wire.wait(worker.consumer.recover())
        assert [(name_of(claim.stored), claim.token) for claim in recovered] == expected
        worker.unresolved.clear()
        worker.spent.clear()
        worker.recorded.clear()
        worker.owed = None
        self.call(face, [(claim, Outcome.RELEASE) for claim in recovered], 0, "")
        self.workers[face] = self.new_worker(face)

    @rule(face=FACE)
    def crash_worker(self, face: int) -> None:
        """The process dies: its claims stay until their leases end."""
        self.workers[face] = self.new_worker(face)

    # -- processors: process_message --

    @rule(face=FACE, faults=FAULTS)
    def enter(self, face: int, faults: tuple[str, ...]) -> None:
        processor = self.processors[face]
        recovering = any(self.model.holds(lease) for unknown in processor.unknown for lease in unknown)
        faults = faults[:1] if processor.unknown else faults
        block = processor.queue.process_message()
        if (faults and processor.unknown) or len(faults) > 1:
            self.claim_in_vain(processor, block, face, faults)
            return
        with self.wire.faults(self.clients[face], faults):
            payload = self.open_block(block)
        granted = self.recovered(processor) if recovering else self.claim_one()
        if not recovering:
            processor.unknown.clear()
        self.take_in_hand(face, block, payload, granted)

    @precondition(lambda self: not any(one.unknown for one in self.processors))
    @rule(face=FACE, taken=st.booleans())
    def enter_late(self, face: int, taken: bool) -> None:
        """A reply is lost, and before the claim is repeated its lease ends; perhaps a worker claims too."""
        first = Granted()

        def overtake() -> None:
            nonlocal first
            first = self.claim_one()
            self.expire([name for name, _ in first.leases])
            if taken:
                self.call(0, [], 1, "")

        block = self.processors[face].queue.process_message()
        with self.wire.faults(self.clients[face], [overtake]):
            payload = self.open_block(block)
        kept = any(self.model.renew(lease) for lease in first.leases)
        self.take_in_hand(face, block, payload, first if kept else self.claim_one())

    def take_in_hand(self, face: int, block: Any, payload: Any, granted: Granted) -> None:
        """A block was entered, with what the model granted."""
        if not granted.claims:
            assert payload is None
            self.leave_block(block)
            return
        (lease,) = granted.leases
        assert payload is not None
        assert name_of(payload) == lease[0]
        self.hands.append(Hand(face, lease, block))
        self.remember(lease)

    def claim_in_vain(self, processor: Processor, block: Any, face: int, faults: tuple[str, ...]) -> None:
        """Every attempt fails, so nobody knows what the claim brought."""
        error = redis.RedisError if processor.unknown else RetryBudgetExhaustedError
        with self.wire.faults(self.clients[face], faults), pytest.raises(error):
            self.open_block(block)
        if not processor.unknown:
            processor.unknown.append(self.claim_one().leases if LOST in faults else [])

    def claim_one(self) -> Granted:
        counting = self.model.limit is not None
        granted = self.model.claim(1, promoting=100, counting=counting, telling=False)
        self.note_endings()
        return granted

    def recovered(self, processor: Processor) -> Granted:
        """The first claim of unknown outcome that still holds something; those before it held nothing."""
        while True:
            leases = processor.unknown.popleft()
            if leases and self.model.renew(leases[0]):
                return Granted(((*leases[0], 0),))

    def remember(self, lease: Lease) -> None:
        """Let workers try their luck with a processor's lease too."""
        name, token = lease
        stored = next(value for value in self.wire.plain.hkeys(KEYS.lease_tokens) if name_of(value) == name)
        claim = Claim(stored, token, None, name, 0)
        self.history = [claim, *(old for old in self.history if old.token != token)]

    @precondition(lambda self: self.hands)
    @rule(place=PLACE, succeed=st.booleans(), faults=FAULTS)
    def end_block(self, place: int, succeed: bool, faults: tuple[str, ...]) -> None:
        hand = self.hands.pop(place % len(self.hands))
        (applied,) = self.model.settle([(hand.lease, Outcome.DONE if succeed else Outcome.FAILED)])
        with (
            warnings.catch_warnings(record=True) as warned,
            self.wire.faults(self.clients[hand.face], faults),
        ):
            self.leave_block(hand.block, None if succeed else ValueError("no"))
        assert ["the lease expired" in str(warning.message) for warning in warned] == [True] * (not applied)

    @precondition(lambda self: self.history)
    @rule(face=FACE, place=PLACE, keep=st.booleans(), faults=FAULTS)
    def settle_through_gateway(self, face: int, place: int, keep: bool, faults: tuple[str, ...]) -> None:
        claim = self.history[place % len(self.history)]
        gateway = self.gateways[face]
        lease = (name_of(claim.stored), claim.token)
        if keep:
            call = gateway.move_message, (KEYS.processing, KEYS.completed, claim.stored)
        else:
            call = gateway.remove_message, (KEYS.processing, claim.stored)
        with self.wire.faults(self.clients[face], faults):
            applied = self.wire.wait(call[0](*call[1], lease_token=claim.token))
        assert [applied] == self.model.settle([(lease, Outcome.DONE if keep else None)])

    @precondition(lambda self: self.history)
    @rule(face=FACE, place=PLACE, faults=FAULTS)
    def renew_through_gateway(self, face: int, place: int, faults: tuple[str, ...]) -> None:
        claim = self.history[place % len(self.history)]
        with self.wire.faults(self.clients[face], faults):
            call = self.gateways[face].renew_message_lease(KEYS.processing, claim.stored, claim.token)
            renewed = self.wire.wait(call)
        assert renewed == self.model.renew((name_of(claim.stored), claim.token))

    @rule(face=FACE)
    def drain(self, face: int) -> None:
        """A drained queue takes nothing more; what is in hand may be settled; claims of no answer expire."""
        queue = self.processors[face].queue
        assert self.wire.wait(queue.drain()) is True
        with pytest.raises(QueueDrainedError):
            self.wire.wait(queue.publish("too late"))
        block = queue.process_message()
        assert self.open_block(block) is None
        self.leave_block(block)
        self.processors[face] = Processor(self.new_queue(face, False))

    @rule(face=FACE)
    def crash_processor(self, face: int) -> None:
        """The process dies within its blocks: nothing is settled."""
        for hand in [hand for hand in self.hands if hand.face == face]:
            self.leave_block(hand.block, SystemExit())
        self.hands = [hand for hand in self.hands if hand.face != face]
        self.processors[face] = Processor(self.new_queue(face, False))

    # -- time --

    @precondition(lambda self: self.model.leased)
    @rule(places=PLACES)
    def leases_expire(self, places: list[int]) -> None:
        leased = list(self.model.leased)
        self.expire([leased[place] for place in places if place < len(leased)])

    @precondition(lambda self: self.model.leased and not any(one.unknown for one in self.processors))
    @rule()
    def long_time_passes(self) -> None:
        """Every lease ends, and every record of a call. No processor waits that long for an answer."""
        self.expire([name for name in self.model.leased if name not in self.model.expired])
        for record in self.wire.plain.scan_iter("*_result:*", count=1000):
            self.wire.plain.delete(record)
        for worker in self.workers:
            worker.unresolved = deque([[] for _ in worker.unresolved])
            worker.recorded.clear()

    def expire(self, names: list[str]) -> None:
        for name in names:
            self.wire.plain.zadd(KEYS.lease_deadlines, {self.stored[name]: self.past()}, xx=True)
        self.model.expired = [name for name in self.model.expired if name not in names] + names

    # -- the check --

    def read_leases(self, pipe: Any) -> None:
        pipe.hgetall(KEYS.notes).pttl(KEYS.notes)
        pipe.zrange(KEYS.lease_deadlines, 0, -1, withscores=True)
        pipe.hgetall(KEYS.lease_tokens).hgetall(KEYS.delivery_counts).get(KEYS.lease_token_counter)
        pipe.hkeys(KEYS.claim_result_refs).hkeys(KEYS.claim_result_ids).hgetall(KEYS.claim_result_backrefs)
        pipe.hkeys(KEYS.cancelled).pttl(KEYS.cancelled)

    def check_leases(self, replies: list[Any], processing: list[bytes], now_ms: int) -> None:
        notes, notes_ms, deadlines, tokens, counts, counter, refs, ids, backrefs, marks, marks_ms = replies
        model = self.model
        assert not notes or 0 < notes_ms <= NOTES_MS
        # What others than workers settle may leave a note behind; the whole of them goes after a month.
        told = {name_of(stored): note.decode() for stored, note in notes.items() if stored in counts}
        assert told == {
            name: f"{note.failures} {note.lost_leases} {note.kept:d}"
            for name, note in model.notes.items()
            if model.counts.get(name)
        }
        assert Counter(processing) == Counter(tokens.keys()) == Counter(stored for stored, _ in deadlines)
        assert {name_of(stored): token.decode() for stored, token in tokens.items()} == model.leased
        assert int(counter or 0) == model.tokens
        seen = {name_of(stored): int(count) for stored, count in counts.items()}
        assert seen == {name: count for name, count in model.counts.items() if count}
        ends = {name_of(stored): end for stored, end in deadlines}
        earliest, latest = now_ms + (LEASE_SECONDS - 60) * 1000, now_ms + LEASE_SECONDS * 1000
        assert all((name in model.expired) == (end <= now_ms) for name, end in ends.items())
        assert all(earliest <= ends[name] <= latest for name in ends if name not in model.expired)
        # The records that peers keep by token: none outlives its lease.
        live = set(tokens.values())
        assert set(refs) <= live
        assert set(backrefs) <= live
        assert Counter(backrefs.values()) == Counter(ids)
        # What others than workers settle may leave a mark behind.
        names = {sha1(stored).hexdigest(): name for name, stored in self.stored.items()}
        alive = {names[mark.decode()] for mark in marks if mark.decode() in names}
        assert alive == {name for name in model.unwanted if name in self.stored}
        assert not marks or 0 < marks_ms <= MARK_SECONDS * 1000


def result_of(claim: Claim, end: Outcome) -> str:
    """What a worker would keep of it."""
    state = RESULTS.get(end)
    return "" if state is None else state(name_of(claim.stored))


def key_of(ends: list[tuple[Claim, Outcome]]) -> tuple[Any, ...]:
    """What makes two settlements the same call."""
    return tuple((name_of(claim.stored), claim.token, end) for claim, end in ends)
