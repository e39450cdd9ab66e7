"""What Chart.yaml tells Artifact Hub is what the charts install."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.support.helm import CHARTS, one

from redisqueue_operator.api import definition
from redisqueue_operator.api.validation import validate

if TYPE_CHECKING:
    from tests.support.helm import Helm

OPERATOR, CRDS = "redis-queue-operator", "redis-queue-crds"
PROJECT = tomllib.loads((CHARTS.parent / "pyproject.toml").read_text())["project"]


def told(chart: str, name: str) -> Any:
    annotations = yaml.safe_load((CHARTS / chart / "Chart.yaml").read_text())["annotations"]
    return yaml.safe_load(annotations[f"artifacthub.io/{name}"])


@pytest.mark.parametrize("chart", [OPERATOR, CRDS])
def test_kinds_and_license(chart: str) -> None:
    assert told(chart, "license") == PROJECT["license"]
    known = {kind: definition.definition(kind) for kind in definition.FILES}
    assert [(each["kind"], each["version"], each["name"]) for each in told(chart, "crds")] == [
        (kind, crd["spec"]["versions"][0]["name"], crd["metadata"]["name"]) for kind, crd in known.items()
    ]
    assert all(each["url"].startswith("https://") for each in told(chart, "links"))


def test_images_are_those_that_are_used(helm: Helm) -> None:
    items = helm.template(OPERATOR, "valkey.enabled=true")
    named = {each["name"]: each["image"] for each in told(OPERATOR, "images")}
    (operator,) = one(items, "Deployment", "redisqueue-operator")["spec"]["template"]["spec"]["containers"]
    (valkey,) = one(items, "Deployment", "redisqueue-valkey")["spec"]["template"]["spec"]["containers"]
    environment = {each["name"]: each.get("value") for each in operator["env"]}
    used = {
        "operator": operator["image"],
        "valkey": valkey["image"],
        "worker": environment["REDISQUEUE_WORKER_IMAGE"],
    }
    assert named == used


def test_examples_are_valid() -> None:
    examples = told(OPERATOR, "crdsExamples")
    assert [each["kind"] for each in examples] == [*definition.FILES]
    for each in examples:
        assert validate(each) == []


def test_changes_are_of_the_kinds_that_are_shown() -> None:
    changes = told(OPERATOR, "changes")
    assert changes
    shown = {"added", "changed", "deprecated", "removed", "fixed", "security"}
    assert {each["kind"] for each in changes} <= shown
    assert all(each["description"] for each in changes)
