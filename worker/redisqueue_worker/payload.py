"""From the payload on the queue to the type that the handler asks for."""

from __future__ import annotations

import json
import typing
from collections.abc import Callable
from typing import Any

from redisqueue_worker.converters import Misfit, converter_for, is_structure
from redisqueue_worker.pydantic_types import Refused, is_pydantic, reader_of

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
