"""The part of a random history that needs no consumer: publishers, the passing of time, repairs, the check.

Time passes by rewriting what the server compares with its clock: deadlines, due times, expiring keys.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import hypothesis.strategies as st
import pytest
import redis
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support.faulty_redis import CUT, LOST, Wire

import redis_message_queue
import redis_message_queue.asyncio
from redis_message_queue import QueueBackpressureError, envelope
from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.queue_model import Lease, QueueModel

KEYS = QueueKeys("jobs")
LEASE_SECONDS = 300
DELAY_SECONDS = 3600
MARKER_SECONDS = 3600
KEEP_FAILED = 4
KEEP_INFO = 5
CAP = 5
FACES = (redis_message_queue, redis_message_queue.asyncio)

FACE = st.integers(0, 1)
PLACE = st.integers(0, 7)
PLACES = st.lists(PLACE, min_size=1, max_size=4, unique=True)
WHERE = ("", "many", "front", "later")
MARKS = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4)
FAULTS = st.sampled_from(
    [(), (), (), (), (CUT,), (LOST,), (CUT, CUT), (CUT, LOST), (LOST, CUT), (LOST, LOST)]
)

_OTHER_KEYS = """
local others = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  if redis.call('TYPE', key).ok == 'string' then
    others[#others + 1] = key
    others[#others + 1] = redis.call('PTTL', key)
  end
end
return others
"""


def name_of(stored: str | bytes) -> str:
    """The payload of a stored message as text."""
    payload = envelope.decode(stored).payload
    return payload.decode() if isinstance(payload, bytes) else payload


def mark_of(message: Any) -> str:
    """The deduplication key of `17:b` is `b`."""
    return str(message).partition(":")[2]


@dataclass
class Hand:
    """A message within a `process_message` block; without leases its token is made up."""

    face: int
    lease: Lease
    block: Any


@dataclass
class Processor:
    """A queue that handles messages in blocks, and its claims of unknown outcome, which may hold nothing."""

    queue: Any
    unknown: deque[list[Lease]] = field(default_factory=deque)


class QueueMachine(RuleBasedStateMachine):
    """Publishes in every way, lets time pass, repairs; after each step server and model must agree."""

    wire: Wire
    steps: ClassVar[Counter[str]]
    model: QueueModel

    def begin(self, model: QueueModel, decode: Sequence[bool]) -> None:
        """Start over with an empty server."""
        self.wire.plain.flushdb()
        self.model = model
        self.clients = [self.wire.client(face, decode[face]) for face in (0, 1)]
        self.hands: list[Hand] = []
        self.steps["histories"] += 1
        self.named = 0
        self.clock = 0
        self.stored: dict[str, bytes] = {}
        self.ids: dict[str, str] = {}
        self.bounded: dict[tuple[int, bool, bool], Any] = {}
        self.gateways = [self.gateway(face) for face in (0, 1)]
        self.publishers = {
            (face, deduplicating): self.new_queue(face, deduplicating)
            for face in (0, 1)
            for deduplicating in (False, True)
        }

    def gateway(self, face: int, **options: Any) -> Any:
        """A built-in gateway that repeats at once and never waits for a message."""
        return FACES[face].RedisGateway(
            redis_client=self.clients[face],
            retry_initial_delay_seconds=0.0001,
            retry_max_delay_seconds=0.0001,
            message_wait_interval_seconds=0,
            message_deduplication_log_ttl_seconds=MARKER_SECONDS,
            **{**self.gateway_options(), **options},
        )

    def gateway_options(self) -> dict[str, Any]:
        """What all consumers of this history share."""
        limit = self.model.limit
        dead = {} if limit is None else {"max_delivery_count": limit, "dead_letter_queue": KEYS.dead_letter}
        return {"message_visibility_timeout_seconds": LEASE_SECONDS, **dead}

    def new_queue(self, face: int, deduplicating: bool, **options: Any) -> Any:
        """A queue of that face; `options` go to its gateway."""
        key = {"get_deduplication_key": mark_of} if deduplicating else {}
        return FACES[face].RedisMessageQueue(
            "jobs",
            gateway=self.gateway(face, **options),
            deduplication=deduplicating,
            enable_completed_queue=True,
            enable_failed_queue=True,
            max_failed_length=KEEP_FAILED,
            **key,
        )

    def fresh(self, marks: Sequence[str]) -> list[str]:
        """New names with these deduplication keys."""
        self.named += len(marks)
        return [f"{self.named - len(marks) + place}:{mark}" for place, mark in enumerate(marks)]

    def past(self) -> int:
        """A time long ago, later than all that were asked for."""
        self.clock += 1
        return self.clock

    def open_block(self, block: Any) -> Any:
        """Begin a `process_message` block; the payload or None."""
        return self.wire.wait(block.__aenter__() if hasattr(block, "__aenter__") else block.__enter__())

    def leave_block(self, block: Any, error: BaseException | None = None) -> None:
        """End a block: normally, or by this error, which must come through."""
        leave = block.__aexit__ if hasattr(block, "__aexit__") else block.__exit__
        assert not self.wire.wait(leave(None if error is None else type(error), error, None))

    def teardown(self) -> None:
        """Leave no block half-way."""
        for hand in getattr(self, "hands", []):
            self.leave_block(hand.block, SystemExit())

    # -- publishers --

    @rule(face=FACE, deduplicate=st.booleans(), marks=MARKS, later=st.booleans(), faults=FAULTS)
    def publish_many(
        self, face: int, deduplicate: bool, marks: list[str], later: bool, faults: tuple[str, ...]
    ) -> None:
        names = self.fresh(marks)
        delay = DELAY_SECONDS if later else None
        with self.wire.faults(self.clients[face], faults):
            call = self.publishers[face, deduplicate].publish_many(names, delay_seconds=delay)
            answer = self.wire.wait(call)
        assert answer == self.model.publish(names, deduplicate=deduplicate, later=later)

    @rule(face=FACE, marks=MARKS, later=st.booleans(), faults=FAULTS)
    def publish_one_by_one(self, face: int, marks: list[str], later: bool, faults: tuple[str, ...]) -> None:
        delay = DELAY_SECONDS if later else None
        for name in self.fresh(marks):
            with self.wire.faults(self.clients[face], faults):
                answer = self.wire.wait(self.publishers[face, True].publish(name, delay_seconds=delay))
            assert [answer] == self.model.publish([name], deduplicate=True, later=later)

    @rule(face=FACE, key=st.booleans(), marks=MARKS, where=st.sampled_from(WHERE), faults=FAULTS)
    def enqueue(self, face: int, key: bool, marks: list[str], where: str, faults: tuple[str, ...]) -> None:
        """One by one, in front too, or many at once; a duplicate tells whose the key is."""
        names, publisher = self.fresh(marks), self.publishers[face, False]
        later, front = where == "later", where == "front"
        delay = DELAY_SECONDS if later else None
        with self.wire.faults(self.clients[face], faults):
            if where == "many":
                keys = {"deduplication_keys": marks} if key else {}
                receipts = self.wire.wait(publisher.enqueue_many(names, **keys))
            else:
                receipts = [
                    self.wire.wait(
                        publisher.enqueue(
                            name,
                            deduplication_key=mark if key else None,
                            delay_seconds=delay,
                            at_front=front,
                        )
                    )
                    for name, mark in zip(names, marks, strict=True)
                ]
        answer = self.model.publish(names, deduplicate=key, later=later, front=front)
        assert [*map(bool, receipts)] == answer
        ids = {name: receipt.message_id for name, receipt in zip(names, receipts, strict=True) if receipt}
        self.ids |= ids
        firsts = [self.ids.get(self.model.holders.get(mark, "")) for mark in marks]
        assert [receipt.first_id for receipt in receipts] == [
            None if receipt else first for receipt, first in zip(receipts, firsts, strict=True)
        ]

    @rule(face=FACE, mark=st.sampled_from("ab"), fault=st.sampled_from(["", "", CUT, LOST]))
    def publish_unprotected(self, face: int, mark: str, fault: str) -> None:
        """Without a deduplication key nothing is repeated: the caller learns that the outcome is unknown."""
        (name,) = self.fresh([mark])
        publisher = self.publishers[face, False]
        if fault:
            with self.wire.faults(self.clients[face], [fault]), pytest.raises(redis.RedisError):
                self.wire.wait(publisher.publish(name))
        else:
            assert self.wire.wait(publisher.publish(name)) is True
        if fault != CUT:
            self.model.publish([name])

    @rule(face=FACE, deduplicate=st.booleans(), block=st.booleans(), marks=MARKS)
    def publish_bounded(self, face: int, deduplicate: bool, block: bool, marks: list[str]) -> None:
        policy = {"pending_overload_policy": "block", "pending_overload_block_timeout_seconds": 0}
        if (face, deduplicate, block) not in self.bounded:
            options = {"max_pending_length": CAP, **(policy if block else {})}
            self.bounded[face, deduplicate, block] = self.new_queue(face, deduplicate, **options)
        queue = self.bounded[face, deduplicate, block]
        names = self.fresh(marks)
        expected = self.model.publish(names, deduplicate=deduplicate, cap=CAP)
        call = queue.publish_many if len(names) > 1 else lambda only: queue.publish(only[0])
        if expected is None:
            with pytest.raises(QueueBackpressureError):
                self.wire.wait(call(names))
        else:
            assert self.wire.wait(call(names)) in (expected, expected[0])

    @rule(mark=st.sampled_from("ab"))
    def publish_raw(self, mark: str) -> None:
        """Somebody pushes a value without envelope."""
        (name,) = self.fresh([mark])
        self.wire.plain.lpush(KEYS.pending, name)
        self.model.publish([name])

    # -- time --

    @precondition(lambda self: self.model.delayed)
    @rule(places=PLACES)
    def delays_end(self, places: list[int]) -> None:
        waiting = {name_of(stored): stored for stored in self.wire.plain.zrange(KEYS.delayed, 0, -1)}
        due = [self.model.delayed[place] for place in places if place < len(self.model.delayed)]
        for name in due:
            self.wire.plain.zadd(KEYS.delayed, {waiting[name]: self.past()}, xx=True)
        self.model.delayed = [name for name in self.model.delayed if name not in due]
        self.model.due += due

    @precondition(lambda self: self.model.marked)
    @rule(marks=MARKS)
    def markers_expire(self, marks: list[str]) -> None:
        for mark in marks:
            assert self.wire.plain.pexpire(KEYS.deduplication(mark), 0) == (mark in self.model.marked)
            self.model.marked.discard(mark)

    # -- repairs --

    @precondition(lambda self: self.model.dead)
    @rule(face=FACE, most=st.sampled_from([None, 1, 2]), faults=FAULTS)
    def redrive(self, face: int, most: int | None, faults: tuple[str, ...]) -> None:
        """The dead letters are read first; then they move, once, however often that is repeated."""
        plan = ("", *faults)
        with self.wire.faults(self.clients[face], plan):
            answer = self.wire.wait(self.publishers[face, True].redrive_dead_letters(most))
        assert answer == self.model.redrive(most)

    @precondition(lambda self: len(self.model.pending) + len(self.model.completed) > CAP)
    @rule(face=FACE, place=st.sampled_from(["pending", "delayed", "completed", "failed", "dead_letter"]))
    def purge(self, face: int, place: str) -> None:
        answer = self.wire.wait(self.publishers[face, True].purge(target=place))
        assert answer == self.model.purge(place)

    @rule(face=FACE, source=st.sampled_from(["pending", "completed", "failed", "dead_letter"]))
    def look(self, face: int, source: str) -> None:
        model, queue = self.model, self.publishers[face, True]
        stats = self.wire.wait(queue.stats())
        ends = (len(model.completed), len(model.failed), len(model.dead))
        in_hand = len(self.in_hand())
        assert stats == (len(model.pending), in_hand, *ends, len(model.delayed) + len(model.due))
        lists = {"pending": model.pending, "completed": model.completed, "failed": model.failed}
        seen = self.wire.wait(queue.peek(3, source=source))
        assert [name_of(value) for value in seen] == lists.get(source, model.dead)[:3]

    # -- the check --

    def in_hand(self) -> list[str]:
        """The names that must be in processing."""
        return list(self.model.leased)

    @invariant()
    def server_and_model_agree(self) -> None:
        if not hasattr(self, "model"):
            return
        self.steps["checks"] += 1
        pipe = self.wire.plain.pipeline(transaction=False)
        lists = (KEYS.pending, KEYS.processing, KEYS.completed, KEYS.failed, KEYS.dead_letter)
        for key in lists:
            pipe.lrange(key, 0, -1)
        pipe.zrange(KEYS.delayed, 0, -1, withscores=True).lrange(KEYS.dead_letter_info, 0, -1).time()
        pipe.eval(_OTHER_KEYS, 0)
        self.read_leases(pipe)
        replies = pipe.execute()
        pending, processing, completed, failed, dead = [list(reversed(reply)) for reply in replies[:5]]
        delayed, info, now, strings = replies[5:9]
        now_ms = now[0] * 1000 + now[1] // 1000
        alive = [*pending, *processing, *(stored for stored, _ in delayed)]
        self.stored = {name_of(stored): stored for stored in alive}
        for name, stored in self.stored.items():  # a redriven one has another id, its marker the first
            self.ids.setdefault(name, envelope.decode(stored).id or "")

        model = self.model
        assert [name_of(stored) for stored in pending] == model.pending
        assert sorted(map(name_of, processing)) == sorted(self.in_hand())
        assert [name.decode() for name in completed] == model.completed
        assert [name.decode() for name in failed] == model.failed
        assert [name.decode() for name in dead] == model.dead
        self.check_delayed(delayed, now_ms)
        self.check_info(info)
        self.check_strings(dict(zip(strings[::2], strings[1::2], strict=True)))
        self.check_leases(replies[9:], processing, now_ms)
        everywhere = Counter(map(name_of, [*alive, *completed, *failed, *dead]))
        assert everywhere + Counter(model.gone) == Counter(model.published), "lost or doubled"

    def check_delayed(self, delayed: list[tuple[bytes, float]], now_ms: int) -> None:
        """Everything delayed is there, and not due before its time."""
        due = {name_of(stored): due_ms for stored, due_ms in delayed}
        assert sorted(due) == sorted(self.model.due + self.model.delayed)
        earliest = now_ms + (DELAY_SECONDS - 60) * 1000
        latest = now_ms + DELAY_SECONDS * 1000 + 1
        assert all(earliest <= due[name] <= latest for name in self.model.delayed)

    def check_info(self, info: list[bytes]) -> None:
        """Each dead letter of a worker is explained."""
        told = [json.loads(record) for record in reversed(info)]
        seen = [(record["digest"], record["reason"], record["deliveries"]) for record in told]
        assert seen == [
            (hashlib.sha1(name.encode()).hexdigest(), reason, deliveries)
            for name, reason, deliveries in self.model.info
        ]

    def check_strings(self, strings: dict[bytes, int]) -> None:
        """Markers live as long as they should; all else that is a string is a record that ends by itself."""
        markers = {KEYS.deduplication(mark).encode() for mark in self.model.marked}
        prefix = KEYS.deduplication_prefix.encode()
        found = {key for key in strings if key.startswith(prefix) and b"_result:" not in key}
        assert found == markers
        assert all((MARKER_SECONDS - 60) * 1000 < strings[key] <= MARKER_SECONDS * 1000 for key in markers)
        for key in strings.keys() - markers - {KEYS.lease_token_counter.encode()}:
            assert b"_result:" in key
            assert 0 < strings[key] <= MARKER_SECONDS * 1000, key

    def read_leases(self, pipe: Any) -> None:
        """Queue the reads that `check_leases` looks at."""
        raise NotImplementedError

    def check_leases(self, replies: list[Any], processing: list[bytes], now_ms: int) -> None:
        """What belongs to messages in hand is whole, and nothing else is there."""
        raise NotImplementedError
