"""What an enqueue may be asked, what it sends, and what it answers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from redis_message_queue import _bulk, envelope
from redis_message_queue._request_size import parts, size_of
from redis_message_queue.exceptions import ConfigurationError, PayloadTooDeepError, PayloadTooLargeError
from redis_message_queue.payload import is_several, written
from redis_message_queue.validation import LONGEST_DELAY_SECONDS, check, check_fields, iterable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from redis_message_queue.envelope import PayloadLimits
    from redis_message_queue.keys import QueueKeys

Priority = Literal["high", "normal", "low"]
_LONGEST_LIMIT_KEY = 200
# What may be wrong with one of many.
_OF_ONE = (TypeError, ValueError, ConfigurationError, PayloadTooLargeError, PayloadTooDeepError)
# As the scripts find it in an envelope without reading JSON.
_MESSAGE_ID = re.compile(r"[!#-\[\]-~]{1,128}")


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of an enqueue: false for a duplicate, of which nothing was enqueued.

    `message_id` is the message's own id, which nothing has if it is a duplicate. `first_id` is then the id of
    the message that holds the deduplication key; None where that does not tell: it was published by 7.0.0.
    """

    message_id: str
    enqueued: bool = True
    first_id: str | None = None

    def __bool__(self) -> bool:
        return self.enqueued


class Entry(NamedTuple):
    """A message to enqueue; `marker` is empty without deduplication. `call_id` nothing else has."""

    message_id: str
    stored: str
    marker: str
    call_id: str

    @property
    def request(self) -> _bulk.Request:
        """What is sent of it, if it goes alone."""
        return (self.stored,), (self.marker,) if self.marker else (), self.call_id

    def receipt(self, answer: _bulk.Published) -> Receipt:
        """What the script answered to it."""
        return Receipt(self.message_id, answer.new, answer.holder)


@dataclass(frozen=True)  # without slots: what follows from them is reckoned once
class EnqueueOptions:
    """The arguments of an enqueue that hold for all of its messages, checked."""

    delay_seconds: float | None = None
    at: datetime | None = None
    deduplication_seconds: int | None = None
    at_front: bool = False
    priority: Priority = "normal"
    limit_key: str | None = None

    def __post_init__(self) -> None:
        """Raise TypeError or ConfigurationError naming the first argument that cannot work."""
        check_fields(self)
        checked_limit_key(self.limit_key)
        if self.priority not in get_args(Priority):
            choices = ", ".join(map(repr, get_args(Priority)))
            raise ConfigurationError(f"'priority' must be one of {choices}, got {self.priority!r}")
        if self.at is not None and self.at.utcoffset() is None:
            raise ConfigurationError(
                f"'at' must have a time zone, got {self.at.isoformat()}: use datetime.now(UTC) and what is"
                " reckoned from it, or at.astimezone() for local time"
            )
        if self.at is not None and self.at - datetime.now(UTC) > timedelta(seconds=LONGEST_DELAY_SECONDS):
            raise ConfigurationError(f"'at' must be at most ten years from now, got {self.at.isoformat()}")
        later = [name for name in ("delay_seconds", "at") if getattr(self, name) is not None]
        if len(later) > 1 or (later and self.at_front):
            raise ConfigurationError(
                f"'{later[0]}' cannot be combined with '{'at' if len(later) > 1 else 'at_front'}': pass one"
            )

    def check_keys(self, *keys: str | None) -> None:
        """Raise for a key that cannot be one, or `deduplication_seconds` of messages that have none."""
        for key in keys:
            if key is not None:
                check(deduplication_key=key)
        if self.deduplication_seconds is not None and keys and not any(keys):
            raise ConfigurationError(
                "'deduplication_seconds' needs something to know a repeat by: pass 'deduplication_key'"
            )

    def check_policy(self, overload_policy: str, *, keyed: bool, limited: bool) -> None:
        """Raise ConfigurationError for what a queue that drops the oldest cannot keep."""
        if overload_policy != "drop_oldest":
            return
        what = "'deduplication_key'" if keyed else "'at_front'" if self.at_front else ""
        if limited or self.priority != "normal":
            name = "limit_key" if limited else "priority"
            raise ConfigurationError(
                f"'{name}' cannot be combined with drop_oldest: the oldest of all is not known among several"
                " levels and keys"
            )
        if what:
            raise ConfigurationError(
                f"{what} cannot be combined with drop_oldest: "
                + (
                    "enqueuing a dropped message again would be silently suppressed"
                    if keyed
                    else "what stands at the front is dropped first"
                )
            )

    @cached_property
    def where(self) -> str:
        """See `_bulk.publish_many`."""
        if self.at is not None:
            return _bulk.moment(self.at)
        return _bulk.FRONT if self.at_front else _bulk.after(self.delay_seconds)

    @cached_property
    def lane(self) -> str | None:
        """See `envelope.lane_of`."""
        return envelope.lane_of(self.priority, self.limit_key)

    def how(self, keys: QueueKeys) -> dict[str, Any]:
        """How a gateway publishes them."""
        return {
            "target": keys.pending if self.where in ("", _bulk.FRONT) else keys.delayed,
            "where": self.where,
            "deduplication_seconds": self.deduplication_seconds,
            "named": True,
        }


def checked(
    delay_seconds: float | None,
    at: datetime | None,
    deduplication_seconds: int | None,
    at_front: bool,
    priority: Priority,
    limit_key: str | None,
) -> EnqueueOptions:
    """The same as `EnqueueOptions`; what most calls have in common is checked once."""
    common = delay_seconds, at, deduplication_seconds, at_front, priority
    if limit_key is None:  # there may be any number of them
        try:
            return _remembered(*common)
        except TypeError:  # one that has no hash, or that is refused: in the words of the check
            pass
    return EnqueueOptions(*common, limit_key)


_remembered = lru_cache(64, typed=True)(EnqueueOptions)


def entry(
    payload: object,
    limits: PayloadLimits,
    keys: QueueKeys,
    deduplication_key: str | None,
    message_id: str | None = None,
    lane: str | None = None,
) -> Entry:
    """One message, ready to be sent. Raises as `written` does, and for an id or a key that cannot be one."""
    call_id, salt = envelope.new_id(), None
    if message_id is not None:
        check(message_id=message_id)
        if not _MESSAGE_ID.fullmatch(message_id) or message_id.startswith(envelope.RAW_ID):
            raise ConfigurationError(
                f"'message_id' must be 1 to 128 visible ASCII characters without quotes and backslashes, and"
                f" not begin with {envelope.RAW_ID!r}, got {message_id!r}"
            )
        salt = call_id[:12]
    chosen = message_id or call_id
    stored = envelope.encode(written(payload, limits), chosen, key=deduplication_key, salt=salt, lane=lane)
    marker = "" if deduplication_key is None else keys.deduplication(deduplication_key)
    return Entry(chosen, stored, marker, call_id)


def several(
    payloads: Iterable[object], keys: Iterable[str] | None
) -> tuple[Sequence[object], Sequence[str | None]]:
    """The payloads with a key for each. Raises TypeError and ConfigurationError."""
    if not is_several(payloads):
        raise TypeError(
            f"'payloads' must be an iterable of payloads, got {type(payloads).__name__}; give a list of them"
        )
    many: list[object] = [*payloads]
    if keys is None:
        return many, [None] * len(many)
    chosen: list[str | None] = iterable("deduplication_keys", keys, "texts")
    if len(chosen) != len(many) or None in chosen:
        raise ConfigurationError(
            f"'deduplication_keys' must have one for each payload, got {len(chosen)} for {len(many)}"
        )
    return many, chosen


def checked_limit_key(limit_key: str | None) -> str | None:
    """The key. Raises TypeError and ConfigurationError for what is none."""
    check(limit_key=limit_key)
    if limit_key is not None and len(limit_key) > _LONGEST_LIMIT_KEY:
        raise ConfigurationError(
            f"'limit_key' must have at most {_LONGEST_LIMIT_KEY} characters, got {len(limit_key)}: pass an id"
            " or a digest"
        )
    return limit_key


def limit_keys_of(
    count: int, chosen: EnqueueOptions, limit_keys: Iterable[str | None] | None
) -> Sequence[str | None]:
    """A key, or None, for each of `count` payloads. Raises TypeError and ConfigurationError."""
    if limit_keys is None:
        return [chosen.limit_key] * count
    if chosen.limit_key is not None:
        raise ConfigurationError("'limit_key' cannot be combined with 'limit_keys': pass one")
    found = [*map(checked_limit_key, iterable("limit_keys", limit_keys, "texts"))]
    if len(found) != count:
        raise ConfigurationError(
            f"'limit_keys' must have one for each payload, got {len(found)} for {count}; None for none"
        )
    return found


def entries_of(
    payloads: Sequence[object],
    keys: Sequence[str | None],
    limit_keys: Sequence[str | None],
    chosen: EnqueueOptions,
    limits: PayloadLimits,
    names: QueueKeys,
) -> list[Entry]:
    """Each payload with its deduplication key and its limit key, ready to be sent.

    Raises as `entry`, with the place of the payload.
    """
    lanes = [envelope.lane_of(chosen.priority, limit_key) for limit_key in limit_keys]
    made: list[Entry] = []
    try:
        for payload, key, lane in zip(payloads, keys, lanes, strict=True):
            made.append(entry(payload, limits, names, key, None, lane))
    except _OF_ONE as error:
        if type(error) in _OF_ONE:  # one of somebody else's kind may be made otherwise
            raise type(error)(f"payloads[{len(made)}]: {str(error).removeprefix('payload: ')}") from error
        raise
    return made


def requests(entries: Sequence[Entry]) -> Iterator[_bulk.Request]:
    """Cut into what goes in one request each."""
    for part in parts(entries, _size_of, _bulk.MOST_AT_ONCE):
        yield [one.stored for one in part], [one.marker for one in part if one.marker], part[0].call_id


def _size_of(one: Entry) -> int:
    return len(one.stored) + size_of(one.marker)  # an envelope is ASCII
