"""A raw object → `RedisQueue`: structural defaults, then the two defaults that follow from other fields."""

from __future__ import annotations

import types
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from redisqueue_operator.api import definition, structure
from redisqueue_operator.api.definition import with_defaults
from redisqueue_operator.api.model import Key, RedisQueue, Spec
from redisqueue_operator.api.patches import strange_directives
from redisqueue_operator.decide.scaling.schedules import problem_of


def parse(obj: dict[str, Any]) -> RedisQueue:
    """The typed RedisQueue.

    Args:
        obj: the object as the API server stores it or as a person wrote it; it is not changed.

    Raises ValueError, naming the field, for what cannot be typed at all; all other judging is `validate`.
    """
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise ValueError("metadata.name: must be set to the name of the RedisQueue")
    spec = with_defaults(obj, definition.schema()).get("spec")
    if not isinstance(spec, dict):
        raise ValueError(f"spec: must be an object with redis and worker, is {spec!r}")
    if isinstance(queue := spec.get("queue"), dict):
        queue.setdefault("name", metadata["name"])
        if isinstance(timeout := queue.get("visibilityTimeoutSeconds"), int):
            queue.setdefault("heartbeatSeconds", timeout / 4)
    _check_template(spec)
    typed: Spec = build(Spec, spec, "spec")
    for index, schedule in enumerate(typed.scaling.schedules):
        if (problem := problem_of(schedule)) is not None:
            field, why = problem
            raise ValueError(f"spec.scaling.schedules[{index}].{field}: {why}")
    return RedisQueue(
        key=Key(metadata.get("namespace") or "default", metadata["name"]),
        uid=metadata.get("uid") or "",
        generation=metadata.get("generation") or 0,
        deletion=bool(metadata.get("deletionTimestamp")),
        spec=typed,
        raw=obj,
    )


def _check_template(spec: dict[str, Any]) -> None:
    """It has no type of ours: what is merged must be of the kinds that the schema has, and be mergeable."""
    worker = spec.get("worker")
    if not isinstance(worker, dict) or not worker.get("template"):
        return
    schema = definition.schema()
    for name in ("spec", "worker", "template"):
        schema = schema["properties"][name]
    path = "spec.worker.template"
    check_shape(worker["template"], schema, path)
    for problem in strange_directives(worker["template"], path):
        raise ValueError(str(problem))


def check_shape(value: Any, schema: definition.Schema, path: str) -> None:
    """Raises ValueError naming the field where a type or a set of words is not that of the schema."""
    for problem in structure.check(value, schema, path):
        if problem.blocks_rules:
            raise ValueError(str(problem))


def build(cls: Any, value: Any, path: str) -> Any:
    """A dataclass from a JSON object, by the types of its fields. Names it does not know are passed over."""
    if not isinstance(value, dict):
        raise ValueError(f"{path}: must be an object, is {value!r}")
    hints, arguments = _hints(cls), {}
    for item in fields(cls):
        name = camel_case(item.name)
        if name in value:
            arguments[item.name] = _convert(hints[item.name], value[name], f"{path}.{name}")
        elif item.default is MISSING and item.default_factory is MISSING:
            raise ValueError(f"{path}.{name}: must be set")
    return cls(**arguments)


def _convert(hint: Any, value: Any, path: str) -> Any:
    origin, arguments = _parts(hint)
    if origin in (Union, types.UnionType):
        members = [item for item in arguments if item is not type(None)]
        hint = next((item for item in members if type(value) is item), members[0])
        return _convert(hint, value, path)
    if is_dataclass(hint):
        return build(hint, value, path)
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{path}: must be a list, is {value!r}")
        return tuple(_convert(arguments[0], item, f"{path}[{index}]") for index, item in enumerate(value))
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"{path}: must be one of {', '.join(arguments)}, is {value!r}")
        return value
    expected = origin or hint
    if expected is int and isinstance(value, float) and value.is_integer():
        return int(value)  # JSON knows one kind of number, and the schema takes 2.0 for 2
    kinds = (int, float) if expected is float else expected
    if isinstance(value, bool) is not (expected is bool) or not isinstance(value, kinds):
        raise ValueError(f"{path}: must be of type {expected.__name__}, is {value!r}")
    return value


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


@cache
def _parts(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    return get_origin(hint), get_args(hint)


@cache
def camel_case(name: str) -> str:
    """`max_in_flight_seconds` → `maxInFlightSeconds`."""
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)
