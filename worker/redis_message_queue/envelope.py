"""The stored form of a message: a prefix, then JSON with a fresh id, so that equal payloads stay distinct."""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple

PREFIX = "\x1eRMQ1:"
_PREFIX_BYTES = PREFIX.encode()
# What the id of an envelope begins with that a claim made up, for the second of two equal values without one.
RAW_ID = "raw-"
# Of one text: much less work than of an object.
_quoted = json.JSONEncoder().encode
_parsed = json.JSONDecoder().decode
# Which bits of a UUID say what kind it is, and what they are in a random one.
_VERSION_BITS, _VERSION_4 = 0xF000C000 << 48, 0x40008000 << 48


class Envelope(NamedTuple):
    """A message as read back.

    `id` is None for a value that is no envelope; `payload` has the type (str or bytes) of the stored value,
    except binary payloads, which are always bytes.
    """

    id: str | None
    payload: str | bytes


def encode(payload: str, message_id: str | None = None, *, key: str | None = None) -> str:
    """The stored form of `payload` under `message_id` (default: a fresh one, 32 hex characters).

    `key` is what it was deduplicated by, where that is not its content's digest; readers that do not know it
    pass it over.
    """
    told = "" if key is None else f',"key":{_quoted(key)}'
    return f'{PREFIX}{{"id":{_quoted(message_id or new_id())},"payload":{_quoted(payload)}{told}}}'


def new_id() -> str:
    """A random UUID (version 4) as 32 hex characters; `uuid.uuid4().hex` takes twice as long."""
    number = int.from_bytes(os.urandom(16))
    return f"{number & ~_VERSION_BITS | _VERSION_4:032x}"


def decode(stored: str | bytes) -> Envelope:
    """Read a stored value; what is no valid envelope passes through unchanged with the id None."""
    content = _content(stored)
    if content is None:
        return Envelope(None, stored)
    message_id, payload = content.get("id"), content.get("payload")
    if not isinstance(message_id, str):
        return Envelope(None, stored)
    if isinstance(payload, str):
        if isinstance(stored, str):
            return Envelope(message_id, payload)
        # A lone surrogate is valid in JSON but not in UTF-8: hand out what the producer wrote, never raise.
        return Envelope(message_id, payload.encode("utf-8", "surrogatepass"))
    binary = content.get("payload_hex")
    if isinstance(binary, str):
        try:
            return Envelope(message_id, bytes.fromhex(binary))
        except ValueError:
            return Envelope(None, stored)
    return Envelope(None, stored)


def key_of(stored: str | bytes) -> str | None:
    """The key that an envelope names; None where it names none."""
    key = (_content(stored) or {}).get("key")
    return key if isinstance(key, str) else None


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
