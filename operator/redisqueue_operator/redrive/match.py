"""Which letters a redrive takes: by an expression on the payload, and by a field of it. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_NOTHING = object()


@dataclass(frozen=True)
class Match:
    """What a payload must fulfil; what is None is not asked for.

    `pattern` is a regular expression, found anywhere in the payload. `field` is a path like `order.country`
    into a payload that is a JSON object; what stands there must read `equals`, as text or else as JSON.

    Raises ValueError naming what cannot work.
    """

    pattern: str | None = None
    field: str | None = None
    equals: str | None = None

    def __post_init__(self) -> None:
        """Check the whole before anything is read."""
        if self.pattern is not None:
            try:
                re.compile(self.pattern)
            except (re.error, RecursionError, OverflowError) as error:
                raise ValueError(f"{self.pattern!r} is no regular expression: {error}") from error
        if (self.field is None) != (self.equals is None):
            raise ValueError("a field needs the value that it must have")

    def __bool__(self) -> bool:
        """Whether it asks for anything."""
        return self.pattern is not None or self.field is not None

    def __call__(self, payloads: Sequence[bytes]) -> list[bool]:
        """For each payload whether it matches."""
        return [self._fits(payload.decode(errors="replace")) for payload in payloads]

    def _fits(self, text: str) -> bool:
        if self.pattern is not None and not re.search(self.pattern, text):
            return False
        return self.field is None or _reading(_at(text, self.field)) == self.equals


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
