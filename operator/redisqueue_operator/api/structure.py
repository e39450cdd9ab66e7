"""The structural half of a verdict: types, bounds, patterns and unknown fields, by the schema of the CRD."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redisqueue_operator.api.definition import Schema


@dataclass(frozen=True, slots=True)
class Problem:
    """Why the API server would refuse an object."""

    field: str
    """Path of the field, like `spec.scaling.minReplicas`."""
    value: Any
    """What stands there; None when it is missing or is an object."""
    message: str
    """What must hold, and the way out."""
    blocks_rules: bool = False
    """The object is too malformed for the API server to try the rules between fields."""

    def __str__(self) -> str:
        shown = "" if self.value is None else f" {self.value!r}:"
        return f"{self.field}:{shown} {self.message}"


_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}


def check(value: Any, schema: Schema, path: str) -> Iterator[Problem]:
    """Every structural problem of `value`, which already has its defaults."""
    if schema.get("x-kubernetes-int-or-string"):
        yield from _check_int_or_string(value, schema, path)
        return
    kind = schema.get("type", "")
    if kind and not _is_a(value, kind):
        yield Problem(path, value, f"must be of type {kind}", blocks_rules=True)
        return
    if "enum" in schema and value not in schema["enum"]:
        allowed = ", ".join(map(str, schema["enum"]))
        yield Problem(path, value, f"must be one of {allowed}", blocks_rules=True)
    elif isinstance(value, str):
        yield from _check_string(value, schema, path)
    elif isinstance(value, (int, float)):
        yield from _check_number(value, schema, path)
    elif isinstance(value, list):
        yield from _check_list(value, schema, path)
    elif isinstance(value, dict):
        yield from _check_object(value, schema, path)


def _is_a(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, int | float):
        return -(2**63) <= value < 2**63 and value == int(value)
    return isinstance(value, _TYPES[kind])


def _check_int_or_string(value: Any, schema: Schema, path: str) -> Iterator[Problem]:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        yield Problem(path, value, "must be a number or a text", blocks_rules=True)
    elif isinstance(value, str):
        yield from _check_string(value, schema, path)
    else:
        yield from _check_number(value, schema, path)


def _check_string(value: str, schema: Schema, path: str) -> Iterator[Problem]:
    if (longest := schema.get("maxLength")) is not None and len(value) > longest:
        yield Problem(path, value, f"must have at most {longest} characters", blocks_rules=True)
    if len(value) < schema.get("minLength", 0):
        yield Problem(path, value, f"must have at least {schema['minLength']} characters")
    pattern = schema.get("pattern")
    # Only here does Python's `$` differ from the server's: it also matches before a final line feed.
    if pattern and (not re.search(pattern, value) or value.endswith("\n")):
        yield Problem(path, value, f"must match {pattern}")


def _check_number(value: float, schema: Schema, path: str) -> Iterator[Problem]:
    if (least := schema.get("minimum")) is not None and value < least:
        yield Problem(path, value, f"must be at least {least}")
    if (most := schema.get("maximum")) is not None and value > most:
        yield Problem(path, value, f"must be at most {most}")


def _check_list(value: list[Any], schema: Schema, path: str) -> Iterator[Problem]:
    if (most := schema.get("maxItems")) is not None and len(value) > most:
        yield Problem(path, None, f"must have at most {most} entries", blocks_rules=True)
    if len(value) < schema.get("minItems", 0):
        yield Problem(path, None, f"must have at least {schema['minItems']} entries")
    for index, item in enumerate(value):
        yield from check(item, schema.get("items", {}), f"{path}[{index}]")
    kind = schema.get("x-kubernetes-list-type")
    if kind in ("set", "map"):
        keys = schema.get("x-kubernetes-list-map-keys", [])
        seen: list[Any] = []
        for index, item in enumerate(value):
            identity = [item.get(key) for key in keys] if isinstance(item, dict) else item
            if identity in seen:
                shown = ", ".join(map(str, identity)) if isinstance(identity, list) else identity
                yield Problem(f"{path}[{index}]", shown, "must not occur twice: remove one of the two")
            seen.append(identity)


def _check_object(value: dict[str, Any], schema: Schema, path: str) -> Iterator[Problem]:
    if (most := schema.get("maxProperties")) is not None and len(value) > most:
        yield Problem(path, None, f"must have at most {most} entries", blocks_rules=True)
    properties: dict[str, Schema] = schema.get("properties", {})
    for name in schema.get("required", []):
        if name not in value:
            yield Problem(f"{path}.{name}".removeprefix("."), None, "must be set", blocks_rules=True)
    for name, item in value.items():
        where = f"{path}.{name}".removeprefix(".")
        if name in properties:
            yield from check(item, properties[name], where)
        elif "additionalProperties" in schema:
            yield from check(item, schema["additionalProperties"], where)
        elif properties and not schema.get("x-kubernetes-preserve-unknown-fields"):
            close = difflib.get_close_matches(name, properties, n=1)
            known = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(properties))}"
            yield Problem(where, None, f"unknown field: {known}")
