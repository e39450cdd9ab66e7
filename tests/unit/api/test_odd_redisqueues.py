"""Thousands of odd RedisQueues: each is judged, and what lint accepts is never unusable for the operator."""

from __future__ import annotations

import copy
import json
import os
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.odd_redisqueues import odd_redisqueue
from tests.support.redisqueue_cases import budget, redis_queue, redrive, schedule, worker

from redisqueue_operator.api import parse, validate
from redisqueue_operator.budget.resource import parse as parse_budget
from redisqueue_operator.decide.children import children
from redisqueue_operator.decide.children.drift import selects
from redisqueue_operator.decide.children.merge import merged
from redisqueue_operator.decide.scaling import Policy
from redisqueue_operator.redrive.resource import parse as parse_redrive
from redisqueue_operator.schedule.resource import parse as parse_schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OBJECTS = int(os.environ.get("REDISQUEUE_FUZZ_OBJECTS", "4000"))
SEED = int(os.environ.get("REDISQUEUE_FUZZ_SEED", "1"))


def test_what_lint_accepts_the_operator_can_use() -> None:
    random, accepted = Random(SEED), 0
    for number in range(OBJECTS):
        obj = odd_redisqueue(random)
        try:
            good = not validate(obj)
            accepted += good
            try:
                rq = parse(obj)
            except ValueError:
                if good:
                    raise
                continue
            Policy.of(rq.spec)
            made = children(rq, default_image="default:1", operator_version="1", source={"a.py": "text"})
            json.dumps(made)
        except Exception as error:
            error.add_note(f"object {number} of seed {SEED}: {obj!r}")
            raise
    assert accepted > OBJECTS / 10, "hardly any is good: such objects prove nothing"


@pytest.mark.parametrize(
    ("obj", "field"),
    [
        (worker(image="\ud83d"), "spec.worker.image"),
        (worker(template={"spec": {"\ud83d": 1}}), "spec.worker.template.spec"),
        (worker(template={"spec": {1: 1}}), "spec.worker.template.spec"),
        (worker(template={"spec": {"priority": float("nan")}}), "spec.worker.template.spec.priority"),
        (worker(template={"spec": {"priority": 10**400}}), "spec.worker.template.spec.priority"),
        (worker(env=[{"name": "A", "value": b"bytes"}]), "spec.worker.env[0].value"),
    ],
    ids=["text", "name", "number as name", "no number", "endless", "bytes"],
)
def test_what_is_no_json_is_told_by_its_field(obj: dict[str, object], field: str) -> None:
    (problem,) = validate(obj)
    assert problem.field == field
    str(problem).encode()


def test_numbers_are_what_the_schema_says() -> None:
    rate = {"ratePerSecond": 1, "rateBurst": 2.0}
    obj = redis_queue(queue={"limits": rate}, worker={"handler": "a:b", "concurrency": 2.0})
    assert validate(obj) == []
    assert repr(parse(obj).spec.worker.concurrency) == "2"
    assert validate(worker(template={"spec": {"priority": 10**30}})) == []


@pytest.mark.parametrize("odd", [[1], [{"name": []}], ["a"], [None]])
def test_entries_that_are_none_are_left_for_the_server_to_refuse(odd: list[object]) -> None:
    assert merged({"env": [{"name": "A"}]}, {"env": odd}) == {"env": odd}


def test_a_template_that_is_none_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"spec\.worker\.template\.metadata\.labels: 1: must be of type object"
    ):
        parse(worker(template={"metadata": {"labels": 1}}))


EXPRESSION = {"key": "team", "operator": "In", "values": ["a"]}
WHOLE: tuple[tuple[dict[str, Any], Callable[[dict[str, Any]], Any]], ...] = (
    (
        redrive(**{"from": "DeadLetter"}, max=1, ratePerSecond=1, match={"reason": "a", "pattern": "b"}),
        parse_redrive,
    ),
    (
        schedule(queueRef=None, redis={"url": "redis://a"}, queue={"name": "a"}, jitterSeconds=1),
        parse_schedule,
    ),
    (
        budget(selector={"matchLabels": {"a": "b"}, "matchExpressions": [EXPRESSION]}, cpu="4", memory="8Gi"),
        parse_budget,
    ),
)
ODD: tuple[Any, ...] = (None, [], {}, [None], "odd", -1, 0.5, True, 10**400)


def each_odd(value: Any) -> Iterator[Any]:
    """The value with each part of it replaced by each odd one, and left out."""
    yield from ODD
    for name in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        for odd in each_odd(value[name]):
            changed = copy.copy(value)
            changed[name] = odd
            yield changed
        changed = copy.copy(value)
        del changed[name]
        yield changed


@pytest.mark.parametrize(
    ("whole", "parsed"), WHOLE, ids=lambda each: each["kind"] if isinstance(each, dict) else ""
)
def test_what_another_kind_cannot_be_read_is_told_as_such(
    whole: dict[str, Any], parsed: Callable[[dict[str, Any]], Any]
) -> None:
    """Whatever its definition lets pass: any other error would be nobody's news."""
    whole["metadata"] |= {"uid": "u", "generation": 1}
    for spec in each_odd(whole["spec"]):
        try:
            with suppress(ValueError):
                known = parsed({**whole, "spec": spec})
                if parsed is parse_budget:
                    selects(known.selector, {"a": "b", "team": "a"})
        except Exception as error:
            error.add_note(f"spec {spec!r}")
            raise
