"""From the payload on the queue to the type that the handler asks for."""

from __future__ import annotations

import json
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from redisqueue_worker.context import ENQUEUED_AT, TRACE_FIELDS
from redisqueue_worker.converters import Misfit, converter_for, is_structure
from redisqueue_worker.pydantic_types import Refused, is_pydantic, names_of, reader_of

if TYPE_CHECKING:
    from collections.abc import Collection


Decode = Callable[[str | bytes], Any]


class InvalidPayload(Exception):
    """The payload is not of the handler's type. The text tells where, never what it contains."""


def decoder_for(annotation: object) -> Decode:
    """The decoder for a handler's first parameter.

    Args:
        annotation: bytes, str, dict, list, a TypedDict, a dataclass, a type of pydantic's, or nothing
            (then str).

    Raises TypeError for any other annotation, and for a field that JSON cannot fill.
    """
    kind: Any = typing.get_origin(annotation) or annotation
    if kind is bytes:
        return lambda payload: payload.encode() if isinstance(payload, str) else payload
    if kind is str or kind is Any:
        return _as_text
    if is_pydantic(kind):
        read = reader_of(kind)
        return lambda payload: _read(read, payload)
    if kind in (dict, list) or is_structure(kind):
        convert = converter_for(annotation)
        return lambda payload: _fitting(convert, parse(payload))
    raise TypeError(
        f"the first parameter is annotated with {annotation!r}; "
        "use str, bytes, dict, list, a TypedDict, a dataclass or a pydantic model"
    )


def parse(payload: str | bytes) -> Any:
    """The JSON value of a payload. Raises InvalidPayload."""
    try:
        return json.loads(payload)
    except UnicodeDecodeError as error:
        raise InvalidPayload(f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise InvalidPayload(f"not JSON: {error.msg} at line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise InvalidPayload("not JSON: nested too deeply") from None
    except ValueError:
        raise InvalidPayload("not JSON: a number is too long") from None


def _as_text(payload: str | bytes) -> str:
    if isinstance(payload, str):
        return payload
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise InvalidPayload(
            f"not UTF-8 at byte {error.start}; annotate the parameter with bytes to take any"
        ) from None


def _fitting(convert: Callable[[Any], Any], value: Any) -> Any:
    try:
        return convert(value)
    except Misfit as misfit:
        raise InvalidPayload(str(misfit)) from None
    except RecursionError:
        raise InvalidPayload("nested too deeply") from None


def _read(read: Decode, payload: str | bytes) -> Any:
    try:
        return read(payload)
    except Refused as error:
        raise InvalidPayload(str(error)) from None


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
    if kind is dict:
        try:
            decode(f'{{"{TYPE}": "text"}}')
        except InvalidPayload:  # a dict of something else than texts, as these fields are
            return frozenset()
    return None


def _holding(names: Collection[str]) -> Callable[[str | bytes], bool]:
    """Whether a payload may have one of these fields: a look for the names costs next to nothing."""
    texts = [f'"{name}"' for name in names]
    encoded = [text.encode() for text in texts]

    def holds(payload: str | bytes) -> bool:
        if isinstance(payload, bytes):
            return any(mark in payload for mark in encoded)
        return any(mark in payload for mark in texts)

    return holds


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
