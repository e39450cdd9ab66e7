"""What a producer may send along with a JSON object: when it was published, and the trace it belongs to.

The stored form of a message has no room for either, so both are fields of the payload, put there only by
producers that ask for it. `traceparent` and `tracestate` are those of W3C Trace Context.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

ENQUEUED_AT = "enqueued_at"
TRACE_FIELDS = ("traceparent", "tracestate")
_MARKS = tuple(f'"{name}"' for name in (ENQUEUED_AT, TRACE_FIELDS[0]))
_MARKS_BYTES = tuple(mark.encode() for mark in _MARKS)


class Stamp(NamedTuple):
    """What a payload says of itself. `enqueued_at` is None, and `trace` empty, when it does not say."""

    enqueued_at: datetime | None = None
    trace: dict[str, str] | None = None


_NOTHING = Stamp()


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


def stamp_of(payload: str | bytes) -> Stamp:
    """What a producer sent along; anything malformed counts as not said."""
    # Nearly all payloads have none: a look for the names costs nothing beside reading the JSON.
    if isinstance(payload, bytes):
        marked = any(mark in payload for mark in _MARKS_BYTES)
    else:
        marked = any(mark in payload for mark in _MARKS)
    if not marked:
        return _NOTHING
    try:
        content = json.loads(payload)
    except (ValueError, RecursionError):
        return _NOTHING
    if not isinstance(content, dict):
        return _NOTHING
    trace = {name: content[name] for name in TRACE_FIELDS if isinstance(content.get(name), str)}
    return Stamp(_moment(content.get(ENQUEUED_AT)), trace)


def _moment(value: object) -> datetime | None:
    """A time with its zone from RFC 3339 text; None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else None
