"""kustomize gives generated ConfigMaps and Secrets a name of their content, and RedisQueues follow it."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.operator.conftest import NO_SERVER
from tests.support.api_server import binaries
from tests.support.readmes import ROOT
from tests.support.required import required

if TYPE_CHECKING:
    from pathlib import Path

KUSTOMIZATION = """
namePrefix: shop-
configurations: [names.yaml]
resources: [queue.yaml]
configMapGenerator:
- {name: code, literals: ["jobs.py=def handle(m): ..."]}
- {name: ca, literals: [ca.crt=x]}
secretGenerator:
- {name: login, literals: [password=x]}
images:
- {name: registry.example.com/worker, newTag: "2"}
- {name: registry.example.com/files, digest: "sha256:00"}
"""
BY_CONFIG_MAP, BY_SECRET = {"name": "code", "key": "k"}, {"name": "login", "key": "k"}
QUEUE: dict[str, Any] = {
    "apiVersion": "redisqueue.dev/v1alpha1",
    "kind": "RedisQueue",
    "metadata": {"name": "jobs"},
    "spec": {
        "redis": {
            "urlFrom": {"secretKeyRef": BY_SECRET},
            "auth": {"secretRef": {"name": "login"}},
            "sentinel": {"auth": {"secretRef": {"name": "login"}}},
            "tls": {
                "caFrom": {"configMapKeyRef": {"name": "ca", "key": "ca.crt"}, "secretKeyRef": BY_SECRET},
                "certFrom": {"secretRef": {"name": "login"}},
            },
        },
        "worker": {
            "image": "registry.example.com/worker:1",
            "handler": "jobs:handle",
            "source": {"configMapRef": {"name": "code"}},
            "imagePullSecrets": [{"name": "login"}],
            "env": [
                {"name": "A", "valueFrom": {"configMapKeyRef": BY_CONFIG_MAP}},
                {"name": "B", "valueFrom": {"secretKeyRef": BY_SECRET}},
            ],
            "envFrom": [{"configMapRef": {"name": "code"}}, {"secretRef": {"name": "login"}}],
        },
    },
}
WITH_FILES: dict[str, Any] = {
    **QUEUE,
    "metadata": {"name": "files"},
    "spec": {"worker": {"source": {"image": {"reference": "registry.example.com/files:1"}}}},
}
REDRIVE = {
    "apiVersion": "redisqueue.dev/v1alpha1",
    "kind": "RedisQueueRedrive",
    "metadata": {"name": "again"},
    "spec": {"queueRef": {"name": "jobs"}},
}

OF_A_QUEUE = {
    "apiVersion": "redisqueue.dev/v1alpha1",
    "kind": "RedisQueueSchedule",
    "metadata": {"name": "nightly"},
    "spec": {"schedule": "@daily", "payload": "a", "queueRef": {"name": "jobs"}},
}
OF_A_REDIS = {
    "apiVersion": "redisqueue.dev/v1alpha1",
    "kind": "RedisQueueSchedule",
    "metadata": {"name": "hourly"},
    "spec": {
        "schedule": "@hourly",
        "payload": "a",
        "redis": QUEUE["spec"]["redis"],  # type: ignore[index]
        "queue": {"name": "a"},
    },
}


@pytest.fixture
def built(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """What kustomize makes of them, by kind and name without its suffix."""
    folder = required(binaries(), NO_SERVER)
    shutil.copy(ROOT / "crds" / "kustomize" / "names.yaml", tmp_path)
    (tmp_path / "kustomization.yaml").write_text(KUSTOMIZATION)
    (tmp_path / "queue.yaml").write_text(
        yaml.safe_dump_all([QUEUE, WITH_FILES, REDRIVE, OF_A_QUEUE, OF_A_REDIS])
    )
    done = subprocess.run(
        [folder / "kubectl", "kustomize", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = list(yaml.safe_load_all(done.stdout))
    return {f"{each['kind']}/{each['metadata']['name'].split('-')[1]}": each for each in found}


def references(value: Any, path: str = "") -> dict[str, str]:
    """Every name of something else, by its path."""
    if isinstance(value, list):
        return {key: name for each in value for key, name in references(each, path).items()}
    if not isinstance(value, dict):
        return {}
    found = {f"{path}/name": value["name"]} if "Ref" in path.rpartition("/")[2] else {}
    for key, each in value.items():
        found |= references(each, f"{path}/{key}")
    return found


def test_every_reference_follows_the_generated_name(built: dict[str, dict[str, Any]]) -> None:
    generated = {each["metadata"]["name"] for each in built.values()}
    named = references(built["RedisQueue/jobs"]["spec"])
    assert len(named) == len(references(QUEUE["spec"])) >= 10
    assert {path: name for path, name in named.items() if name not in generated} == {}
    pulled = built["RedisQueue/jobs"]["spec"]["worker"]["imagePullSecrets"]
    assert pulled == [{"name": built["Secret/login"]["metadata"]["name"]}]
    assert built["RedisQueueRedrive/again"]["spec"]["queueRef"] == {"name": "shop-jobs"}
    assert built["RedisQueueSchedule/nightly"]["spec"]["queueRef"] == {"name": "shop-jobs"}
    named = references(built["RedisQueueSchedule/hourly"]["spec"])
    assert len(named) >= 5
    assert {path: name for path, name in named.items() if name not in generated} == {}


def test_images_are_set_as_those_of_a_pod(built: dict[str, dict[str, Any]]) -> None:
    assert built["RedisQueue/jobs"]["spec"]["worker"]["image"] == "registry.example.com/worker:2"
    source = built["RedisQueue/files"]["spec"]["worker"]["source"]
    assert source["image"]["reference"] == "registry.example.com/files@sha256:00"
