"""Cancelling a message: calls, and what they answer. Between them it is looked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from redis_message_queue import results
from redis_message_queue.envelope import marker_of
from redis_message_queue.operations import Call, Text, as_text, script

if TYPE_CHECKING:
    from redis_message_queue.keys import QueueKeys
    from redis_message_queue.looking import Place

Cancellation = Literal["removed", "requested", "finished", "unknown"]

MARK_SECONDS = 7 * 24 * 3600
"""How long a message that is in hand stays marked: as long as a handler may run."""
_BEFORE = "cancelled before "  # it was started, or came again: the beginning of such a result's reason


def mark(keys: QueueKeys, message_id: str) -> Call[Text]:
    """Nobody starts the message from now on; the result that there is under its id already, or ""."""
    return Call(script("cancel"), _keys(keys, message_id), ("mark", _id(message_id), _MARK_MS), _as_it_is)


def take(keys: QueueKeys, message_id: str, place: Place) -> Call[Cancellation | None]:
    """Take it out where it was found, or tell who has it in hand; None if it is not there any more."""
    found = place.location
    args = (
        *("take", _id(message_id), _MARK_MS, place.stored, found.state),
        *(found.position or 0, marker_of(keys, place.stored)),
    )
    return Call(script("cancel"), _keys(keys, message_id), args, _taken)


def forget(keys: QueueKeys, message_id: str, *, ended: bool, before: Text) -> Call[Cancellation]:
    """It is not in the queue: take the mark back.

    Args:
        ended: it is among those that ended and are kept.
        before: the result that there was when it was marked.
    """

    def told(reply: Text) -> Cancellation:
        if not reply:
            return "finished" if ended else "unknown"
        result = results.read(reply)
        if result.state == "cancelled" and result.reason.startswith(_BEFORE):
            return "removed"  # by a claim meanwhile, or by this call, whose reply was lost
        # Who had it in hand has met the mark, while it was looked for.
        return "requested" if result.state == "cancelled" and reply != before else "finished"

    return Call(script("cancel"), _keys(keys, message_id), ("forget", _id(message_id), _MARK_MS), told)


_MARK_MS = MARK_SECONDS * 1000


def _id(message_id: str) -> bytes:
    return message_id.encode(errors="replace")


def _keys(keys: QueueKeys, message_id: str) -> tuple[Text, ...]:
    leases = (keys.lease_tokens, keys.delivery_counts, keys.notes)
    result = keys.result_prefix.encode() + _id(message_id)
    return (keys.delayed, keys.pending, keys.processing, *leases, keys.workers, keys.cancelled, result)


def _as_it_is(reply: Text) -> Text:
    return reply


def _taken(reply: Text) -> Cancellation | None:
    answer: Any = as_text(reply)
    return None if answer == "moved" else answer
