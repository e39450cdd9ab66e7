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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from redis_message_queue.pydantic_fields import holds_anything, lost, secret_in

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

_INT_DIGITS = 4300
"""Of an int that Python reads from a text, unless it is told otherwise."""
_INT_MOST = 10**_INT_DIGITS - 1
_INT_LEAST = -_INT_MOST

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
    return json_text(payload, limits)


def json_text(payload: object, limits: PayloadLimits) -> str:
    """The same as JSON in any case: a text stands there in quotes, and bytes are refused."""
    try:
        return limits.json_text(_Writer(strict=limits.strict_types).value(payload))
    except _Refused as refused:
        raise TypeError(str(refused)) from None
    except RecursionError:
        raise TypeError(
            "the payload is nested too deeply, or contains itself; send less deep, or its JSON as text"
        ) from None


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


def is_several(value: object) -> bool:
    """Whether it may be several payloads: what can be gone through, and is no text, object or row itself."""
    kind = type(value)
    one = (
        isinstance(value, (str, bytes, bytearray, memoryview, Mapping))
        or (is_pydantic(kind) or is_struct(kind) or dataclasses.is_dataclass(kind))
        or (isinstance(value, tuple) and hasattr(value, "_fields"))
    )
    return isinstance(value, Iterable) and not one


@dataclasses.dataclass(frozen=True, slots=True)
class _Writer:
    """Makes JSON's own values; `strict` refuses what would not come back as what it was."""

    strict: bool

    def value(self, value: Any) -> Any:
        """One value, with all that it holds. One frame a level: as deep as `publish()` goes."""
        kind = type(value)
        if kind is int and not _INT_LEAST <= value <= _INT_MOST:
            raise _Refused(f"an int of more than {_INT_DIGITS} digits is refused by readers; send a text")
        if kind in _PLAIN:
            return value
        places: Sequence[Any]
        if kind is dict:
            places, inner = [_name(key) for key in value], value.values()
        elif kind is list:
            places, inner = range(len(value)), value
        else:
            return self._single(value, kind)
        made: list[Any] = []
        try:
            for one in inner:
                made.append(self.value(one))  # noqa: PERF401  (a comprehension is a frame)
        except _Refused as refused:
            raise _placed(refused, places[len(made)])  # noqa: B904  (the same one)
        return made if kind is list else dict(zip(places, made, strict=True))

    def _single(self, value: Any, kind: Any) -> Any:
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
            return self.value(_of_dataclass(value, kind))
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


def _placed(refused: _Refused, place: Any) -> _Refused:
    refused.path.insert(0, place)
    return refused


def _name(key: object) -> str:
    if not isinstance(key, str):
        raise _Refused(
            f"the key {key!r} is of type {type(key).__name__}, JSON has texts alone; send str(key)"
        )
    return str.__str__(key)


@lru_cache(256)
def _arguments(kind: type) -> tuple[str, ...]:
    """By which names a handler makes the dataclass. Refuses one that they would not make again."""
    given = inspect.signature(kind).parameters.values()
    for one in given:
        if one.kind in (one.POSITIONAL_ONLY, one.VAR_POSITIONAL):
            raise _unnamed(kind, one.name, "takes it by position alone")
    names = tuple(one.name for one in given if one.kind is not one.VAR_KEYWORD)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for name in names:
        if name not in fields and name in kind.__dataclass_fields__:  # type: ignore[attr-defined]
            raise _unnamed(kind, name, "is made with it (an InitVar), and does not keep it")
    for name, field in fields.items():
        if field.init and name not in names:
            raise _unnamed(kind, name, "has it, and its __init__ does not take it by its name")
    return names


def _of_dataclass(value: Any, kind: Any) -> dict[str, Any]:
    found = {}
    for name in _arguments(kind):
        try:
            found[name] = getattr(value, name)
        except AttributeError:
            raise _unnamed(kind, name, "is made with it, and does not keep it") from None
    return found


def _unnamed(kind: type, name: str, problem: str) -> _Refused:
    """A dataclass would not come back as it is, for what it does with one name."""
    return _placed(_Refused(f"{kind.__name__} {problem}; send a dict"), name)


def _of_pydantic(value: Any, kind: Any) -> Any:
    """As the model itself says it, by the names that it reads."""
    if problem := lost(kind):
        raise _Refused(f"{kind.__name__} would not come back as it is: {problem}")
    if callable(dump := getattr(value, "model_dump", None)):
        of_value = partial(dump, by_alias=True, round_trip=True)
    else:
        adapter = sys.modules["pydantic"].TypeAdapter(kind)
        of_value = partial(adapter.dump_python, value, by_alias=True, round_trip=True)
    try:
        told = of_value(mode="json")
        secret = secret_in(of_value(), told) if holds_anything(kind) else None
    except (ValueError, TypeError) as error:  # pydantic's own are ValueErrors
        raise _Refused(f"{kind.__name__} cannot be said in JSON: {error}") from None
    if secret is not None:
        raise _of_secret(secret)
    return told


def _of_secret(path: Sequence[str | int]) -> _Refused:
    refused = _Refused("a secret is written as asterisks; send its get_secret_value()")
    refused.path += path
    return refused


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
