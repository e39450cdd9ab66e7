"""Operations on many messages as plain data: publishing together, looking, redriving, purging, repairing."""

from __future__ import annotations

import hashlib
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from redis_message_queue import envelope
from redis_message_queue._request_size import BYTES_AT_ONCE, parts, size_of
from redis_message_queue.keys import Marker, purged
from redis_message_queue.operations import (
    PENDING_FULL,
    Call,
    Text,
    as_text,
    lanes_of,
    milliseconds,
    publish_keys,
    script,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from redis_message_queue.keys import QueueKeys

# Lua can only pass so many values to one command; more messages take another round trip.
MOST_AT_ONCE = 500
Request: TypeAlias = "tuple[Sequence[str], Sequence[str], str]"
"""Stored messages, the names of their markers, and an id that nothing else has."""


def publish_requests(messages: Sequence[str], markers: Sequence[str] | None) -> Iterator[Request]:
    """Cut into what goes in one request each."""
    for start in range(0, len(messages), MOST_AT_ONCE):
        texts = messages[start : start + MOST_AT_ONCE]
        names: Sequence[str] = () if markers is None else markers[start : start + MOST_AT_ONCE]
        if names and isinstance(names[0], Marker):  # as all of them are
            stored = [*map(_stored, texts, names)]
            names = [*map(str, names)]
        else:
            stored = [*map(envelope.encode, texts)]
        # Nearly always there is little to send: then it is not measured. A character is at most four bytes.
        if sum(map(len, stored)) + 4 * sum(map(len, names)) <= BYTES_AT_ONCE:
            yield stored, names, envelope.new_id()
            continue
        pairs = zip(stored, names or itertools.repeat(""), strict=False)
        for part in parts(pairs, _size_of_pair, MOST_AT_ONCE):
            yield [one for one, _ in part], [name for _, name in part] if names else (), envelope.new_id()


def _stored(message: str, marker: str) -> str:
    """Its envelope, which names the key of a marker that does not come from the content."""
    return envelope.encode(message, key=getattr(marker, "key", None))


def _size_of_pair(pair: tuple[str, str]) -> int:
    return len(pair[0]) + size_of(pair[1])  # an envelope is ASCII


class Published(NamedTuple):
    """What became of one message: whether it is new; if not, who holds its key, where the marker tells."""

    new: bool
    holder: str | None = None


_ONE_IS_NEW = (Published(True),)


def publish_many(
    *,
    target: str,
    stored: Sequence[Text],
    markers: Sequence[str],
    deduplication_ttl_seconds: int,
    replay_key: str,
    replay_ttl_ms: int,
    max_pending_length: int | None = None,
    overload_policy: str = "raise",
    where: str = "",
    named: bool = False,
    lanes: Sequence[str] = (),
    answered: Sequence[str] = (),
) -> Call[tuple[bool, ...] | tuple[Published, ...] | int]:
    """Publish at most `MOST_AT_ONCE` messages, oldest first; True or False (a duplicate) for each.

    All or none: `PENDING_FULL` when the cap has no room for them. `target` is the delayed set where `where`
    is `after()` or `moment()`; with `FRONT` they come before those that wait. `named`: their markers tell
    whose they are, and the answers are `Published`. `lanes` are the keys `waiting` and `turns`, for messages
    that have a lane, or a cap that counts them. `answered` are records of earlier calls, to be removed.
    """
    cap = "" if max_pending_length is None else max_pending_length
    told = "1" if named else ""
    if len(stored) == 1 and not where and not lanes:  # one by one: the work of a `publish`, and no more
        ttl_seconds = deduplication_ttl_seconds if markers else ""
        return Call(
            script("publish"),
            (replay_key, *markers, *answered),
            (stored[0],),
            _published_one if named else _flag,
            names=publish_keys(target),
            tail=(cap, overload_policy, ttl_seconds, replay_ttl_ms, told),
        )
    numbers = (deduplication_ttl_seconds, replay_ttl_ms, cap, overload_policy, where)
    return Call(
        script("publish_many"),
        (target, replay_key, *markers, *lanes, *answered),
        (*numbers, told, len(markers), "1" if lanes else "", *stored),
        _published if named else _flags,
    )


FRONT = "front"


def after(delay_seconds: float | None) -> str:
    """Where messages go that are to wait so long."""
    return "" if delay_seconds is None else str(milliseconds(delay_seconds))


def moment(at: datetime) -> str:
    """Where messages go that are due at that time."""
    return f"@{max(0, math.ceil(at.timestamp() * 1000))}"


def _flags(reply: Text) -> tuple[bool, ...] | int:
    digits = as_text(reply)
    return PENDING_FULL if digits == "-1" else tuple(digit == "1" for digit in digits)


def _flag(reply: int) -> tuple[bool, ...] | int:
    return PENDING_FULL if reply == PENDING_FULL else (reply == 1,)


def _published_one(reply: Text | int) -> tuple[Published, ...] | int:
    if isinstance(reply, int):
        return _ONE_IS_NEW if reply == 1 else reply
    return _published(reply)


def _published(reply: Text) -> tuple[Published, ...] | int:
    digits, *holders = as_text(reply).split("\n")
    if digits == "-1":
        return PENDING_FULL
    told = iter(holders)
    return tuple(
        Published(True) if digit == "1" else Published(False, next(told) or None) for digit in digits
    )


class Tail(NamedTuple):
    """The oldest entries of a list, oldest first, and how many it has.

    `too_large` is the size of the first where that is larger than may come.
    """

    length: int
    entries: list[Any]
    too_large: int | None = None


def tail(
    *,
    key: str,
    count: int,
    passing_over: int = 0,
    most_bytes: int | None = None,
    largest_bytes: int | None = None,
    raw: bool = False,
) -> Call[Tail]:
    """Read the oldest `count` entries of a list behind those passed over.

    With `most_bytes` fewer, if they are larger together; but one at least. Those with more than
    `largest_bytes` do not come, nor what is behind them.
    """
    numbers = ("" if number is None else number for number in (most_bytes, largest_bytes))
    return Call(script("tail"), (key,), (count, passing_over, *numbers), _tail, raw)


def _tail(reply: list[Any]) -> Tail:
    length, *entries = reply
    if entries and isinstance(entries[0], int):
        return Tail(length, [], entries[0])
    return Tail(length, entries)


class PlacedLetter(NamedTuple):
    """A dead or failed letter in its list; the oldest has place 0."""

    place: int
    payload: bytes


class Renewed(NamedTuple):
    """A letter that is to be pending again: its place, the digest of its payload, its new stored form."""

    place: int
    digest: str
    stored: bytes


class Redriven(NamedTuple):
    """What one call moved, all calls of the redrive, and how many letters there were when it began."""

    now: int
    moved: int
    total: int


def redrive(
    *,
    source: str,
    pending: str,
    letters: Sequence[Renewed],
    total: int,
    most: int | None,
    record: str,
    record_ttl_ms: int,
    told: str | None = None,
) -> Call[Redriven]:
    """Move these letters, just read, back to pending.

    All calls with one `record` together move at most `most`. `told` is the list of what workers tell of them.
    """
    parts = (part for letter in letters for part in letter)
    call_id = envelope.new_id()
    return Call(
        script("redrive"),
        (source, pending, record, *lanes_of(pending), *(() if told is None else (told,))),
        (record_ttl_ms, call_id, "" if most is None else most, total, *parts),
        lambda reply: Redriven(*map(int, reply)),
    )


def renewed(
    letter: PlacedLetter, *, dry_run: bool = False, message_id: str | None = None, lane: str | None = None
) -> Renewed:
    """The letter, ready for another life: a new identity is a new delivery budget. A dry run sends nothing.
    `lane` is where the script does not learn from a record which it was in.

    Bytes that are no text travel as hex. A letter may be large: no form of it is kept longer than needed.
    """
    place, payload = letter
    del letter
    # As Redis computes it; nothing here depends on its strength.
    digest = hashlib.sha1(payload, usedforsecurity=False).hexdigest()
    if dry_run:
        return Renewed(place, digest, b"")
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return Renewed(place, digest, envelope.encode(payload, message_id, lane=lane).encode())
    del payload
    return Renewed(place, digest, envelope.encode(text, message_id, lane=lane).encode())


class Purged(NamedTuple):
    """How many entries there were, None as long as an earlier purge is being finished; whether to go on."""

    entries: int | None
    unfinished: bool


def purge(
    *,
    key: str,
    record: str,
    record_ttl_ms: int,
    delivery_counts: str,
    notes: str,
    told: str | None = None,
    sorted_set: bool = False,
    delivered: bool,
    waiting: bool = False,
) -> Call[Purged]:
    """Empty a list or a sorted set; to be repeated until it is finished.

    `delivered`: what is in it may have been before, and stand in `delivery_counts` and `notes`. `told` is the
    list of what workers tell of its messages, which goes with them. `waiting`: it is that of the lanes, and
    `told` their turns.
    """
    return Call(
        script("purge"),
        (key, purged(key), record, delivery_counts, notes, *(() if told is None else (told,))),
        (record_ttl_ms, "zset" if sorted_set else "list", int(delivered), int(waiting)),
        lambda reply: Purged(None if int(reply[0]) < 0 else int(reply[0]), bool(int(reply[1]))),
    )


# -- repairing --

_REPAIRED_BYTES_AT_ONCE = 1 << 20
# Entries of processing that one call may compare in its search for messages.
COMPARED_AT_ONCE = 200_000


class RepairPage(NamedTuple):
    length: int
    tokens: int
    entries: int
    size: int
    leased: int
    without_deadline: int
    without_lease: int
    tokens_here: tuple[str, ...]


class RestoredLeases(NamedTuple):
    cursor: str
    restored: int
    tokens: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RepairCalls:
    """The calls of one repair; `lease_seconds` for what has a token, `grace_seconds` for what has none."""

    keys: QueueKeys
    lease_seconds: float
    grace_seconds: float
    dry_run: bool

    def look(self, passing_over: int, count: int) -> Call[RepairPage]:
        lease, grace = milliseconds(self.lease_seconds), milliseconds(self.grace_seconds)
        return Call(
            script("lease_again"),
            self._names,
            (passing_over, count, lease, grace, self._dry),
            _repair_page,
        )

    def search(self, cursor: str, count: int, missing: Sequence[str] = ()) -> Call[RestoredLeases]:
        """Which leases there are from a cursor on; and those of `missing` are searched for in processing."""
        return Call(
            script("restore"),
            self._names,
            (cursor, count, milliseconds(self.lease_seconds), self._dry, *missing),
            lambda reply: RestoredLeases(as_text(reply[0]), int(reply[1]), _words(reply[2])),
        )

    @property
    def _names(self) -> tuple[str, ...]:
        return self.keys.processing, self.keys.lease_deadlines, self.keys.lease_tokens

    @property
    def _dry(self) -> str:
        return "1" if self.dry_run else ""


def _repair_page(reply: Sequence[Any]) -> RepairPage:
    length, tokens, entries, size, leased, without_deadline, without_lease = map(int, reply[:-1])
    there = _words(reply[-1])
    return RepairPage(length, tokens, entries, size, leased, without_deadline, without_lease, there)


def _words(reply: Text) -> tuple[str, ...]:
    return tuple(as_text(reply).split())


def next_count(count: int, page: RepairPage) -> int:
    """How many messages to look at next, by the size of these: at most 1 MiB, if they are alike."""
    fitting = _REPAIRED_BYTES_AT_ONCE * page.entries // max(1, page.size)
    return max(1, min(MOST_AT_ONCE, 4 * count, fitting))
