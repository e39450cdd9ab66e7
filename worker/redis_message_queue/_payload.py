"""From what is published to payload text, and from a stored message back to what a handler sees."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis_message_queue import envelope
from redis_message_queue.exceptions import (
    MalformedStoredMessageError,
    PayloadTooDeepError,
    PayloadTooLargeError,
)

if TYPE_CHECKING:
    from redis_message_queue.messages import MessageData

_SHOWN_KEYS = 3


@dataclass(frozen=True, slots=True)
class PayloadLimits:
    """Bounds on published payloads; None means none."""

    max_bytes: int | None = None
    max_depth: int | None = None

    def text(self, message: str | dict[str, Any]) -> str:
        """The canonical payload text of `message`.

        Raises TypeError for another type or non-string dict keys, ValueError for NaN, infinities and text
        that is not encodable as UTF-8, PayloadTooLargeError and PayloadTooDeepError beyond the limits.
        """
        if isinstance(message, dict):
            _check_keys(message)
            depth = _depth(message)
            if self.max_depth is not None and depth > self.max_depth:
                raise PayloadTooDeepError(
                    f"the payload is {depth} levels deep, the limit is {self.max_depth}"
                )
            return self._checked(json.dumps(message, sort_keys=True, allow_nan=False))
        if isinstance(message, str):
            return self._checked(str.__str__(message))
        raise TypeError(f"the message must be a str or dict, got {type(message).__name__}")

    def _checked(self, text: str) -> str:
        try:
            size = len(text.encode())
        except UnicodeEncodeError as error:
            raise ValueError(f"the message is not encodable as UTF-8: {error}") from None
        if self.max_bytes is not None and size > self.max_bytes:
            raise PayloadTooLargeError(f"the payload has {size} bytes, the limit is {self.max_bytes}")
        return text


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, (list, tuple)) else []


def _check_keys(message: dict[Any, Any]) -> None:
    """Refuse keys JSON would silently turn into strings. Cycles are left to the JSON encoder to refuse."""
    seen: set[int] = set()
    waiting: list[object] = [message]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            wrong = [key for key in value if not isinstance(key, str)]
            if wrong:
                more = " and more" if len(wrong) > _SHOWN_KEYS else ""
                raise TypeError(f"dict keys must all be strings, got {wrong[:_SHOWN_KEYS]!r}{more}")
        waiting.extend(_children(value))


def _depth(message: dict[Any, Any]) -> int:
    """Levels of nesting; stops counting where the JSON encoder would fail for a cycle anyway."""
    level: list[object] = [message]
    depth = 0
    while level and depth < 1000:
        depth += 1
        level = [
            child for value in level for child in _children(value) if isinstance(child, (dict, list, tuple))
        ]
    return depth


def default_deduplication_key(message: str | dict[str, Any]) -> str:
    """SHA-256 of the canonical payload text, as lowercase hex."""
    return hashlib.sha256(PayloadLimits().text(message).encode()).hexdigest()


def unwrap(stored: MessageData) -> envelope.Envelope:
    """Message id and payload of a claimed message; a raw value has the id None.

    Raises MalformedStoredMessageError for a value that has the envelope's prefix but not its content.
    """
    message = envelope.decode(stored)
    prefix: Any = envelope.PREFIX if isinstance(stored, str) else envelope.PREFIX.encode()
    if message.id is None and stored.startswith(prefix):
        raise MalformedStoredMessageError(
            "the stored message begins like an envelope but is not one; it stays in the processing list"
            " until its lease ends"
        )
    return message
