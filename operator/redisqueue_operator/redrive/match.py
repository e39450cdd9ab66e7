"""Which letters a redrive takes: by an expression on the payload, a field of it, why it is dead. Pure."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_NOTHING = object()


@dataclasses.dataclass(frozen=True)
class Match:
    """What a letter must fulfil; what is None is not asked for.

    `pattern` is a regular expression, found anywhere in the payload. `field` is a path like `order.country`
    into a payload that is a JSON object; what stands there must read `equals`, as text or else as JSON.
    `reason` is a regular expression, found in the reason of one of this payload's `records`, as the list of
    dead-letter info has them: a letter without a record never fits it.

    Raises ValueError naming what cannot work.
    """

    pattern: str | None = None
    field: str | None = None
    equals: str | None = None
    reason: str | None = None
    records: Sequence[bytes] = dataclasses.field(default=(), repr=False)

    def __post_init__(self) -> None:
        """Check the whole before anything is read."""
        for expression in (self.pattern, self.reason):
            try:
                re.compile(expression or "")
            except (re.error, RecursionError, OverflowError) as error:
                raise ValueError(f"{expression!r} is no regular expression: {error}") from error
        if (self.field is None) != (self.equals is None):
            raise ValueError("a field needs the value that it must have")

    def __bool__(self) -> bool:
        """Whether it asks for anything."""
        return any(each is not None for each in (self.pattern, self.field, self.reason))

    def __call__(self, payloads: Sequence[bytes]) -> list[bool]:
        """For each payload whether it matches."""
        return [self._fits(payload) for payload in payloads]

    def _fits(self, payload: bytes) -> bool:
        text = payload.decode(errors="replace")
        return (
            (self.pattern is None or re.search(self.pattern, text) is not None)
            and (self.field is None or _reading(_at(text, self.field)) == self.equals)
            and (self.reason is None or _digest(payload) in self._given_up)
        )

    @cached_property
    def _given_up(self) -> frozenset[str]:
        """Digests of the payloads whose record has such a reason."""
        found = (_record(text) for text in self.records)
        return frozenset(
            digest for digest, reason in found if self.reason is not None and re.search(self.reason, reason)
        )


def _digest(payload: bytes) -> str:
    # As records have it; nothing here depends on its strength.
    return hashlib.sha1(payload, usedforsecurity=False).hexdigest()


def _record(text: bytes) -> tuple[str, str]:
    """Digest and reason of a record; of one that is none, what no payload has."""
    try:
        record = json.loads(text)
        return str(record["digest"]), str(record["reason"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return "", ""


def _at(text: str, path: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _NOTHING
    for name in path.split("."):
        value = value.get(name, _NOTHING) if isinstance(value, dict) else _NOTHING
    return value


def _reading(value: Any) -> str | None:
    if value is _NOTHING:
        return None
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
