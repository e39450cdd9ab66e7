"""The other half of a verdict: the CEL rules of the CRD, evaluated by a CEL library.

The library is `common-expression-language` (the Rust implementation): one wheel per platform and microseconds
per rule. It parses no optional chaining (`.?`), so the CRD uses has(); in a regular expression it wants a
bracket inside a class escaped. Import this module late: the library brings a command line's modules along.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import cel

from redisqueue_operator.api.structure import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redisqueue_operator.api.definition import Schema

_MISSING = object()
_INT64_END = 2**63


def check(value: Any, schema: Schema, path: str, old: Any = _MISSING) -> Iterator[Problem]:
    """Every rule that `value` breaks. `old` is what stood there; without it no transition rule is tried."""
    for rule in schema.get("x-kubernetes-validations", []):
        if not _holds(rule["rule"], value, old):
            where = f"{path}{rule.get('fieldPath', '')}".removeprefix(".")
            shown = value if isinstance(value, (str, int, float)) else None
            yield Problem(where, shown, rule["message"])
    if isinstance(value, dict):
        before = old if isinstance(old, dict) else {}
        properties: dict[str, Schema] = schema.get("properties", {})
        for name, part in properties.items():
            if name in value:
                where = f"{path}.{name}".removeprefix(".")
                yield from check(value[name], part, where, before.get(name, _MISSING))
    elif isinstance(value, list):
        # No rule of ours compares an entry with its predecessor, so none is looked for.
        for index, item in enumerate(value):
            yield from check(item, schema.get("items", {}), f"{path}[{index}]")


def typed(value: Any, schema: Schema) -> Any:
    """The value as the API server's rules see it: each number of the kind that the schema says.

    JSON has one kind of number, CEL has two that do not mix; a whole number that no int64 holds is a float.
    """
    if isinstance(value, dict):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        return {name: typed(item, properties.get(name, others)) for name, item in value.items()}
    if isinstance(value, list):
        return [typed(item, schema.get("items", {})) for item in value]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    small = -_INT64_END <= value < _INT64_END
    if schema.get("type") == "integer" and small:
        return int(value)
    return float(value) if schema.get("type") == "number" or not small else value


def _holds(rule: str, value: Any, old: Any) -> bool:
    program = _compiled(rule)
    if "oldSelf" not in program.variables():
        return bool(program.execute({"self": value}))
    return old is _MISSING or bool(program.execute({"self": value, "oldSelf": old}))


@cache
def _compiled(rule: str) -> cel.Program:
    return cel.compile(rule)
