"""The consumer's batched operations as pure calls, and the little state that makes them safe to repeat."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections import deque
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, NamedTuple

from redis_message_queue import envelope
from redis_message_queue._request_size import BYTES_AT_ONCE, at_most, parts, size_of
from redis_message_queue.exceptions import ConfigurationError
from redis_message_queue.keys import held_field
from redis_message_queue.limits import Limits, limit_words
from redis_message_queue.messages import (
    Claim,
    ClaimReply,
    Due,
    Outcome,
    Settlement,
    SettleReply,
    WorkerIdentity,
)
from redis_message_queue.operations import (
    Call,
    Text,
    as_text,
    claim_record,
    encoded,
    milliseconds,
    renew_many,
    script,
    settle_record,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from redis_message_queue.consumer_options import ConsumerOptions

# A record has to outlive the repeats of its call; the next call removes it much earlier.
_SHORTEST_RECORD_MS = 60_000
_ANSWERED_AT_ONCE = 64
_SETTLEMENTS_AT_ONCE = 500
_LEASES_AT_ONCE = 1000
RECOVER_ALL = 1_000_000
_DUE = {"later": 0, "last": 1, "first": 2}
_DETAIL_LENGTH = 4096
# A larger message is not sent back, but named by its beginning, which has its id, its length and its lease.
_LARGE_BYTES = 1024
_HEAD_BYTES = 64
# What nearly every settlement says. To format an outcome takes as long as all the rest of its arguments.
_PLAIN_ENDS = {outcome: f" {outcome} 0 0" for outcome in Outcome}
_GIVES_UP = (Outcome.FAILED, Outcome.DEAD, Outcome.CANCELLED)


def requests(settlements: Sequence[Settlement]) -> list[Sequence[int]]:
    """The places of those that go in one request each, in the order in which to send them; one for none.

    Released ones come last, and those claimed first at the very end: so they are the next to be claimed.
    """
    if len(settlements) < 2:  # nothing to part
        return [range(len(settlements))]
    # Nearly always there is little to send: then it is not measured. A character is at most four bytes.
    most = sum([at_most(one.claim.stored) + 4 * (len(one.detail) + len(one.result)) for one in settlements])
    if len(settlements) <= _SETTLEMENTS_AT_ONCE and most <= BYTES_AT_ONCE:
        return [range(len(settlements))]

    def size(place: int) -> int:
        return sum(map(size_of, _settlement_args(settlements[place]))) + len(settlements[place].result)

    def released(place: int) -> bool:
        return settlements[place].outcome is Outcome.RELEASE

    ordered = sorted(range(len(settlements)), key=released)
    found: list[Sequence[int]] = [*parts(ordered, size, _SETTLEMENTS_AT_ONCE)]
    others = sum(not released(part[-1]) for part in found)
    return found[:others] + found[others:][::-1]


def settlements_at_once(settlements: Sequence[Settlement]) -> list[Settlement]:
    """Those that go together in the first request, when these are settled."""
    return [settlements[place] for place in requests(settlements)[0]]


class Attempt(NamedTuple):
    """One call under way: its claim id is kept until the reply was seen.

    The answer of `call` is None, and nothing was done, if the server did not find all of the large messages
    that it names; `whole` sends them.
    """

    call: Call[tuple[SettleReply, int] | None]
    whole: Call[tuple[SettleReply, int]]
    claim_id: str | None
    records: tuple[str, ...]


class ConsumerState:
    """Builds the calls of one consumer and remembers which claim ids have no known outcome. Thread-safe."""

    def __init__(self, options: ConsumerOptions, *, decode: bool) -> None:
        self.options = options
        self._decode = decode
        self._nonce = envelope.new_id().encode()
        self._keys = encoded(*options.keys.of_consumers)
        self._settle_record = settle_record(options.keys.processing)
        self._claim_record = claim_record(options.keys.processing)
        lease_ms = milliseconds(options.visibility_timeout_seconds)
        self._kept_ms = max(lease_ms, _SHORTEST_RECORD_MS)
        numbers = (
            f"{lease_ms} {options.max_delivery_count or 0} {self._kept_ms}"
            f" {options.keep_completed} {options.keep_failed} {options.keep_dead_letter_info}"
            f" {limit_words(options.limits, options.key_limits)}"
        )
        self._results = options.keys.result_prefix if options.results_ttl_seconds else ""
        kept = f" {milliseconds(options.results_ttl_seconds)} {self._results}" if self._results else ""
        self._numbers = numbers + kept
        # Keys may be waiting for what other limits said: the first claim has these looked at.
        self._first_numbers = f"{numbers},1{kept}" if options.key_limits not in (None, Limits()) else ""
        worker = options.worker
        self._identity: tuple[str | bytes, ...] = (
            (worker.id, _worker_json(worker, busy=0, draining=False), held_field(worker.instance))
            if worker
            else (b"", b"", b"")
        )
        self._lock = threading.Lock()
        self._unresolved: deque[str] = deque()
        self._answered: deque[str] = deque()
        self._seen = 0

    @property
    def unresolved(self) -> int:
        """How many claims have lost their reply so far and were not repeated."""
        return len(self._unresolved)

    def begin(
        self,
        settlements: Sequence[Settlement],
        count: int,
        *,
        fresh: bool = True,
        in_hand: int | None = None,
        due: Due = Due.FIRST,
    ) -> Attempt:
        """The next call. It repeats a claim of unknown outcome first, if there is one."""
        with self._lock:
            claim_id = None
            if count > 0:
                claim_id = self._unresolved.popleft() if self._unresolved else envelope.new_id()
            answered: list[str] = []
            while self._answered and len(answered) < _ANSWERED_AT_ONCE:
                answered.append(self._answered.popleft())
        keys = self.options.keys
        settled = self._settle_record + (self._settle_id(settlements) if settlements else "none")
        claimed = self._claim_record + (claim_id or "none")
        apart = 0 if in_hand is None else 1 if in_hand == 0 else 2
        when = 2 if due is Due.FIRST else _DUE[due]
        words = [
            _settlement_args(
                one, envelope.marker_of(keys, one.claim.stored) if one.outcome in _GIVES_UP else ""
            )
            for one in settlements
        ]
        if self._results:
            words = [(*said, self._result(one)) for said, one in zip(words, settlements, strict=True)]
        records = ((settled,) if settlements else ()) + ((claimed,) if claim_id else ())
        numbers = self._first_numbers or self._numbers
        asked = f"{max(0, count)} {int(fresh)} {apart} {when} {numbers}", *self._identity
        args = (*asked, *chain.from_iterable(words))
        own = (settled, claimed, *answered)
        whole = Call(script("consume"), own, args, self._parse, raw=True, names=self._keys)
        if max([len(one[0]) for one in words], default=0) <= _LARGE_BYTES:  # as nearly always
            return Attempt(whole, whole, claim_id, records)
        named = map(_named, [one.claim for one in settlements], words)
        short = (*asked, *chain.from_iterable(named))
        call = Call(script("consume"), own, short, self._parse_if_found, raw=True, names=self._keys)
        return Attempt(call, whole, claim_id, records)

    def done(self, attempt: Attempt, reply: tuple[SettleReply, int]) -> SettleReply:
        """Note that the reply arrived: nobody will repeat this call, so its records may go."""
        with self._lock:
            self._answered.extend(attempt.records)
            if attempt.claim_id:
                self._first_numbers = ""
            if reply[1]:
                self._seen = reply[1]
        return reply[0]

    def all_done(
        self, requests: Sequence[Sequence[int]], answered: Sequence[tuple[Attempt, tuple[SettleReply, int]]]
    ) -> SettleReply:
        """Note that the replies to all of these requests arrived; what they say together."""
        if len(answered) == 1:
            return self.done(*answered[0])
        applied: dict[int, bool] = {}
        given_up: list[bytes] = []
        for places, (attempt, reply) in zip(requests, answered, strict=True):
            last = self.done(attempt, reply)
            applied.update(zip(places, last.applied, strict=True))
            given_up += last.claimed.given_up
        claimed = last.claimed._replace(given_up=tuple(given_up))
        return SettleReply(tuple(applied[place] for place in range(len(applied))), claimed)

    def lost(self, attempt: Attempt) -> None:
        """Note that the call raised: the next claim repeats it under the same id, before any other.

        Else what was claimed with nothing in hand would come once another repeat has brought more.
        """
        if attempt.claim_id:
            with self._lock:
                self._unresolved.appendleft(attempt.claim_id)

    def renewals(self, claims: Sequence[Claim]) -> list[Call[tuple[bool, ...]]]:
        """Extend the leases of `claims`."""
        return [
            renew_many(
                processing=self.options.keys.processing,
                leases=[(claim.stored, claim.token) for claim in part],
                visibility_timeout_ms=milliseconds(self.options.visibility_timeout_seconds),
            )
            for part in leases_at_once(claims)
        ]

    def report(
        self, *, busy: int, oldest_start_age_seconds: float | None, draining: bool, tripped: bool
    ) -> Call[frozenset[str]]:
        """Refresh the worker's field; the tokens of leases to cancel.

        Raises ConfigurationError without a worker identity.
        """
        worker = self.worker
        age = "" if oldest_start_age_seconds is None else round(oldest_start_age_seconds * 1000)
        state = _worker_json(worker, busy=busy, draining=draining, tripped=tripped)
        keys = self.options.keys
        args = (worker.id, self._seen, state, age, held_field(worker.instance), self._kept_ms)
        return Call(script("report"), (keys.workers, keys.versions), args, self._noted)

    @property
    def worker(self) -> WorkerIdentity:
        """The identity that reports. Raises ConfigurationError when the consumer has none."""
        if self.options.worker is None:
            raise ConfigurationError("reporting needs 'worker': pass a WorkerIdentity to the Consumer")
        return self.options.worker

    def _noted(self, reply: Any) -> frozenset[str]:
        version, *tokens = (reply,) if isinstance(reply, int) else as_text(reply).split()
        self._seen = int(version)
        return frozenset(tokens)

    def free(self, given_up: Sequence[bytes]) -> Call[int] | None:
        """Forget the deduplication keys of messages that were given up; None where they can have none."""
        held = [
            (marker, stored)
            for stored in given_up
            if (marker := envelope.marker_of(self.options.keys, stored))
        ]
        ids = [envelope.sayable(envelope.decode(stored).id or "") for _, stored in held]
        return Call(script("free"), tuple(marker for marker, _ in held), tuple(ids), int) if held else None

    def _result(self, one: Settlement) -> str:
        """What is kept of a message, with its key; "" where there is nothing to keep."""
        if not (one.result and one.claim.id):
            return ""
        key = self._results + envelope.sayable(one.claim.id)
        return f"{len(key.encode())} {key}{one.result}"

    def _settle_id(self, settlements: Sequence[Settlement]) -> str:
        # The same settlements give the same id, so a caller repeats a call by calling again.
        ends = "|".join([one.claim.token + one.outcome for one in settlements])
        parts = [self._nonce, ends.encode()]
        for one in settlements:
            stored: Text = one.claim.stored
            if len(stored) > _LARGE_BYTES and one.claim.id:  # which says as much, and is hashed sooner
                stored = f"{one.claim.id} {len(stored)}"
            parts.append(stored if isinstance(stored, bytes) else stored.encode())
        return hashlib.sha1(b"|".join(parts), usedforsecurity=False).hexdigest()

    def _parse_if_found(self, reply: bytes | list[bytes] | None) -> tuple[SettleReply, int] | None:
        return None if reply is None else self._parse(reply)

    def _parse(self, reply: bytes | list[bytes]) -> tuple[SettleReply, int]:
        head, *messages = reply.split(b"\n", 1) if isinstance(reply, bytes) else reply
        words = head.decode().split(" ")
        applied, retired, reclaimed, dead, due, expiry, version, end, limited, *granted = words
        lease_end_ms = int(end)
        if isinstance(reply, bytes):
            messages = _cut(messages[0], granted[2::3])
        claims, given_up = [], []
        for word, deliveries, message in zip(granted[::3], granted[1::3], messages, strict=True):
            if word == "-":
                given_up.append(message)
            else:
                claims.append(self._claim(message, word, deliveries, lease_end_ms))
        claimed = ClaimReply(
            tuple(claims),
            int(reclaimed),
            int(dead),
            retired == "1",
            _seconds(due),
            _seconds(expiry),
            tuple(given_up),
            _seconds(limited),
        )
        answers = () if applied == "-" else tuple(map("1".__eq__, applied))
        return SettleReply(answers, claimed), int(version)

    def _claim(self, message: bytes, token: str, deliveries: str, lease_end_ms: int) -> Claim:
        stored: Text = message
        # A value that is not UTF-8 stays bytes: raising here would lose the reply for ever.
        if self._decode:
            with contextlib.suppress(UnicodeDecodeError):
                stored = message.decode()
        content = envelope.decode(stored)
        if deliveries.isdigit():
            count, failures, lost, kept = int(deliveries), 0, 0, 0
        else:
            count, failures, lost, kept = map(int, deliveries.split(":"))
        return Claim(
            stored, token, content.id, content.payload, count, failures, lost, bool(kept), lease_end_ms
        )


def leases_at_once(claims: Sequence[Claim]) -> Iterator[list[Claim]]:
    """Cut into what one request may renew."""
    return parts(claims, lambda claim: size_of(claim.stored), _LEASES_AT_ONCE)


def _cut(messages: bytes, lengths: Sequence[str]) -> list[bytes]:
    ends = [*accumulate(map(int, lengths))]
    return [messages[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _seconds(text: str) -> float | None:
    return None if text == "-" else int(text) / 1000


def _settlement_args(settlement: Settlement, marker: str = "") -> tuple[Text, ...]:
    claim, outcome = settlement.claim, settlement.outcome
    if settlement.delay_seconds or settlement.failed:
        end = f"{claim.token} {outcome} {round(settlement.delay_seconds * 1000)} {int(settlement.failed)}"
    else:
        end = claim.token + _PLAIN_ENDS[outcome]
    if outcome not in _GIVES_UP:
        return claim.stored, end
    why = (
        text[:_DETAIL_LENGTH].encode("utf-8", "replace") for text in (settlement.reason, settlement.detail)
    )
    return claim.stored, end, marker, *why


def _named(claim: Claim, words: tuple[Text, ...]) -> tuple[Text, ...]:
    """The words of a settlement, with the name of a large message in place of it."""
    stored, end, *others = words
    if len(stored) <= _LARGE_BYTES or not claim.lease_end_ms or not claim.id:
        return words
    data = stored.encode() if isinstance(stored, str) else stored
    head = data[:_HEAD_BYTES]
    if claim.id.encode() not in head:
        return words
    return head, f"{as_text(end)} {claim.lease_end_ms} {len(data)}", *others


def _worker_json(worker: WorkerIdentity, *, busy: int, draining: bool, tripped: bool = False) -> str:
    state: dict[str, object] = {
        "v": 1,
        "pod": worker.pod_uid,
        "owner": worker.owner_uid,
        "slots": worker.slots,
        "busy": busy,
        "draining": draining,
        "config": worker.config_hash,
    }
    if worker.instance:
        state["instance"] = worker.instance
    if tripped:
        state["tripped"] = True
    return json.dumps(state, separators=(",", ":"))
