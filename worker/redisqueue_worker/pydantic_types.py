"""Pydantic's models and dataclasses: they read JSON themselves, at whatever depth they stand.

Pydantic is optional, and never imported here: whoever has such a type has imported it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from redisqueue_worker.exceptions import InvalidPayload
from redisqueue_worker.logs import class_name, text_of, type_name

Schema = Mapping[str, Any]

_SHOWN_AT_MOST = 5


def reader_of(kind: Any) -> Callable[[str | bytes], Any]:
    """What makes such a type from JSON, or raises InvalidPayload.

    Raises TypeError for a type that is not complete, or has a field that JSON can never fill.
    """
    schema = _complete_schema(kind)
    if problem := _never_filled(schema):
        raise TypeError(f"JSON cannot fill {class_name(kind)}: {problem}")
    words = frozenset(_words(schema))
    read = (
        getattr(kind, "model_validate_json", None) or sys.modules["pydantic"].TypeAdapter(kind).validate_json
    )

    def reading(text: str | bytes) -> Any:
        try:
            return read(text)
        except ValueError as error:  # pydantic's ValidationError is one
            raise InvalidPayload(f"{class_name(kind)}: {_told(error, words)}") from None

    return reading


def names_of(kind: Any) -> frozenset[str] | None:
    """By which names a JSON object fills its fields; None for a type that takes an object as a whole.

    Raises TypeError for a type that is not complete.
    """
    fields = _fields_in(_complete_schema(kind), {})
    if fields is None:
        return None
    aliases = (alias for _, field in fields for alias in _first_names(field.get("validation_alias")))
    return frozenset([*(name for name, _ in fields), *aliases])


def _fields_in(schema: Schema, known: dict[str, Schema]) -> list[tuple[str, Schema]] | None:
    """The fields at the top of a model or dataclass."""
    match schema:
        case {"type": "model-fields", "fields": fields}:
            return list(fields.items())
        case {"type": "dataclass-args", "fields": fields}:
            return [(one["name"], one) for one in fields]
        case {"type": "definitions", "definitions": definitions, "schema": inner}:
            return _fields_in(inner, {one["ref"]: one for one in definitions})
        case {"type": "definition-ref", "schema_ref": name} if name in known:
            return _fields_in(known[name], {one: known[one] for one in known if one != name})
        case {"schema": inner} if not schema.get("root_model"):
            return _fields_in(inner, known)
    return None


def _first_names(alias: Any) -> Iterator[str]:
    """Where an alias begins to look: a name, a path of names, or several of either."""
    if isinstance(alias, str):
        yield alias
    elif isinstance(alias, list) and alias and isinstance(alias[0], list):
        for path in alias:
            yield from _first_names(path)
    elif isinstance(alias, list) and alias and isinstance(alias[0], str):
        yield alias[0]


def _complete_schema(kind: Any) -> Schema:
    pydantic = sys.modules["pydantic"]
    try:
        if hasattr(kind, "model_rebuild"):
            kind.model_rebuild()
        else:
            pydantic.dataclasses.rebuild_dataclass(kind)
        return kind.__pydantic_core_schema__  # type: ignore[no-any-return]
    except Exception as error:  # a name that its annotations mean and nobody knows
        raise TypeError(
            f"{class_name(kind)} is not complete: {type_name(error)}: {text_of(error)}"
        ) from error


def _told(error: ValueError, words: frozenset[str]) -> str:
    """Where and why, by the words of the type alone: a key of a dict or of a forbidden field is payload."""
    describe = getattr(error, "errors", None)
    if describe is None:
        return f"refused ({type_name(error)})"
    found = describe(include_url=False, include_context=False, include_input=False)
    places = [f"{_place(one['loc'], words)}: {one['type']}" for one in found[:_SHOWN_AT_MOST]]
    more = [f"{len(found) - len(places)} more"] if len(found) > len(places) else []
    return "; ".join(places + more)


def _place(path: tuple[str | int, ...], words: frozenset[str]) -> str:
    shown = (str(one) if isinstance(one, int) or one in words else "*" for one in path)
    return ".".join(shown) or "payload"


def _words(schema: Any) -> Iterator[str]:
    """All texts that a schema has: names of fields, aliases, tags."""
    if isinstance(schema, str):
        yield schema
    elif isinstance(schema, Mapping):
        for name, value in schema.items():
            if name not in ("metadata", "serialization"):
                yield from _words(name)
                yield from _words(value)
    elif isinstance(schema, (list, tuple)):
        for one in schema:
            yield from _words(one)


def _never_filled(schema: Schema, known: dict[str, Schema] | None = None) -> str | None:
    """Why no JSON value fits a schema; None when one may. A validator that comes first can make anything.

    Args:
        known: the definitions that it refers to and that were not looked at yet.
    """
    known = {} if known is None else known
    match schema:
        case {"type": "is-instance" | "is-subclass", "cls": wanted}:
            return f"it would have to be {class_name(wanted)} already; give it a default or a validator"
        case {"type": "callable"}:
            return "it would have to be callable; give it a default or a validator"
        case {"type": "definitions", "definitions": definitions, "schema": inner}:
            known |= {one["ref"]: one for one in definitions}
            return _never_filled(inner, known)
        case {"type": "definition-ref", "schema_ref": name}:
            return _never_filled(known.pop(name, {}), known)
        case (
            {"type": "json-or-python", "json_schema": inner}
            | {"type": "lax-or-strict", "lax_schema": inner}
            | {"type": "model" | "dataclass" | "function-after", "schema": inner}
        ):
            return _never_filled(inner, known)
        case {"type": "model-fields" | "typed-dict", "fields": fields}:
            return _one_never_filled(fields.items(), known)
        case {"type": "dataclass-args", "fields": fields}:
            return _one_never_filled([(one["name"], one) for one in fields if one.get("init", True)], known)
        case {"type": "union", "choices": choices}:
            problems = [_never_filled(one[0] if isinstance(one, tuple) else one, known) for one in choices]
            return problems[0] if all(problems) else None
    return None


def _one_never_filled(fields: Iterable[tuple[str, Schema]], known: dict[str, Schema]) -> str | None:
    for name, field in fields:
        if field.get("required", True) and (problem := _never_filled(field["schema"], known)):
            return f"field {name}: {problem}"
    return None
