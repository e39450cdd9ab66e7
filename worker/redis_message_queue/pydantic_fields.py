"""Whether a pydantic type reads what it writes: by the names, and without what it hides or leaves out.

Pydantic is never imported here: whoever has a value of such a type has imported it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

Schema = Mapping[str, Any]

# What holds no schema of something that is written and read as JSON.
_ASIDE = frozenset(
    (
        "metadata",
        "serialization",
        "config",
        "default",
        "function",
        "python_schema",
        "strict_schema",
        "fields",  # these by `_fields`
    )
)
# Schemas of values whose type is not known before they are there.
_OF_ANYTHING = frozenset(("any", "is-instance", "function-plain", "generator", "callable"))
# How the name of what writes a secret begins, without case and underscores, from pydantic 2.7 to 2.14.
_OF_SECRETS = ("pydantic.types.secret", "pydantic.types.serializesecret")


@lru_cache(256)
def lost(kind: Any) -> str | None:
    """Which field of a model or pydantic dataclass, or of what it holds, does not come back; None if all do.

    What validators and serializers of one's own make of the fields is theirs, and not looked at.
    """
    return next(_losses(kind.__pydantic_core_schema__, _Owner(kind.__name__, {}), kind.__name__), None)


@lru_cache(256)
def holds_anything(kind: Any) -> bool:
    """Whether it, or what it holds, may have a value of a type that its schema does not name."""
    return any(_unnamed(kind.__pydantic_core_schema__))


def _unnamed(schema: Any) -> Iterator[bool]:
    if isinstance(schema, (list, tuple)):
        for one in schema:
            yield from _unnamed(one)
    if not isinstance(schema, Mapping):
        return
    extra = (schema.get("config") or {}).get("extra_fields_behavior") or schema.get("extra_behavior")
    yield extra == "allow" or schema.get("type") in _OF_ANYTHING
    for name in (name for name in schema if name not in _ASIDE or name == "fields"):
        value = schema[name]
        for one in value.values() if name == "fields" and isinstance(value, Mapping) else (value,):
            yield from _unnamed(one)


def secret_in(value: object, told: object) -> tuple[str | int, ...] | None:
    """The path of a secret that is told as asterisks; None if there is none.

    Args:
        value: what a model gives as Python's own values.
        told: the same as JSON has it.
    """
    if callable(getattr(type(value), "get_secret_value", None)):
        hidden = isinstance(told, str) and told and not told.strip("*")
        return () if hidden else None  # a serializer of one's own may tell it
    pairs: Iterable[tuple[Any, Any, Any]] = ()
    if isinstance(value, Mapping) and isinstance(told, Mapping):
        # In the same order; the names that JSON has are texts.
        pairs = ((name, one, told[name]) for one, name in zip(value.values(), told, strict=False))
    elif isinstance(value, (list, tuple, set, frozenset, deque)) and isinstance(told, list):
        pairs = ((place, one, other) for place, (one, other) in enumerate(zip(value, told, strict=False)))
    for place, one, other in pairs:
        path = secret_in(one, other)
        if path is not None:
            return (place, *path)
    return None


class _Owner(NamedTuple):
    """The class that fields belong to."""

    name: str
    config: Schema

    def reads(self, field: Schema, name: str) -> list[str]:
        """The names of JSON that fill a field."""
        alias = field.get("validation_alias")
        if alias is None:
            return [name]
        by_name = self.config.get("validate_by_name") or self.config.get("populate_by_name")
        by_alias = self.config.get("validate_by_alias", True)
        return [*(_names(alias) if by_alias else ()), *([name] if by_name else ())]


def _losses(schema: Any, owner: _Owner, place: str) -> Iterator[str]:
    if isinstance(schema, (list, tuple)):
        for one in schema:
            yield from _losses(one, owner, place)
    if not isinstance(schema, Mapping):
        return
    serializer = _serializer(schema)
    if serializer.lower().replace("_", "").startswith(_OF_SECRETS):
        yield f"{place} is a secret, which is written as asterisks; give it a serializer, or send a dict"
    elif not serializer.startswith("pydantic."):
        return
    if "cls" in schema and "config" in schema:
        owner = _Owner(schema["cls"].__name__, schema["config"] or {})
        place = owner.name
    writes, reads = (owner.config.get(f"{what}_json_bytes", "utf8") for what in ("ser", "val"))
    if schema.get("type") == "bytes" and writes != reads:
        yield f"{place} is written as {writes}, and read as {reads}; set val_json_bytes, or send a dict"
    for name, field in _fields(schema):
        yield from _losses_of_field(name, field, owner)
    for name in (name for name in schema if name not in _ASIDE):
        yield from _losses(schema[name], owner, place)


def _fields(schema: Schema) -> Iterable[tuple[str, Schema]]:
    match schema:
        case {"type": "model-fields" | "typed-dict", "fields": fields}:
            return fields.items()  # type: ignore[no-any-return]
        case {"type": "dataclass-args", "fields": fields}:
            return [(one["name"], one) for one in fields]
    return ()


def _losses_of_field(name: str, field: Schema, owner: _Owner) -> Iterator[str]:
    place = f"field {name} of {owner.name}"
    if field.get("init_only"):
        yield f"{place} is an InitVar, which it does not keep; send a dict"
    elif field.get("serialization_exclude") or field.get("serialization_exclude_if"):
        if _is_required(field):
            yield f"{place} is required, and excluded from what is written; give it a default, or send a dict"
        return
    elif not field.get("init", True):  # of a dataclass: it makes the field itself
        if owner.config.get("extra_fields_behavior") == "forbid":
            yield f"{place} is written, and forbidden to be read (init=False); send a dict"
        return
    reads, writes = owner.reads(field, name), field.get("serialization_alias", name)
    if writes not in reads:
        known = " or ".join(map(repr, reads)) or "at a path"
        yield f"{place} is written as {writes!r}, and read as {known}; give it one alias, or send a dict"
    yield from _losses(field["schema"], owner, place)


def _names(alias: Any) -> Iterator[str]:
    """The aliases that are a name of the object itself, not a path into it."""
    if isinstance(alias, str):
        yield alias
    elif len(alias) == 1 and isinstance(alias[0], str):
        yield alias[0]
    else:
        for one in alias:
            if isinstance(one, list):
                yield from _names(one)


def _is_required(field: Schema) -> bool:
    schema = field["schema"]
    while schema["type"].startswith("function-") and "schema" in schema:
        schema = schema["schema"]
    return bool(field.get("required", schema["type"] != "default"))


def _serializer(schema: Schema) -> str:
    """By its full name, what writes it; pydantic itself where nothing is said."""
    match schema:
        case {"serialization": {"function": function}}:
            return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '')}"
    return "pydantic."
