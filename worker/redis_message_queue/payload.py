"""From what a producer gives to the text of a payload. The worker's `payload` module reads it back.

What a handler's annotation can be filled with is written so that it can be: `TEXT_FORMS` has both directions.
Neither pydantic nor msgspec is imported here: whoever has a value of theirs has imported it.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import inspect
import math
import pathlib
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis_message_queue.envelope import PayloadLimits


class TextForm(NamedTuple):
    """How a value that JSON does not know stands there as text, and comes back; `read` raises ValueError."""

    write: Callable[[Any], str]
    read: Callable[[str], Any]


TEXT_FORMS: Mapping[type, TextForm] = {
    dt.datetime: TextForm(dt.datetime.isoformat, dt.datetime.fromisoformat),
    dt.date: TextForm(dt.date.isoformat, dt.date.fromisoformat),
    dt.time: TextForm(dt.time.isoformat, dt.time.fromisoformat),
    decimal.Decimal: TextForm(str, decimal.Decimal),
    uuid.UUID: TextForm(str, uuid.UUID),
    pathlib.Path: TextForm(str, pathlib.Path),
    pathlib.PurePath: TextForm(str, pathlib.PurePath),
    pathlib.PurePosixPath: TextForm(str, pathlib.PurePosixPath),
}
ENUM_VALUES = (str, int, float)
"""The types that the value of an Enum may have."""

_PLAIN = frozenset((str, int, bool, type(None)))
_WAYS_OUT: tuple[tuple[tuple[type, ...], str], ...] = (
    ((dt.timedelta,), "send its total_seconds()"),
    ((bytes, bytearray, memoryview), "decode it, or send it as base64 text"),
    ((Iterator,), "send a list of what it gives"),
    ((complex,), "send its two numbers"),
)


class _Refused(Exception):
    """JSON cannot say it; `path` leads to it from the payload."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.path: list[str | int] = []

    def __str__(self) -> str:
        place = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in self.path)
        return f"{place.removeprefix('.') or 'payload'}: {self.args[0]}"


def written(payload: object, limits: PayloadLimits) -> str | bytes:
    """The text of a payload; bytes for bytes that are no UTF-8.

    A text, and bytes, are the payload as they are; all else is JSON with sorted keys, for a dict of JSON's
    own values the same text that `publish()` writes.

    Raises TypeError for what JSON cannot say, naming where it stands and the way out, ValueError for text
    that is not encodable as UTF-8, PayloadTooLargeError and PayloadTooDeepError beyond the limits.
    """
    if isinstance(payload, str):
        return limits.text(payload)
    if isinstance(payload, (bytes, bytearray, memoryview)):
        return limits.of_bytes(bytes(payload))
    try:
        return limits.json_text(_Writer(strict=limits.strict_types).value(payload))
    except _Refused as refused:
        raise TypeError(str(refused)) from None
    except RecursionError:
        raise TypeError("the payload is nested too deeply, or contains itself") from None


def is_pydantic(kind: Any) -> bool:
    """Whether it is a pydantic model or a pydantic dataclass."""
    if not isinstance(kind, type):
        return False
    return callable(getattr(kind, "model_validate_json", None)) or (
        dataclasses.is_dataclass(kind) and "__pydantic_validator__" in vars(kind)
    )


def is_struct(kind: Any) -> bool:
    """Whether it is a Struct of msgspec."""
    return isinstance(kind, type) and hasattr(kind, "__struct_fields__") and "msgspec" in sys.modules


@dataclasses.dataclass(frozen=True, slots=True)
class _Writer:
    """Makes JSON's own values; `strict` refuses what would not come back as what it was."""

    strict: bool

    def value(self, value: Any) -> Any:
        """One value, with all that it holds."""
        kind = type(value)
        if kind in _PLAIN:
            return value
        if kind is dict:
            return {_name(key): self._placed(one, key) for key, one in value.items()}
        if kind is list:
            return [self._placed(one, index) for index, one in enumerate(value)]
        if kind is float:
            if not math.isfinite(value):
                raise _Refused(f"{value} is no number of JSON; send None, or a text")
            return value
        if self.strict:
            raise _Refused(
                f"{kind.__name__} would not come back as it is: with 'strict_payload_types' values are str,"
                " int, float, bool, None, list and dict, and nothing derived from them"
            )
        return self._other(value, kind)

    def _other(self, value: Any, kind: Any) -> Any:
        if isinstance(value, enum.Enum):
            if type(value.value) not in ENUM_VALUES:
                raise _Refused(
                    f"the value of {kind.__name__}.{value.name} is of type {type(value.value).__name__}; give"
                    " its members texts or numbers"
                )
            return self.value(value.value)
        if form := next((TEXT_FORMS[base] for base in kind.__mro__ if base in TEXT_FORMS), None):
            return form.write(value)
        if is_pydantic(kind):
            return self.value(_of_pydantic(value, kind))
        if is_struct(kind):
            return self.value(_of_struct(value))
        if dataclasses.is_dataclass(kind):
            return self._of_dataclass(value, kind)
        for base in (str, int, float):
            if isinstance(value, base):
                return self.value(base.__str__(value) if base is str else base(value))
        if isinstance(value, Mapping):
            return self.value(dict(value))
        if isinstance(value, tuple):
            return self.value([*value])
        if isinstance(value, (set, frozenset)):
            return sorted(self.value([*value]), key=repr)
        raise _Refused(f"{kind.__name__} cannot be said in JSON; {_way_out(value)}")

    def _of_dataclass(self, value: Any, kind: Any) -> Any:
        found = {}
        for name, required in _arguments(kind):
            try:
                one = getattr(value, name)
            except AttributeError:
                if not required:
                    continue
                raise _placed(
                    _Refused(f"{kind.__name__} is made with it, and does not keep it; send a dict"), name
                ) from None
            found[name] = self._placed(one, name)
        return found

    def _placed(self, value: Any, place: str | int) -> Any:
        try:
            return self.value(value)
        except _Refused as refused:
            raise _placed(refused, place)  # noqa: B904  (the same one)


def _placed(refused: _Refused, place: str | int) -> _Refused:
    refused.path.insert(0, place)
    return refused


def _name(key: object) -> str:
    if not isinstance(key, str):
        raise _Refused(
            f"the key {key!r} is of type {type(key).__name__}, JSON has texts alone; send str(key)"
        )
    return str.__str__(key)


@lru_cache(256)
def _arguments(kind: type) -> tuple[tuple[str, bool], ...]:
    """What a handler makes the dataclass with: the names, and whether each is required."""
    given = inspect.signature(kind).parameters.values()
    return tuple(
        (one.name, one.default is one.empty)
        for one in given
        if one.kind in (one.KEYWORD_ONLY, one.POSITIONAL_OR_KEYWORD)
    )


def _of_pydantic(value: Any, kind: Any) -> Any:
    """As the model itself says it, by the names that it reads."""
    chosen = {"mode": "json", "by_alias": True, "round_trip": True}
    try:
        if callable(getattr(value, "model_dump", None)):
            return value.model_dump(**chosen)
        return sys.modules["pydantic"].TypeAdapter(kind).dump_python(value, **chosen)
    except (ValueError, TypeError) as error:  # pydantic's own are ValueErrors
        raise _Refused(f"{kind.__name__} cannot be said in JSON: {error}") from None


def _of_struct(value: Any) -> Any:
    try:
        return sys.modules["msgspec"].to_builtins(value, str_keys=True)
    except (TypeError, ValueError) as error:
        raise _Refused(f"{type(value).__name__} cannot be said in JSON: {error}") from None


def _way_out(value: object) -> str:
    for kinds, way_out in _WAYS_OUT:
        if isinstance(value, kinds):
            return way_out
    return "send a list" if isinstance(value, Iterable) else "send a dict, a dataclass, or a text"
