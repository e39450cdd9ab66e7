"""The offline verdict. tests/operator/test_crd.py shows on the same table that it is the API server's."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from tests.support.redisqueue_cases import (
    BAD,
    GOOD,
    SAMPLES,
    redis,
    redis_queue,
    sample_objects,
    schedule,
    worker,
)

from redisqueue_operator import api
from redisqueue_operator.api import definition
from redisqueue_operator.decide.children.environment import pod_environment


@pytest.mark.parametrize("case", GOOD)
def test_good(case: str) -> None:
    assert api.validate(GOOD[case]) == []


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_samples_are_good(path: object) -> None:
    queues = [item for item in sample_objects(path) if item["kind"] in definition.FILES]  # type: ignore[arg-type]
    assert queues
    for queue in queues:
        assert api.validate(queue, old=queue) == []


@pytest.mark.parametrize("case", BAD)
def test_bad_is_refused_naming_the_field(case: str) -> None:
    bad = BAD[case]
    problems = api.validate(bad.obj, bad.old)
    assert any(bad.field in f"{problem.field} {problem.message}" for problem in problems), problems
    assert bad.old is None or api.validate(bad.old) == []


@pytest.mark.parametrize(
    ("spec", "field", "says"),
    [
        ({"schedule": "0 0 31 2 *"}, "spec.schedule", "never ticks, because no such day exists"),
        ({"schedule": "0 25 * * *"}, "spec.schedule", "'25' is no hour: write 0-23"),
        ({"timeZone": "Europe/Berln"}, "spec.timeZone", "did you mean Europe/Berlin?"),
        ({"timeZone": "Local"}, "spec.timeZone", "is not in the IANA time zone database"),
    ],
)
def test_what_never_ticks_is_refused_without_an_api_server(
    spec: dict[str, str], field: str, says: str
) -> None:
    (problem,) = api.validate(schedule(**spec))
    assert problem.field == field
    assert says in problem.message


def test_a_schedule_reaches_redis_as_a_redisqueue_does() -> None:
    redis_of = [
        definition.schema(kind)["properties"]["spec"]["properties"]["redis"]
        for kind in (definition.KIND, definition.SCHEDULE_KIND)
    ]
    assert redis_of[0] == redis_of[1]


def test_a_password_is_not_shown() -> None:
    problems = api.validate(redis(url="redis://:hunter2@redis:6379"))
    assert problems
    assert "hunter2" not in "".join(map(str, problems))


def test_a_typing_error_comes_with_the_right_name() -> None:
    (problem,) = api.validate(redis_queue(scaling={"maxRelicas": 3}))
    assert str(problem) == "spec.scaling.maxRelicas: unknown field: did you mean maxReplicas?"


def test_problem_shows_field_value_and_way_out() -> None:
    (problem,) = api.validate(worker(concurrency=0))
    assert (problem.field, problem.value) == ("spec.worker.concurrency", 0)
    assert str(problem) == "spec.worker.concurrency: 0: must be at least 1"


@pytest.mark.parametrize("number", [2**63, 1e30, -(10**30)])
def test_a_number_that_is_no_64_bit_integer_is_named(number: float) -> None:
    problems = api.validate(redis_queue(rollout={"strategy": "Versioned", "gate": {"minMessages": number}}))
    assert [(one.field, one.message) for one in problems] == [
        ("spec.rollout.gate.minMessages", "must be of type integer")
    ]


def test_the_default_name_may_be_written_out() -> None:
    named = redis_queue(name="emails", queue={"name": "emails"})
    assert api.validate(named, old=redis_queue(name="emails")) == []


def test_status_is_not_judged() -> None:
    assert api.validate({**redis_queue(), "status": {"replicas": "many"}}) == []


def test_not_a_redisqueue() -> None:
    fields = {problem.field for problem in api.validate({"apiVersion": "v1", "kind": "Pod", "metadata": {}})}
    assert {"apiVersion", "kind", "metadata.name", "spec"} <= fields


def test_judging_changes_nothing() -> None:
    obj = redis_queue(scaling={"scaleUp": None})
    before = copy.deepcopy(obj)
    api.validate(obj, obj)
    api.parse(obj)
    assert obj == before


def test_every_variable_of_the_operator_is_reserved() -> None:
    reserved = _reserved_names()
    everything = sample_objects(SAMPLES / "sentinel.yaml")[0]
    everything["metadata"]["uid"] = "1"
    queue = api.parse(everything)
    assert {variable["name"] for variable in pod_environment(queue)} <= reserved
    assert "REDISQUEUE_HANDLER_PATH" not in reserved, "it belongs to the user"


def _reserved_names() -> set[str]:
    worker_schema = definition.schema()["properties"]["spec"]["properties"]["worker"]
    name = worker_schema["properties"]["env"]["items"]["properties"]["name"]
    rule: str = name["x-kubernetes-validations"][0]["rule"]
    return {part for part in rule.split('"') if part.startswith("REDISQUEUE_")}


@pytest.mark.parametrize(
    ("start", "end", "opens"),
    [
        ("@daily", "0 0 * * *", False),
        ("0 8 * * MON-FRI", "0 */8 * * *", False),
        ("0 0 29 2 *", "0 0 * * *", False),
        ("0 0 29 2 */7", "0 0 * * SUN", False),
        ("0 8 25 12 *", "0 8 * * MON", True),  # but not in 2028
        ("0 8 * * *", "0 8 * 1-11 *", True),
        ("0 8 * * *", "0 8 * * MON", True),
        ("30 * * * *", "*/30 * * * *", True),  # it is not looked at for a whole year
    ],
)
def test_a_window_that_ends_whenever_it_starts_is_refused_without_an_api_server(
    start: str, end: str, opens: bool
) -> None:
    window = {"start": start, "end": end, "timeZone": "Europe/Berlin", "minReplicas": 1}
    obj = redis_queue(scaling={"schedules": [window]})
    problems = [f"{each.field}: {each.message}" for each in api.validate(obj)]
    assert [each.partition(" ")[0] for each in problems] == ["spec.scaling.schedules[0].end:"] * (not opens)
    assert opens or problems[0].endswith("the window is never open: write when it ends")
    api.parse(obj)


@pytest.mark.parametrize(
    ("pod", "field", "says"),
    [
        ({"securityContext": {"$patch": "replace"}}, "securityContext.$patch", "write null for each field"),
        ({"securityContext": {"$patch": "delete"}}, "securityContext.$patch", "write null for each field"),
        ({"$retainKeys": ["affinity"]}, "$retainKeys", "write null for each field"),
        ({"$setElementOrder/containers": []}, "$setElementOrder/containers", "leave it out"),
        ({"volumes": [{"$patch": "replace"}]}, "volumes[0].$patch", "must be delete, which removes"),
        ({"volumes": [{"$patch": "delete"}]}, "volumes[0].name", "must be set"),
        ({"tolerations": [{"$patch": "delete"}]}, "tolerations[0].$patch", "replaces the generated one as a"),
        (
            {"containers": [{"name": "worker", "env": [{"name": "A", "$patch": "replace"}]}]},
            "containers[0].env[0].$patch",
            "the entry of this name",
        ),
    ],
)
def test_a_directive_that_no_merge_follows_is_refused(pod: dict[str, Any], field: str, says: str) -> None:
    obj = worker(template={"spec": pod})
    (problem,) = api.validate(obj)
    assert problem.field == f"spec.worker.template.spec.{field}"
    assert says in problem.message
    with pytest.raises(ValueError, match=re.escape(str(problem))):
        api.parse(obj)


def test_directives_that_a_merge_follows_are_good() -> None:
    ours = {"name": "worker", "$patch": "merge", "ports": [{"containerPort": 8080, "$patch": "delete"}]}
    pod = {"volumes": [{"name": "tmp", "$patch": "delete"}], "containers": [ours]}
    assert api.validate(worker(template={"spec": pod})) == []
