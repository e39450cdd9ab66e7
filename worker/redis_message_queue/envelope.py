"""What is published, its stored form, and what a handler gets of it.

A stored message is a prefix, then JSON with a fresh id, so that equal payloads stay distinct.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from redis_message_queue.exceptions import (
    MalformedStoredMessageError,
    PayloadTooDeepError,
    PayloadTooLargeError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis_message_queue.keys import QueueKeys
    from redis_message_queue.messages import MessageData

PREFIX = "\x1eRMQ1:"
_PREFIX_BYTES = PREFIX.encode()
# What the id of an envelope begins with that a claim made up, for the second of two equal values without one.
RAW_ID = "raw-"
# Of one text: much less work than of an object.
_quoted = json.encoder.encode_basestring_ascii
_parsed = json.JSONDecoder().decode
# Reads a text from behind its first quote: what it says, and where it ends.
_unquoted: Callable[[str, int], tuple[str, int]] = json.decoder.scanstring  # type: ignore[attr-defined]
# Which bits of a UUID say what kind it is, and what they are in a random one.
_VERSION_BITS, _VERSION_4 = 0xF000C000 << 48, 0x40008000 << 48
_SHOWN_KEYS = 3
# Where the id and the payload begin in what `encode` writes.
_AT_ID, _AT_LANE, _AT_PAYLOAD = PREFIX + '{"id":"', ',"lane":"', ',"payload":"'
# The first digit of a lane.
LEVELS = ("high", "normal", "low")
_KEPT = "it stays in the processing list until its lease ends"
_EXACT = frozenset((str, int, float, bool, type(None), list, dict))


class PayloadLimits(NamedTuple):
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
            return self._sized(json.dumps(message, sort_keys=True, allow_nan=False))
        if isinstance(message, str):
            return self._sized(str.__str__(message))
        raise TypeError(f"the message must be a str or dict, got {type(message).__name__}")

    def json_text(self, value: Any) -> str:
        """The canonical text of a value that consists of JSON's own. Raises as `text` does."""
        if self.max_depth is not None and isinstance(value, (dict, list)):
            self._check_values(value)
        return self._sized(json.dumps(value, sort_keys=True, allow_nan=False))

    def of_bytes(self, data: bytes) -> str | bytes:
        """The text that the bytes are, or the bytes where they are none. Raises PayloadTooLargeError."""
        if self.max_bytes is not None and len(data) > self.max_bytes:
            raise self._too_large(len(data))
        try:
            return data.decode()
        except UnicodeDecodeError:
            return data

    def _sized(self, text: str) -> str:
        try:
            size = len(text.encode())
        except UnicodeEncodeError as error:
            raise ValueError(f"the message is not encodable as UTF-8: {error}") from None
        if self.max_bytes is not None and size > self.max_bytes:
            raise self._too_large(size)
        return text

    def _too_large(self, size: int) -> PayloadTooLargeError:
        return PayloadTooLargeError(f"the payload has {size} bytes, 'max_payload_bytes' is {self.max_bytes}")

    def _check_values(self, message: dict[Any, Any] | list[Any]) -> None:
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


class Envelope(NamedTuple):
    """A message as read back.

    `id` is None for a value that is no envelope; `payload` has the type (str or bytes) of the stored value,
    except binary payloads, which are always bytes.
    """

    id: str | None
    payload: str | bytes


def encode(
    payload: str | bytes,
    message_id: str | None = None,
    *,
    key: str | None = None,
    salt: str | None = None,
    lane: str | None = None,
) -> str:
    """The stored form of `payload` under `message_id` (default: a fresh one, 32 hex characters).

    `key` is what it was deduplicated by, where that is not its content's digest. `salt` keeps apart what was
    given the same id, and `payload` as bytes, which is no text, stands there in hex. `lane` (see `lane_of`)
    is where scripts find it without reading JSON. Readers pass over what they do not know.
    """
    told = "" if key is None else f',"key":{_quoted(key)}'
    told += "" if salt is None else f',"salt":"{salt}"'
    quoted_id = _quoted(message_id) if message_id else f'"{new_id()}"'
    if lane is not None:
        quoted_id += f',"lane":{_quoted(lane)}'
    if isinstance(payload, bytes):
        return f'{PREFIX}{{"id":{quoted_id},"payload_hex":"{payload.hex()}"{told}}}'
    return f'{PREFIX}{{"id":{quoted_id},"payload":{_quoted(payload)}{told}}}'


def lane_of(priority: str, limit_key: str | None) -> str | None:
    """Where messages of this priority and key wait for their turn; None for pending itself."""
    level = LEVELS.index(priority)
    return None if level == 1 and limit_key is None else f"{level}{limit_key or ''}"


def of_lane_member(member: MessageData) -> MessageData:
    """The stored form of a message that waits in a lane, where it stands behind the lane and a number."""
    return member.split("\0", 2)[2] if isinstance(member, str) else member.split(b"\0", 2)[2]


def new_id() -> str:
    """A random UUID (version 4) as 32 hex characters; `uuid.uuid4().hex` takes twice as long."""
    number = int.from_bytes(os.urandom(16))
    return f"{number & ~_VERSION_BITS | _VERSION_4:032x}"


def decode(stored: str | bytes) -> Envelope:
    """Read a stored value; what is no valid envelope passes through unchanged with the id None."""
    if found := _two_texts(stored):
        return found
    content = _content(stored)
    if content is None:
        return Envelope(None, stored)
    message_id, payload = content.get("id"), content.get("payload")
    if not isinstance(message_id, str):
        return Envelope(None, stored)
    if isinstance(payload, str):
        if isinstance(stored, str):
            return Envelope(message_id, payload)
        return Envelope(message_id, _encoded(payload))
    binary = content.get("payload_hex")
    if isinstance(binary, str):
        try:
            return Envelope(message_id, bytes.fromhex(binary))
        except ValueError:
            return Envelope(None, stored)
    return Envelope(None, stored)


def unwrap(stored: MessageData, *, strict: bool = False) -> Envelope:
    """Message id and payload of a claimed message; a raw value has the id None.

    Raises MalformedStoredMessageError for a value that has the envelope's prefix but not its content, and if
    `strict` for any value without an envelope.
    """
    message = decode(stored)
    if message.id is None:
        prefix: Any = PREFIX if isinstance(stored, str) else PREFIX.encode()
        if stored.startswith(prefix):
            raise MalformedStoredMessageError(
                f"the stored message begins like an envelope but is not one; {_KEPT}"
            )
    if strict and (message.id is None or message.id.startswith(RAW_ID)):
        raise MalformedStoredMessageError(
            f"the stored message has no envelope, and 'strict_envelope_decoding' is on; {_KEPT}"
        )
    return message


def sayable(message_id: str) -> str:
    """The id as it can be sent: JSON can say one that UTF-8 cannot."""
    return message_id if message_id.isascii() else message_id.encode(errors="replace").decode()


def key_of(stored: str | bytes) -> str | None:
    """The key that an envelope names; None where it names none."""
    key = (_content(stored) or {}).get("key")
    return key if isinstance(key, str) else None


def marker_of(keys: QueueKeys, stored: str | bytes) -> str:
    """The name of the marker that a message has if it was deduplicated; "" where that cannot be told."""
    message = decode(stored)
    if message.id is None:
        return ""
    payload, key = message.payload, key_of(stored)
    data = payload if isinstance(payload, bytes) else payload.encode("utf-8", "surrogatepass")
    if key is None:
        key = hashlib.sha256(data).hexdigest()
    elif not key:  # the payload is the key
        key = data.decode("utf-8", "replace")
    try:
        key.encode()
    except UnicodeEncodeError:  # no marker of ours: a message must not fail its settlement
        return ""
    return keys.deduplication(key) if key else ""


def _two_texts(stored: str | bytes) -> Envelope | None:
    """What nearly all messages are, an id and a payload and nothing else: half the work of any JSON."""
    try:
        if isinstance(stored, str):
            text = stored
        elif stored.startswith(_PREFIX_BYTES):
            text = stored.decode()
        else:
            return None
        if text.startswith(_AT_ID):
            message_id, end = _unquoted(text, len(_AT_ID))
            if text.startswith(_AT_LANE, end):
                _, end = _unquoted(text, end + len(_AT_LANE))
            if text.startswith(_AT_PAYLOAD, end):
                payload, end = _unquoted(text, end + len(_AT_PAYLOAD))
                if text[end:] == "}":
                    return Envelope(message_id, payload if text is stored else _encoded(payload))
    except ValueError:  # no UTF-8, or a text without an end
        pass
    return None


def _encoded(payload: str) -> bytes:
    # A lone surrogate is valid in JSON but not in UTF-8: hand out what the producer wrote, never raise.
    return payload.encode("utf-8", "surrogatepass")


def _content(stored: str | bytes) -> dict[str, Any] | None:
    try:
        if isinstance(stored, bytes):
            if not stored.startswith(_PREFIX_BYTES):
                return None
            text = stored[len(_PREFIX_BYTES) :].decode()
        else:
            if not stored.startswith(PREFIX):
                return None
            text = stored[len(PREFIX) :]
        content = _parsed(text)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
