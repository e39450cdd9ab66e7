"""The CRD on a real API server, and that `api.validate` gives the same verdicts without one."""

from __future__ import annotations

import json
import re
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.support.odd_redisqueues import odd_redisqueue
from tests.support.operator_process import Cluster
from tests.support.redisqueue_cases import (
    BAD,
    GOOD,
    SAMPLES,
    budget,
    redis_queue,
    redrive,
    sample_objects,
    schedule,
)

from redisqueue_operator import api
from redisqueue_operator.api.definition import schema, with_defaults

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.api_server import ApiServer


@pytest.fixture(scope="module")
def server(api_server: ApiServer) -> ApiServer:
    """With the CRD installed, strictly: an unknown field of the CRD itself would be refused."""
    Cluster(api_server).install()
    return api_server


def try_create(server: ApiServer, obj: dict[str, Any]) -> tuple[int, str]:
    return server.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(obj))


@pytest.mark.parametrize("case", GOOD)
def test_good_is_accepted_and_defaulted_alike(server: ApiServer, case: str) -> None:
    code, output = try_create(server, GOOD[case])
    assert code == 0, output
    assert json.loads(output)["spec"] == with_defaults(GOOD[case], schema(GOOD[case]["kind"]))["spec"]


@pytest.mark.parametrize(
    "obj", [redis_queue("unseen"), redrive(), budget(), schedule()], ids=lambda obj: str(obj["kind"])
)
def test_what_no_operator_has_looked_at_is_not_current(server: ApiServer, obj: dict[str, Any]) -> None:
    """Health checks compare the generations: without a status they would call it well."""
    name = (obj["kind"], obj["metadata"]["name"])
    code, output = server.kubectl("create", "-f", "-", stdin=json.dumps(obj))
    assert code == 0, output
    try:
        found = json.loads(server.kubectl("get", *name, "-o", "json")[1])
        assert found["status"] == {"observedGeneration": -1}
        assert found["metadata"]["generation"] == 1
        code, output = server.kubectl("wait", "--for=condition=Ready", "/".join(name), "--timeout=1s")
        assert code != 0, output
    finally:
        server.kubectl("delete", *name)


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_samples_are_accepted(server: ApiServer, path: Path) -> None:
    for item in sample_objects(path):
        code, output = try_create(server, item)
        assert code == 0, output


@pytest.mark.parametrize("case", BAD)
def test_bad_is_refused_naming_the_field(server: ApiServer, case: str) -> None:
    bad = BAD[case]
    if bad.old is None:
        code, output = try_create(server, bad.obj)
    else:
        code, output = server.kubectl("create", "-f", "-", stdin=json.dumps(bad.old))
        assert code == 0, output
        code, output = server.kubectl("replace", "--dry-run=server", "-f", "-", stdin=json.dumps(bad.obj))
        server.kubectl("delete", "-f", "-", stdin=json.dumps(bad.old))
    assert code != 0, output
    assert bad.field in output
    assert "hunter2" not in output, "a refusal must not show the password"
    assert api.validate(bad.obj, bad.old), "refused here, so it has to be refused offline"


def test_odd_ones_are_judged_as_offline(server: ApiServer) -> None:
    """A sample of those that `tests/unit/api/test_odd_redisqueues.py` makes."""
    random, objects = Random(11), {}
    while len(objects) < 200:
        obj, name = odd_redisqueue(random), f"odd-{len(objects)}"
        if "\\ud83d" not in json.dumps(obj):  # kubectl makes a replacement character of it
            objects[f"redisqueue.redisqueue.dev/{name}"] = {**obj, "metadata": {"name": name}}
    stream = "\n---\n".join(json.dumps(obj) for obj in objects.values())
    dry = ("--dry-run=server", "-o", "name", "-f", "-")
    _, output = server.kubectl("create", *dry, stdin=stream)
    accepted = {name for name in objects if f"{name}\n" in output}
    expected = {name for name, obj in objects.items() if not api.validate(obj)}
    differing = {name: (api.validate(objects[name]), objects[name]) for name in accepted ^ expected}
    assert not differing, output[-3000:]
    assert len(accepted) > 20


def test_another_autoscaler_as_the_page_has_it(server: ApiServer) -> None:
    page = (SAMPLES.parent / "README.md").read_text()
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    by_kind = {block["kind"]: block for block in blocks}
    hpa = by_kind["HorizontalPodAutoscaler"]
    code, output = try_create(server, hpa)
    assert code == 0, output
    for scaler in (hpa, by_kind["ScaledObject"]):
        target = scaler["spec"]["scaleTargetRef"]
        assert target["name"] == by_kind["RedisQueue"]["metadata"]["name"]
        assert (target["apiVersion"], target["kind"]) == ("redisqueue.dev/v1alpha1", "RedisQueue")


def test_scale_subresource(server: ApiServer) -> None:
    queue = redis_queue(name="scaled")
    assert server.kubectl("create", "-f", "-", stdin=json.dumps(queue))[0] == 0
    status = {"replicas": 2, "selector": "redisqueue.dev/queue=scaled"}
    patch = json.dumps({"status": status})
    assert server.kubectl("patch", "rq/scaled", "--subresource=status", "--type=merge", "-p", patch)[0] == 0
    code, output = server.kubectl("scale", "rq/scaled", "--replicas=3")
    assert code == 0, output
    scale = json.loads(server.kubectl("get", "rq", "scaled", "--subresource=scale", "-o", "json")[1])
    assert (scale["spec"], scale["status"]) == ({"replicas": 3}, status)
    code, output = server.kubectl("scale", "rq/scaled", "--replicas=11")
    assert code != 0
    assert "spec.scaling.maxReplicas" in output


def test_columns(server: ApiServer) -> None:
    assert server.kubectl("create", "-f", "-", stdin=json.dumps(redis_queue(name="listed")))[0] == 0
    header = server.kubectl("get", "rq", "listed")[1].splitlines()[0]
    assert header.split() == ["NAME", "PENDING", "INFLIGHT", "DLQ", "READY", "DESIRED", "STATE", "AGE"]


def test_explain_describes_every_field(server: ApiServer) -> None:
    code, output = server.kubectl("explain", "rq.spec", "--recursive=false")
    assert code == 0, output
    assert "How many workers to run for how much work." in output
    for part in ("redis", "queue", "worker", "scaling", "scaling.scaleDown", "drain"):
        assert "<no description>" not in server.kubectl("explain", f"rq.spec.{part}")[1]


def test_a_template_can_be_emptied_by_server_side_apply(server: ApiServer) -> None:
    """The field belongs to one manager as a whole: a pod template is written by one person."""
    full = {"metadata": {"labels": {"team": "a"}}, "spec": {"nodeSelector": {"disk": "fast"}}}
    for template in (full, {"metadata": {"labels": {"team": "b"}}}, {}):
        queue = redis_queue("templated", worker={"handler": "tasks:handle", "template": template})
        code, output = server.kubectl(
            *("apply", "--server-side", "-o", "json", "-f", "-"), stdin=json.dumps(queue)
        )
        assert code == 0, output
        assert json.loads(output)["spec"]["worker"]["template"] == template
