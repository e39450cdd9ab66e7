"""The API server's verdict without an API server: for `redisqueue lint`, local mode and tests."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

from redisqueue_operator.api import definition, structure
from redisqueue_operator.api.definition import with_defaults
from redisqueue_operator.api.model import ScalingSchedule
from redisqueue_operator.api.parsing import build
from redisqueue_operator.api.patches import strange_directives
from redisqueue_operator.api.structure import Problem
from redisqueue_operator.decide.scaling.schedules import clash_of, never_opens, problem_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Problem", "doubts", "validate"]

CLOSED = "ticks whenever start does, so that the window is never open: write when it ends"
# What Kubernetes asks of the name of any object.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def validate(obj: dict[str, Any], old: dict[str, Any] | None = None) -> list[Problem]:
    """Why the API server would refuse `obj`; empty when it would not.

    Args:
        obj: the whole object, of one of our kinds; its status is not looked at, as with any write that is
            not to /status.
        old: what it replaces, for the rules on immutable fields.

    An unknown field is a problem too: kubectl refuses it.
    """
    if problems := list(_no_json(obj, "")):
        return problems
    problems = list(_check_identity(obj))
    kind = obj.get("kind")
    schema = definition.schema(kind if kind in definition.FILES else definition.KIND)
    new = with_defaults(_judged(obj), schema)
    problems += structure.check(new, schema, "")
    if any(problem.blocks_rules for problem in problems):
        return problems
    from redisqueue_operator.api import rules  # noqa: PLC0415 - the operator never needs it, and it is heavy

    before = () if old is None else (rules.typed(with_defaults(_judged(old), schema), schema),)
    problems += list(rules.check(rules.typed(new, schema), schema, "", *before))
    if kind == definition.SCHEDULE_KIND:
        return problems or list(_no_ticks(new["spec"]))
    template = (new["spec"].get("worker") or {}).get("template")
    problems += strange_directives(template, "spec.worker.template")
    return problems + list(_schedules(new, problems))


def doubts(obj: dict[str, Any]) -> list[Problem]:
    """What is allowed, and perhaps not meant, in an object that is valid."""
    if obj.get("kind") != definition.KIND:
        return []
    spec = with_defaults(_judged(obj), definition.schema(definition.KIND))["spec"]
    path = "spec.scaling.schedules"
    windows = tuple(
        build(ScalingSchedule, each, path) for each in (spec.get("scaling") or {}).get("schedules") or ()
    )
    if (found := clash_of(windows)) is None:
        return []
    bounds, moment = found
    text = (
        f"windows overlap so that minReplicas {bounds.yielding} is above maxReplicas {bounds.max_replicas}, "
        f"which holds: {bounds.text}; as on {moment:%A, %d %B at %H:%M:%S} UTC"
    )
    return [Problem(path, None, text)]


def _schedules(obj: dict[str, Any], known: list[Problem]) -> Iterator[Problem]:
    """What no rule of an API server can tell of a RedisQueue, and its condition Ready does."""
    told = {problem.field for problem in known}
    scaling = obj["spec"].get("scaling") or {}
    for index, each in enumerate(scaling.get("schedules") or ()):
        path = f"spec.scaling.schedules[{index}]"
        window = ScalingSchedule(start=each["start"], end=each["end"], time_zone=each["timeZone"])
        problem = problem_of(window) or (("end", CLOSED) if never_opens(window) else None)
        if problem is not None and not any(field.startswith(path) for field in told):
            field, why = problem
            yield Problem(f"{path}.{field}", each[field], why)


def _no_json(value: Any, path: str) -> Iterator[Problem]:
    """What YAML can say and JSON cannot: it never reaches an API server."""
    if isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(name, str) or not _is_text(name):
                yield Problem(path, repr(name), "the name of a field must be text", blocks_rules=True)
            else:
                yield from _no_json(item, f"{path}.{name}".removeprefix("."))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _no_json(item, f"{path}[{index}]")
    elif isinstance(value, str):
        if not _is_text(value):
            yield Problem(path, repr(value), "must be text, is half a surrogate pair", blocks_rules=True)
    elif isinstance(value, (int, float)):  # true and false are two of the former
        if not abs(value) <= sys.float_info.max:  # nor is NaN
            yield Problem(path, repr(value), "must be a finite number", blocks_rules=True)
    elif value is not None:
        kind = type(value).__name__
        yield Problem(path, repr(value), f"must not be a {kind}: put it in quotes", blocks_rules=True)


def _no_ticks(spec: dict[str, Any]) -> Iterator[Problem]:
    """What an API server cannot know: the operator says it in the status."""
    from redisqueue_operator.decide.cron import Cron  # noqa: PLC0415 - for this kind alone

    try:
        Cron.parse(spec["schedule"], spec["timeZone"])
    except ValueError as error:
        name, _, message = str(error).partition(" ")
        yield Problem(f"spec.{name}", spec[name], message)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_identity(obj: dict[str, Any]) -> list[Problem]:
    problems = []
    if obj.get("apiVersion") != definition.API_VERSION:
        message = f"must be {definition.API_VERSION}"
        problems.append(Problem("apiVersion", obj.get("apiVersion"), message, blocks_rules=True))
    if obj.get("kind") not in definition.FILES:
        message = f"must be {' or '.join(definition.FILES)}"
        problems.append(Problem("kind", obj.get("kind"), message, blocks_rules=True))
    metadata = obj.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(name, str) or len(name) > 253 or not _NAME.fullmatch(name):
        message = "must be set, in lower case letters, digits and '-', with a letter or digit at both ends"
        problems.append(Problem("metadata.name", name, message, blocks_rules=True))
    return problems


def _judged(obj: dict[str, Any]) -> dict[str, Any]:
    """The part of an object that a write is judged by; of metadata a rule sees the name alone."""
    metadata = obj.get("metadata")
    name = {"name": metadata["name"]} if isinstance(metadata, dict) and "name" in metadata else {}
    return {key: value for key, value in obj.items() if key != "status"} | {"metadata": name}
