"""Every Redis operation of a queue as plain data: the script, its keys and arguments, how to read the reply.

Nothing here does I/O: `_transport` sends a `Call`. This module has the operations of a single message; those
on many are in `_bulk`, the batched ones of the consumer in `_batch`.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache, lru_cache
from pkgutil import get_data
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeAlias, TypeVar

from redis.exceptions import OutOfMemoryError, ResponseError

from redis_message_queue.keys import lane_keys, lease_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T_co = TypeVar("T_co", covariant=True)
Text: TypeAlias = str | bytes
PENDING_FULL = -1
# Of so many queues the key names are put together once.
_QUEUES = 1024
_UNKNOWN_COMMAND = re.compile(r"Unknown (Redis )?command called from")
# A function costs the server time in each call that creates it: parts go only where they are needed.
_INCLUDE = re.compile(r"^ *--#include (\w+)\n", re.MULTILINE)


class Script(NamedTuple):
    """A script as the server gets it: `sha` names `text` in EVALSHA."""

    name: str
    text: str
    sha: str


def _read(path: str) -> str:
    text: Any = get_data(__package__, f"scripts/{path}")  # importlib.resources takes as long as the claim
    return str(text, "utf-8")


def _with_parts(text: str) -> str:
    return _INCLUDE.sub(lambda part: _with_parts(_read(f"parts/{part[1]}.lua")), text)


@cache
def script(name: str) -> Script:
    """The script of the file `scripts/<name>.lua`."""
    text = _with_parts(_read(f"{name}.lua"))
    # Redis identifies scripts by SHA-1; nothing here depends on its strength.
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


class Call(NamedTuple, Generic[T_co]):
    """One script call. `raw` asks for a reply in bytes whatever the client decodes.

    Of its keys `names` come first, and after its arguments `tail`: those of the queue, the same in call after
    call, and so packed once.
    """

    script: Script
    own_keys: tuple[Text, ...]
    args: tuple[str | bytes | int, ...]
    parse: Callable[[Any], T_co]
    raw: bool = False
    names: tuple[Text, ...] = ()
    tail: tuple[str | int, ...] = ()

    @property
    def keys(self) -> tuple[Text, ...]:
        """All KEYS of the script."""
        return self.names + self.own_keys


class Push(NamedTuple):
    """An LPUSH, which is no script: what is sent once and nothing else. `raw` as in a call."""

    queue: str
    stored: str
    raw: bool = False


class Passed(NamedTuple):
    """A message that a claim put back or gave up on its way; None where it is not known."""

    message_id: str | None = None
    delivery_count: int | None = None


class ClaimResult(NamedTuple):
    """What a claim with leases answered.

    `stored` and `token` are None when nothing was claimed. `problem` says why a claim could not be
    stored: the message is back in pending then. Deliveries are counted under a limit only, and a repeated
    claim does not tell again what the first one did on the way.
    """

    stored: Text | None
    token: str | None
    reclaimed: tuple[Passed, ...] = ()
    dead_lettered: tuple[Passed, ...] = ()
    problem: str | None = None
    delivery_count: int | None = None


def as_text(value: Text) -> str:
    """A short ASCII reply as str, whatever the client decodes."""
    return value.decode() if isinstance(value, bytes) else value


def encoded(*names: str) -> tuple[Text, ...]:
    """Key names as bytes, which clients send faster; not those that a client may encode in its own way."""
    return tuple(name.encode() if name.isascii() else name for name in names)


def decodes(client: object) -> bool:
    """Whether replies of this client come as str (`decode_responses=True`)."""
    encoder = getattr(client, "get_encoder", None)
    return bool(encoder and encoder().decode_responses)


def milliseconds(seconds: float) -> int:
    """Whole milliseconds, at least 1."""
    return max(1, round(seconds * 1000))


def script_failure(error: ResponseError) -> str | None:
    """The text of an error that a script of ours met, None for any other server error.

    redis-py cuts known first words off, so the text is put back as the script wrote it: `WRONGTYPE …` or
    `OOM during publish; …`.
    """
    text = str(error)
    if text.startswith(("WRONGTYPE ", "OOM during publish;")):
        return text
    if isinstance(error, OutOfMemoryError) and text.startswith("during publish;"):
        return f"OOM {text}"
    if _UNKNOWN_COMMAND.search(text):
        return f"the server lacks a command that queues need: use Redis 6.2 or newer, or Valkey ({text})"
    return None


# -- publishing --


def publish(
    *,
    pending: str,
    deduplication_key: str,
    stored: Text,
    deduplication_ttl_seconds: int,
    replay_key: str,
    replay_ttl_ms: int,
    max_pending_length: int | None = None,
    overload_policy: str = "raise",
    answered: tuple[str, ...] = (),
) -> Call[int]:
    """Publish once for each deduplication key: 1 published, 0 duplicate, -1 (`PENDING_FULL`) nothing done.

    A repeat with the same `replay_key` within `replay_ttl_ms` answers as the first time did. `answered`, here
    and below, are records of earlier calls that nobody will repeat: they are removed on the way.
    """
    cap = "" if max_pending_length is None else max_pending_length
    return Call(
        script("publish"),
        (replay_key, deduplication_key, *answered),
        (stored,),
        int,
        names=publish_keys(pending),
        tail=(cap, overload_policy, deduplication_ttl_seconds, replay_ttl_ms),
    )


def add_bounded(
    *, pending: str, stored: Text, max_pending_length: int, overload_policy: str = "raise"
) -> Call[int]:
    """Publish into a list with a cap: 1 published, -1 (`PENDING_FULL`) nothing done."""
    args = (stored, max_pending_length, overload_policy)
    return Call(script("publish"), (), args, int, names=publish_keys(pending))


def lanes_of(pending: str) -> tuple[str, str]:
    """The keys of messages that wait beside pending, and of whose turn it is."""
    lanes = lane_keys(pending)
    return lanes.waiting, lanes.turns


@lru_cache(_QUEUES)
def publish_keys(pending: str) -> tuple[Text, ...]:
    """The KEYS that all calls of the script `publish` begin with."""
    return encoded(pending, lane_keys(pending).waiting)


# -- claiming --


def claim_plain(
    *, pending: str, processing: str, claim_id: str, record_ttl_ms: int, delayed: str | None = None
) -> Call[Text | None]:
    """Claim one message without a lease: stored message or None; a repeat of `claim_id` gives the same.

    What is due in `delayed` goes to pending first.
    """
    lease, lanes = lease_keys(processing), lane_keys(pending)
    return Call(
        script("claim_plain"),
        (
            pending,
            processing,
            lease.claim_result(claim_id),
            lease.claim_result_ids,
            lease.claim_result_backrefs,
            lanes.waiting,
            lanes.turns,
            *(() if delayed is None else (delayed,)),
        ),
        (record_ttl_ms, claim_id),
        lambda reply: reply,
    )


def claim_leased(
    *,
    pending: str,
    processing: str,
    claim_id: str,
    visibility_timeout_ms: int,
    max_delivery_count: int | None = None,
    dead_letter_queue: str | None = None,
    delayed: str | None = None,
    answered: tuple[str, ...] = (),
) -> Call[ClaimResult]:
    """Put expired leases back, then claim one message with a lease; a repeat of `claim_id` gives the same.

    What is due in `delayed` goes to pending first.
    """
    return Call(
        script("claim_leased"),
        (claim_record(processing) + claim_id, *(() if delayed is None else (delayed,)), *answered),
        (visibility_timeout_ms, max_delivery_count or 0, "" if delayed is None else "1"),
        _leased_claim,
        names=_claim_keys(pending, processing, dead_letter_queue),
    )


@lru_cache(_QUEUES)
def claim_record(processing: str) -> str:
    """What the name of a claim's record begins with; its id follows."""
    return lease_keys(processing).claim_result("")


@lru_cache(_QUEUES)
def settle_record(processing: str) -> str:
    """What the name of a settlement's record begins with; the token of a lease and an id follow."""
    return lease_keys(processing).operation_result("")


@lru_cache(_QUEUES)
def _claim_keys(pending: str, processing: str, dead_letter_queue: str | None) -> tuple[Text, ...]:
    lease, lanes = lease_keys(processing), lane_keys(pending)
    return encoded(
        pending,
        processing,
        lease.deadlines,
        lease.tokens,
        lease.token_counter,
        lease.delivery_counts,
        dead_letter_queue or lease.dead_letter_placeholder,
        lease.claim_result_refs,
        lease.claim_result_ids,
        lease.claim_result_backrefs,
        lanes.waiting,
        lanes.turns,
    )


def _leased_claim(reply: Sequence[Text] | Text | None) -> ClaimResult:
    if not reply:
        return ClaimResult(None, None)
    if isinstance(reply, (str, bytes)):
        head, _, message = reply.partition("\n") if isinstance(reply, str) else reply.partition(b"\n")
        number, deliveries = as_text(head).split(" ")
        return ClaimResult(message, number, delivery_count=_number(deliveries))
    stored, token, *rest = reply
    # A duck-typed client may leave out what it does not care for.
    reclaimed, dead, problem, count, *facts = [*map(as_text, rest), *("0", "0", "", "")[len(rest) :]]
    named = zip(facts[::2], facts[1::2], strict=True)
    passed = [Passed(message_id or None, _number(deliveries)) for message_id, deliveries in named]
    split, total = int(reclaimed), int(reclaimed) + int(dead)
    passed += [Passed()] * (total - len(passed))
    told = tuple(passed[:split]), tuple(passed[split:])
    if not token:
        return ClaimResult(None, None, *told, problem or None)
    return ClaimResult(stored, as_text(token), *told, None, _number(count))


def _number(digits: str) -> int | None:
    return int(digits) if digits else None


def parse_claim_record(value: Text | None) -> tuple[str, str] | None:
    """Stored message and token of a leased claim's record; None when it is missing or damaged (a miss)."""
    try:
        pair = json.loads(value or "null")
    except (ValueError, RecursionError):
        return None
    if not isinstance(pair, list) or len(pair) < 2 or not all(isinstance(item, str) for item in pair[:2]):
        return None
    return pair[0], pair[1]


# -- finishing --


def remove(
    *,
    processing: str,
    stored: Text,
    lease_token: str | None,
    replay_key: str,
    replay_ttl_ms: int,
    answered: tuple[str, ...] = (),
) -> Call[bool]:
    """Acknowledge: True removed, False not there or the lease was lost (nothing changed).

    `replay_key` is `LeaseKeys.operation_result(id)`, with leases `operation_result(f"{token}:{id}")`.
    """
    args = (stored, lease_token or "", replay_ttl_ms)
    return Call(script("finish"), (replay_key, *answered), args, bool, names=_finish_keys(processing))


def move(
    *,
    processing: str,
    destination: str,
    stored: Text,
    payload: Text,
    lease_token: str | None,
    replay_key: str,
    replay_ttl_ms: int,
    answered: tuple[str, ...] = (),
    next_out: bool = False,
) -> Call[bool]:
    """Push `payload` to the head of `destination` and remove `stored`; False as in `remove`.

    `next_out`: to the tail, where it is the next to be claimed again.
    """
    args = (stored, lease_token or "", replay_ttl_ms, "RPUSH" if next_out else "LPUSH", payload)
    own = (replay_key, destination, *answered)
    return Call(script("finish"), own, args, bool, names=_finish_keys(processing))


@lru_cache(_QUEUES)
def _finish_keys(processing: str) -> tuple[Text, ...]:
    return encoded(*lease_keys(processing).names)


def renew(*, processing: str, stored: Text, lease_token: str, visibility_timeout_ms: int) -> Call[bool]:
    """Extend one lease to now + timeout; False when it was lost."""
    call = renew_many(
        processing=processing, leases=((stored, lease_token),), visibility_timeout_ms=visibility_timeout_ms
    )
    return Call(call.script, call.own_keys, call.args, _single)


def renew_many(
    *, processing: str, leases: Sequence[tuple[Text, str]], visibility_timeout_ms: int
) -> Call[tuple[bool, ...]]:
    """Extend many leases in one call; one answer for each, in order."""
    lease = lease_keys(processing)
    pairs = (part for pair in leases for part in pair)
    return Call(
        script("renew"),
        (lease.deadlines, lease.tokens, lease.claim_result_refs),
        (visibility_timeout_ms, *pairs),
        lambda reply: tuple(bool(flag) for flag in reply),
    )


def _single(reply: Any) -> bool:
    # A duck-typed client may answer with a bare number, as one lease needs no list.
    return bool(reply[0] if isinstance(reply, list) else reply)
