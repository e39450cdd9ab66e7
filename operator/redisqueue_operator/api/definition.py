"""The CustomResourceDefinitions as data: where defaults, bounds and rules are read from."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

FILE = "redisqueue.dev_redisqueues.yaml"
GROUP = "redisqueue.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "RedisQueue"
REDRIVE_FILE = "redisqueue.dev_redisqueueredrives.yaml"
REDRIVE_KIND = "RedisQueueRedrive"
BUDGET_FILE = "redisqueue.dev_redisqueuebudgets.yaml"
BUDGET_KIND = "RedisQueueBudget"
SCHEDULE_FILE = "redisqueue.dev_redisqueueschedules.yaml"
SCHEDULE_KIND = "RedisQueueSchedule"
FILES = {
    KIND: FILE,
    REDRIVE_KIND: REDRIVE_FILE,
    BUDGET_KIND: BUDGET_FILE,
    SCHEDULE_KIND: SCHEDULE_FILE,
}

Schema = dict[str, Any]


def text(kind: str = KIND) -> str:
    """The definition as it stands in `crds/`: packaged beside this module, else in the source tree."""
    packaged = resources.files(__package__) / FILES[kind]
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    return (Path(__file__).resolve().parents[3] / "crds" / FILES[kind]).read_text(encoding="utf-8")


@cache
def definition(kind: str = KIND) -> dict[str, Any]:
    """The whole CustomResourceDefinition. Shared: do not change it."""
    import yaml  # noqa: PLC0415 - commands that need no definition work without it

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, where built in
    loaded: dict[str, Any] = yaml.load(text(kind), Loader=loader)  # noqa: S506 - a safe loader, in C or in Python
    return loaded


@cache
def schema(kind: str = KIND) -> Schema:
    """The OpenAPI schema of a whole object of that kind. Shared: do not change it."""
    version = next(item for item in definition(kind)["spec"]["versions"] if item["name"] == VERSION)
    result: Schema = version["schema"]["openAPIV3Schema"]
    return result


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
            result[name] = with_defaults(part["default"], part)
    return result
