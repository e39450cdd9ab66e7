"""Operations on many messages of a queue as plain data: publishing together, looking, redriving, purging."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

from redis_message_queue import envelope
from redis_message_queue._core import PENDING_FULL, Call, Text, as_text, milliseconds
from redis_message_queue._scripts import script

if TYPE_CHECKING:
    from collections.abc import Sequence

# Lua can only pass so many values to one command; more messages take another round trip.
MOST_AT_ONCE = 500


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
    delay_seconds: float | None = None,
) -> Call[tuple[bool, ...] | int]:
    """Publish at most `MOST_AT_ONCE` messages, oldest first; True or False (a duplicate) for each.

    All or none: `PENDING_FULL` when the cap has no room for them. `target` is the delayed set with a delay.
    """
    cap = "" if max_pending_length is None else max_pending_length
    delay = "" if delay_seconds is None else milliseconds(delay_seconds)
    return Call(
        script("publish_many"),
        (target, replay_key, *markers),
        (deduplication_ttl_seconds, replay_ttl_ms, cap, overload_policy, delay, *stored),
        _flags,
    )


def _flags(reply: Text) -> tuple[bool, ...] | int:
    digits = as_text(reply)
    return PENDING_FULL if digits == "-1" else tuple(digit == "1" for digit in digits)


def tail(*, key: str, count: int, raw: bool = False) -> Call[list[Text]]:
    """Read the oldest `count` entries of a list, oldest first."""
    return Call(script("tail"), (key,), (count,), list, raw)


def redrive(
    *, dead_letter: str, pending: str, payloads: Sequence[bytes], replay_key: str, replay_ttl_ms: int
) -> Call[int]:
    """Move these oldest dead letters, just read, back to pending; how many were still there."""
    pairs = (part for payload in payloads for part in (payload, _fresh_envelope(payload)))
    return Call(script("redrive"), (dead_letter, pending, replay_key), (replay_ttl_ms, *pairs), int)


def _fresh_envelope(payload: bytes) -> str:
    """A new identity is a new delivery budget. Bytes that are no text travel as hex."""
    try:
        return envelope.encode(payload.decode())
    except UnicodeDecodeError:
        content = {"id": uuid.uuid4().hex, "payload_hex": payload.hex()}
        return envelope.PREFIX + json.dumps(content, separators=(",", ":"))


def purge(*, key: str, delivery_counts: str) -> Call[int]:
    """Empty a list or the delayed set; how many entries it had."""
    return Call(script("purge"), (key, delivery_counts), (), int)
