"""Structural defaulting, as the API server does it on every read and write."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redisqueue_operator.api.definition import Schema


def with_defaults(value: Any, schema: Schema) -> Any:
    """A copy of `value` with the schema's defaults filled in and nulls dropped where none is allowed."""
    if isinstance(value, dict):
        return _object_with_defaults(value, schema)
    if isinstance(value, list):
        items = schema.get("items", {})
        return [with_defaults(item, items) for item in value]
    return value


def _object_with_defaults(value: dict[str, Any], schema: Schema) -> dict[str, Any]:
    properties: dict[str, Schema] = schema.get("properties", {})
    others: Schema = schema.get("additionalProperties", {})
    result = {}
    for name, item in value.items():
        part = properties.get(name, others)
        if item is None and part and not part.get("nullable"):
            continue
        result[name] = with_defaults(item, part)
    for name, part in properties.items():
        if name not in result and "default" in part:
            result[name] = with_defaults(copy.deepcopy(part["default"]), part)
    return result
