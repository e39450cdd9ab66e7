"""Every sample RedisQueue → all its manifests, compared with what was agreed on."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.redisqueue_cases import SAMPLES, sample_objects

from redisqueue_operator import api
from redisqueue_operator.decide.children import children

EXPECTED = Path(__file__).parent / "manifests"
NAMES = sorted(path.stem for path in SAMPLES.glob("*.yaml") if "kind: RedisQueue\n" in path.read_text())


def manifests(sample: str) -> list[dict[str, Any]]:
    """All children of the sample's RedisQueue, as a 0.0.0 operator would apply them in namespace shop."""
    objects = sample_objects(SAMPLES / f"{sample}.yaml")
    files = {item["metadata"]["name"]: item["data"] for item in objects if item["kind"] == "ConfigMap"}
    (obj,) = (item for item in objects if item["kind"] == "RedisQueue")
    obj["metadata"] |= {"namespace": "shop", "uid": "00000000-0000-0000-0000-000000000001"}
    queue = api.parse(obj)
    named = queue.spec.worker.config_map_name
    return children(
        queue,
        default_image="redisqueue-worker:0.0.0",
        operator_version="0.0.0",
        secret_versions=dict.fromkeys(queue.spec.redis.secret_names, "uid.1"),
        source=files[named] if named else None,
    )


@pytest.mark.parametrize("sample", NAMES)
def test_manifests(sample: str, pytestconfig: pytest.Config) -> None:
    path = EXPECTED / f"{sample}.yaml"
    text = yaml.safe_dump_all(manifests(sample), sort_keys=False, width=110)
    if pytestconfig.getoption("--update-golden", default=False):
        path.write_text(text)
    expected = path.read_text() if path.exists() else ""
    difference = "\n".join(difflib.unified_diff(expected.splitlines(), text.splitlines(), lineterm="", n=2))
    assert not difference, f"as intended? pytest tests/golden --update-golden\n{difference}"


def test_nothing_is_expected_of_samples_that_are_gone() -> None:
    assert sorted(path.stem for path in EXPECTED.glob("*.yaml")) == NAMES
