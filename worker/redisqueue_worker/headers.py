"""Fields of ours in a payload: a producer may `stamp` it; types that would refuse them do not see them."""

from __future__ import annotations

import json
import typing
from datetime import UTC, datetime
from typing import Any, NamedTuple

from redis_message_queue.payload import is_pydantic, is_struct
from redisqueue_worker import struct_types
from redisqueue_worker.exceptions import InvalidPayload
from redisqueue_worker.pydantic_types import names_of

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from redisqueue_worker.payload import Decode

ENQUEUED_AT = "enqueued_at"
TRACE_FIELDS = ("traceparent", "tracestate")


class Headers(NamedTuple):
    """What a payload says of itself. `enqueued_at` is None, and `trace` empty, when it does not say.

    The stored form of a message has no room for either, so both are fields of the payload, put there only by
    producers that ask for it. `traceparent` and `tracestate` are those of W3C Trace Context.
    """

    enqueued_at: datetime | None = None
    trace: dict[str, str] | None = None


_NOTHING = Headers()


def stamp(payload: dict[str, Any]) -> dict[str, Any]:
    """A copy of `payload` that also tells when it was published and, within a span, the trace it belongs to.

    Workers then measure how long messages wait, and continue the trace (where OpenTelemetry is installed).
    A stamped message is unlike any other, so the queue's deduplication by content does not recognise it.
    """
    stamped = {**payload, ENQUEUED_AT: datetime.now(UTC).isoformat(timespec="milliseconds")}
    try:
        from opentelemetry.propagate import inject  # noqa: PLC0415  (optional)
    except ImportError:
        return stamped
    carrier: dict[str, str] = {}
    inject(carrier)
    return stamped | {name: carrier[name] for name in TRACE_FIELDS if name in carrier}


def _holding(names: Collection[str]) -> Callable[[str | bytes], bool]:
    """Whether a payload may have one of these fields: a look for the names costs next to nothing."""
    texts = [f'"{name}"' for name in names]
    encoded = [text.encode() for text in texts]

    def holds(payload: str | bytes) -> bool:
        marks: Any = encoded if isinstance(payload, bytes) else texts
        for mark in marks:  # noqa: SIM110  (each message passes here, and a generator takes as long as the look)
            if mark in payload:
                return True
        return False

    return holds


tells_when = _holding((ENQUEUED_AT,))
"""Whether a payload may say when it was published."""
_is_stamped = _holding((ENQUEUED_AT, TRACE_FIELDS[0]))


def headers_of(payload: str | bytes) -> Headers:
    """What a producer sent along; anything malformed counts as not said."""
    # Nearly all payloads have none: a look for the names costs nothing beside reading the JSON.
    if not _is_stamped(payload):
        return _NOTHING
    try:
        content = json.loads(payload)
    except (ValueError, RecursionError):
        return _NOTHING
    if not isinstance(content, dict):
        return _NOTHING
    trace = {name: content[name] for name in TRACE_FIELDS if isinstance(content.get(name), str)}
    return Headers(_moment(content.get(ENQUEUED_AT)), trace)


def _moment(value: object) -> datetime | None:
    """A time with its zone from RFC 3339 text; None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else None


# ---- what is not the type's own ----

TYPE = "type"
_STAMPS = (ENQUEUED_AT, *TRACE_FIELDS)
_SPACE = " \t\n\r"
_value_at = json.JSONDecoder().raw_decode


def sparing(annotation: object, decode: Decode, *, typed: bool) -> Decode:
    """`decode` for a parameter of this annotation, without the fields that are not the type's own.

    A model that forbids what it does not know, or a dict of numbers, would refuse every message that was
    stamped, or chosen by its type.

    Args:
        typed: whether messages are chosen by their field `type`, so that it is the library's.
    """
    known = _names_of(annotation, decode)
    if known is None:
        return decode
    ours = [name for name in (*_STAMPS, *[TYPE] * typed) if name not in known]
    holds = _holding(ours)
    return lambda payload: decode(without(payload, ours) if holds(payload) else payload)


def _names_of(annotation: object, decode: Decode) -> frozenset[str] | None:
    """The fields of the type; None for one that leaves out what it does not know, or takes everything."""
    kind: Any = typing.get_origin(annotation) or annotation
    if is_pydantic(kind):
        return names_of(kind)
    if is_struct(kind):
        return struct_types.names_of(kind)
    if kind is dict:
        try:
            decode(f'{{"{TYPE}": "text"}}')
        except InvalidPayload:  # a dict of something else than texts, as these fields are
            return frozenset()
    return None


def without(payload: str | bytes, names: Collection[str]) -> str | bytes:
    """A JSON object without these fields; all others are as they were written, to the last digit.

    What is no JSON object is left as it is, for whoever reads it to say so.
    """
    try:
        return _without(payload if isinstance(payload, str) else payload.decode(), names) or payload
    except (ValueError, IndexError, RecursionError):
        return payload


def _without(text: str, names: Collection[str]) -> str | None:
    """None for what is no object. Raises ValueError or IndexError for what is no JSON."""
    kept, at = [], _after_space(text, 0)
    if text[at] != "{":
        return None
    separator = "{"
    while separator != "}":
        start = _after_space(text, at + 1)
        if text[start] != '"':
            return None
        name, at = _value_at(text, start)
        at = _after_space(text, at)
        if text[at] != ":":
            return None
        _, end = _value_at(text, _after_space(text, at + 1))
        if name not in names:
            kept.append(text[start:end])
        at = _after_space(text, end)
        separator = text[at]
        if separator not in ",}":
            return None
    return None if text[at + 1 :].strip(_SPACE) else f"{{{','.join(kept)}}}"


def _after_space(text: str, at: int) -> int:
    while text[at] in _SPACE:
        at += 1
    return at
