"""From the payload on the queue to the type that the handler asks for."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Callable
from typing import Any

Decode = Callable[[str | bytes], Any]


class InvalidPayload(Exception):
    """The payload is not of the handler's type. The text tells where, never what it contains."""


def decoder_for(annotation: object) -> Decode:
    """The decoder for a handler's first parameter.

    Args:
        annotation: bytes, str, dict, list, a dataclass, a pydantic model, or nothing (then str).

    Raises TypeError for any other annotation.
    """
    kind = typing.get_origin(annotation) or annotation
    if kind is bytes:
        return lambda payload: payload.encode() if isinstance(payload, str) else payload
    if kind is str or kind is Any:
        return _as_text
    if kind is dict or kind is list:
        return lambda payload: _json(payload, kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return lambda payload: _build(kind, _json(payload, dict), "")
    if isinstance(kind, type) and callable(getattr(kind, "model_validate_json", None)):
        return lambda payload: _validated(kind, payload)
    raise TypeError(
        f"the first parameter is annotated with {annotation!r}; "
        "use str, bytes, dict, list, a dataclass or a pydantic model"
    )


def _as_text(payload: str | bytes) -> str:
    if isinstance(payload, str):
        return payload
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise InvalidPayload(
            f"not UTF-8 at byte {error.start}; annotate the parameter with bytes to take any"
        ) from None


def _json(payload: str | bytes, kind: type) -> Any:
    try:
        value = json.loads(payload)
    except UnicodeDecodeError as error:
        raise InvalidPayload(f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise InvalidPayload(f"not JSON: {error.msg} at line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise InvalidPayload("not JSON: nested too deeply") from None
    if not isinstance(value, kind):
        raise InvalidPayload(f"a JSON {type(value).__name__} where a {kind.__name__} belongs")
    return value


def _build(cls: type, value: dict[str, Any], where: str) -> Any:
    """A dataclass from a JSON object. Fields that it does not know are left out: producers evolve first."""
    hints = typing.get_type_hints(cls)
    arguments: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        path = f"{where}{field.name}"
        if field.name in value:
            arguments[field.name] = _fitting(hints[field.name], value[field.name], path)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise InvalidPayload(f"field {path} is missing")
    try:
        return cls(**arguments)
    except (TypeError, ValueError) as error:
        raise InvalidPayload(f"{cls.__name__} refused the fields ({type(error).__name__})") from None


def _fitting(hint: Any, value: Any, path: str) -> Any:
    """The value for a field of type `hint`: plain types checked, dataclasses built, the rest passed on."""
    kind = typing.get_origin(hint) or hint
    if kind in (typing.Union, types.UnionType):
        return _first_fitting(typing.get_args(hint), value, path)
    if kind in (None, types.NoneType):
        fits = value is None
    elif kind is list and typing.get_args(hint) and isinstance(value, list):
        (item,) = typing.get_args(hint)
        return [_fitting(item, one, f"{path}[{index}]") for index, one in enumerate(value)]
    elif isinstance(kind, type) and dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return _build(kind, value, f"{path}.")
    elif kind is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    elif kind is int:
        fits = isinstance(value, int) and not isinstance(value, bool)
    else:
        checked = kind in (str, bool, list, dict) or dataclasses.is_dataclass(kind)
        fits = isinstance(value, kind) if checked else True
    if not fits:
        raise InvalidPayload(f"field {path} is a JSON {type(value).__name__} where {_name(hint)} belongs")
    return value


def _first_fitting(hints: tuple[Any, ...], value: Any, path: str) -> Any:
    problems = []
    for hint in hints:
        try:
            return _fitting(hint, value, path)
        except InvalidPayload as error:
            problems.append(str(error))
    raise InvalidPayload(" and ".join(problems))


def _name(hint: Any) -> str:
    return getattr(hint, "__name__", None) or str(hint)


def _validated(model: Any, payload: str | bytes) -> Any:
    try:
        return model.model_validate_json(payload)
    except ValueError as error:  # pydantic's ValidationError is one
        describe = getattr(error, "errors", None)
        if describe is None:
            raise InvalidPayload(f"{model.__name__} refused it ({type(error).__name__})") from None
        # The plain text of the error quotes the input, which must not get into logs.
        found = describe(include_url=False, include_context=False, include_input=False)
        places = [f"{'.'.join(map(str, one['loc'])) or 'payload'}: {one['type']}" for one in found]
        raise InvalidPayload(f"{model.__name__}: {'; '.join(places)}") from None
