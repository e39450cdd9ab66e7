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
_KEPT = "it stays in the processing list until its lease ends"
_EXACT = frozenset((str, int, float, bool, type(None), list, dict))


@dataclass(frozen=True, slots=True)
class PayloadLimits:
    """Bounds on published payloads; None means none. `strict_types` refuses what JSON would change unseen."""

    max_bytes: int | None = None
    max_depth: int | None = None
    strict_types: bool = False

    def text(self, message: str | dict[str, Any]) -> str:
        """The canonical payload text of `message`.

        Raises TypeError for another type or non-string dict keys, ValueError for NaN, infinities and text
        that is not encodable as UTF-8, PayloadTooLargeError and PayloadTooDeepError beyond the limits.
        """
        if isinstance(message, dict):
            self._check_values(message)
            text = json.dumps(message, sort_keys=True, allow_nan=False)
        elif isinstance(message, str):
            text = str.__str__(message)
        else:
            raise TypeError(f"the message must be a str or dict, got {type(message).__name__}")
        try:
            size = len(text.encode())
        except UnicodeEncodeError as error:
            raise ValueError(f"the message is not encodable as UTF-8: {error}") from None
        if self.max_bytes is not None and size > self.max_bytes:
            raise PayloadTooLargeError(
                f"the payload has {size} bytes, 'max_payload_bytes' is {self.max_bytes}"
            )
        return text

    def _check_values(self, message: dict[Any, Any]) -> None:
        """Check keys, depth and, if strict, types. Without a limit cycles are left to the JSON encoder."""
        seen: set[int] = set()
        level: list[object] = [message]
        depth = 0
        while level:
            depth += 1
            if self.max_depth is not None and depth > self.max_depth:
                raise PayloadTooDeepError(
                    f"the payload is {depth} levels deep or more, 'max_payload_depth' is {self.max_depth}"
                )
            below: list[object] = []
            for container in level:
                if self.max_depth is not None or id(container) not in seen:
                    seen.add(id(container))
                    below += self._children(container)
            level = below

    def _children(self, container: object) -> list[object]:
        """The containers in a container, which is checked itself."""
        if isinstance(container, dict):
            wrong = [key for key in container if not isinstance(key, str)]
            if wrong:
                more = " and more" if len(wrong) > _SHOWN_KEYS else ""
                raise TypeError(f"dict keys must all be strings, got {wrong[:_SHOWN_KEYS]!r}{more}")
            values = [*container.values()]
            if self.strict_types:
                values += container
        else:
            values = [*container]  # type: ignore[misc]
        for value in values if self.strict_types else ():
            if type(value) not in _EXACT:
                raise TypeError(
                    f"a {type(value).__name__} would not come back as one: with 'strict_payload_types' values"
                    " are str, int, float, bool, None, list and dict, and nothing derived from them"
                )
        return [value for value in values if isinstance(value, (dict, list, tuple))]


def default_deduplication_key(message: str | dict[str, Any]) -> str:
    """SHA-256 of the canonical payload text, as lowercase hex."""
    return text_digest(PayloadLimits().text(message))


def text_digest(text: str) -> str:
    """SHA-256 of a text, as lowercase hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def unwrap(stored: MessageData, *, strict: bool = False) -> envelope.Envelope:
    """Message id and payload of a claimed message; a raw value has the id None.

    Raises MalformedStoredMessageError for a value that has the envelope's prefix but not its content, and if
    `strict` for any value without an envelope.
    """
    message = envelope.decode(stored)
    if message.id is None:
        prefix: Any = envelope.PREFIX if isinstance(stored, str) else envelope.PREFIX.encode()
        if stored.startswith(prefix):
            raise MalformedStoredMessageError(
                f"the stored message begins like an envelope but is not one; {_KEPT}"
            )
    if strict and (message.id is None or message.id.startswith(envelope.RAW_ID)):
        raise MalformedStoredMessageError(
            f"the stored message has no envelope, and 'strict_envelope_decoding' is on; {_KEPT}"
        )
    return message
