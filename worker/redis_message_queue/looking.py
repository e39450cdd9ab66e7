"""Where a message is, and what became of those that ended: calls that write nothing, and what they tell."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from redis_message_queue.operations import Call, Text, as_text, script
from redis_message_queue.validation import iterable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redis_message_queue.keys import QueueKeys

State = Literal["pending", "delayed", "in_flight", "completed", "failed", "dead", "unknown"]

_ENTRIES_AT_ONCE = 1000
_BYTES_AT_ONCE = 1 << 20
# What a call may tell of letters: to pair many equal ones with their records takes the server long.
LETTER_BYTES = 1 << 20
LETTERS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Letter:
    """A message that was given up, or failed for good; of what no worker of ours ended, the payload alone.

    `reason` is a word, `traceback` the end of one, at most 4096 characters. `deliveries` counts all of them.
    """

    payload: str | bytes
    message_id: str | None = None
    reason: str = ""
    deliveries: int | None = None
    at: datetime | None = None
    worker: str = ""
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Location:
    """Where a message is; what belongs to another state is None or empty.

    pending: `position` is how many are before it, of its own priority and limit key if it has any. delayed:
    it is `due` then. in_flight: the lease ends at `lease_end` unless renewed, and `worker` has it, where
    workers keep account. completed, failed, dead: `at`, `worker`, and but for completed ones `reason` and
    `traceback`.
    """

    message_id: str
    state: State
    position: int | None = None
    due: datetime | None = None
    lease_end: datetime | None = None
    deliveries: int | None = None
    worker: str = ""
    at: datetime | None = None
    reason: str = ""
    traceback: str = ""


class Place(NamedTuple):
    """Where a message is, and as what it is stored there; empty for one that has ended."""

    location: Location
    stored: bytes


class Cursor(NamedTuple):
    """Where a search goes on: place, entries passed over there, its length then, equal letters left."""

    place: str = "1"
    passed: str = "0"
    length: str = "0"
    equal: str = ""


def locate(keys: QueueKeys, dead_letters: str, message_id: str, cursor: Cursor) -> Call[Location | Cursor]:
    """Look for a message, as far as one call goes; then the cursor of the next."""
    names = (keys.delayed, keys.pending, keys.processing, dead_letters, keys.failed, keys.completed)
    records = (keys.dead_letter_info, keys.failed_info, keys.completed_info)
    leases = (keys.lease_deadlines, keys.lease_tokens, keys.delivery_counts, keys.workers)
    waiting = keys.lanes.waiting
    told = message_id.encode(errors="replace")
    args = (told, json.dumps(message_id), *cursor, _ENTRIES_AT_ONCE, _BYTES_AT_ONCE)
    return Call(
        script("locate"),
        (*names, *records, *leases, waiting),
        args,
        lambda reply: _located(message_id, *reply),
        raw=True,
    )


def locate_stored(
    keys: QueueKeys, dead_letters: str, message_id: str, cursor: Cursor
) -> Call[Place | Cursor]:
    """The same for whoever needs the message itself."""
    call = locate(keys, dead_letters, message_id, cursor)

    def placed(reply: Any) -> Place | Cursor:
        found = call.parse(reply)
        if isinstance(found, Cursor):
            return found
        return Place(found, reply[-1] if found.state in ("pending", "delayed", "in_flight") else b"")

    return Call(call.script, call.own_keys, (*call.args, "1"), placed, raw=True)


def _located(message_id: str, word: Text, *facts: Any) -> Location | Cursor:
    state: Any = as_text(word)
    if state == "more":
        return Cursor(*map(as_text, facts))
    if state == "pending":
        return Location(message_id, state, position=int(facts[0]))
    if state == "delayed":
        return Location(message_id, state, due=_moment(facts[0]))
    if state == "in_flight":
        end, deliveries, worker = map(_told, facts[:3])
        return Location(
            message_id,
            state,
            lease_end=_moment(end),
            deliveries=int(deliveries) if deliveries else None,
            worker=worker,
        )
    if state == "unknown":
        return Location(message_id, state)
    letter = _letter(b"", facts[0])
    return Location(
        message_id,
        state,
        deliveries=letter.deliveries,
        worker=letter.worker,
        at=letter.at,
        reason=letter.reason,
        traceback=letter.traceback,
    )


def records_of(keys: QueueKeys, source: str) -> str | None:
    """Where workers tell of the messages that ended in the list `source`; None where they do not."""
    lists = {
        keys.dead_letter: keys.dead_letter_info,
        keys.failed: keys.failed_info,
        keys.completed: keys.completed_info,
    }
    return lists.get(source)


def lane_told(record: bytes) -> str | None:
    """The lane of the message that a record tells of, as scripts found it in its envelope."""
    try:
        lane = json.loads(record or b"{}").get("lane")
        return None if lane is None else str(json.loads(f'"{lane}"'))
    except (ValueError, AttributeError, RecursionError):
        return None


class LetterPage(NamedTuple):
    """Some letters, newest first, with their records; `length` is how many there are in all."""

    length: int
    pairs: list[tuple[bytes, bytes]]

    @property
    def size(self) -> int:
        """The bytes of their payloads."""
        return sum(len(payload) for payload, _ in self.pairs)

    def letters(self, *, decode: bool) -> list[Letter]:
        """What is known of each; with `decode` payloads are text where they can be."""
        return [_letter(_payload(payload, decode=decode), record) for payload, record in self.pairs]


def checked_ids(message_ids: Iterable[str]) -> set[str]:
    """The ids of letters to take. Raises TypeError for what are none."""
    ids = iterable("message_ids", message_ids, "ids")
    for one in ids:
        if not isinstance(one, str):
            raise TypeError(
                f"'message_ids' must hold ids, which are str, got {type(one).__name__}: a letter that no"
                " worker of ours ended has no id, only redrive() and purge() take it"
            )
    return {*ids}


def letters(
    *, source: str, records: str, start: int, count: int, most_bytes: int = LETTER_BYTES
) -> Call[LetterPage]:
    """Read letters, newest first: fewer than `count` when they are larger than `most_bytes` together."""
    return Call(script("letters"), (source, records), (start, count, most_bytes), _page, raw=True)


def _page(reply: list[Any]) -> LetterPage:
    length, *words = reply
    return LetterPage(length, [*zip(words[::2], words[1::2], strict=True)])


def _payload(payload: bytes, *, decode: bool) -> str | bytes:
    if decode:
        with contextlib.suppress(UnicodeDecodeError):
            return payload.decode()
    return payload


def _letter(payload: str | bytes, record: bytes) -> Letter:
    """With what its record says; a record that cannot be read says nothing."""
    try:
        told = json.loads(record or b"{}")
        return Letter(
            payload,
            message_id=told.get("id"),
            reason=told.get("reason", ""),
            deliveries=told.get("deliveries"),
            at=_moment(told.get("at", "")),
            worker=told.get("worker", ""),
            traceback=told.get("detail", ""),
        )
    except (ValueError, AttributeError, RecursionError):
        return Letter(payload)


def _moment(ms: Any) -> datetime | None:
    """The time that a number of ms says, None for no number. Raises ValueError for what is none."""
    text = _told(ms) if isinstance(ms, (str, bytes)) else str(ms)
    return moment_of(float(text)) if text else None


def moment_of(ms: float) -> datetime:
    """The time so many ms after 1970; the last or the first that a datetime can tell for one beyond it."""
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC) if ms > 0 else datetime.min.replace(tzinfo=UTC)


def _told(value: Text) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
