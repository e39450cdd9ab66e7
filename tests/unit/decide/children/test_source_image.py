"""Handler files out of an image: what the API server would make of the Deployment says whether it can be."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.support.redisqueue_cases import redis_queue, worker

from redisqueue_operator import api
from redisqueue_operator.decide.children import children
from redisqueue_operator.decide.children.deployment import canary_of
from redisqueue_operator.decide.children.source_image import is_mounted_by, refusal

IMAGE = {"image": {"reference": "registry.example.com/shop/handlers:1", "pullPolicy": "Always"}}
OTHER = {"spec": {"volumes": [{"name": "handler", "emptyDir": {}}]}}


def deployment(obj: dict[str, Any]) -> dict[str, Any]:
    return children(api.parse(obj), default_image="default:1", operator_version="1.0")[-1]


def dropped(manifest: dict[str, Any]) -> dict[str, Any]:
    """The answer of an API server that has no volumes of type image."""
    answer = copy.deepcopy(manifest)
    pod = answer["spec"]["template"]["spec"]
    pod["volumes"] = [each for each in pod["volumes"] if "image" not in each]
    mounts = pod["containers"][0]["volumeMounts"]
    mounts[:] = [each for each in mounts if each["name"] != "handler"]
    return answer


def test_the_files_are_mounted_where_handlers_are_looked_for() -> None:
    pod = deployment(worker(source=IMAGE))["spec"]["template"]["spec"]
    assert {"name": "handler", **IMAGE} in pod["volumes"]
    (container,) = pod["containers"]
    assert {"name": "handler", "mountPath": "/handler", "readOnly": True} in container["volumeMounts"]
    assert container["image"] == "default:1"


def test_another_reference_is_another_template() -> None:
    later = {"image": {"reference": f"registry.example.com/shop/handlers@sha256:{'0' * 64}"}}
    hashes = {
        deployment(worker(source=each))["spec"]["template"]["metadata"]["annotations"][
            "redisqueue.dev/config-hash"
        ]
        for each in (IMAGE, later)
    }
    assert len(hashes) == 2


@pytest.mark.parametrize("of", [lambda manifest: manifest, lambda manifest: canary_of(manifest, "emails")])
def test_a_volume_that_is_dropped_is_a_reason_not_to_write(of: Any) -> None:
    manifest = of(deployment(worker(source=IMAGE)))
    assert refusal(manifest, manifest) is None
    refused = refusal(manifest, dropped(manifest))
    assert refused is not None
    assert (refused.ok, refused.reason) == (False, "SourceUnsupported")
    for way_out in ("1.35", "ImageVolume", "spec.worker.source.configMapRef", "spec.worker.image"):
        assert way_out in refused.message


@pytest.mark.parametrize("obj", [redis_queue(), worker(source=IMAGE, template=OTHER)])
def test_nothing_is_asked_where_no_image_is_mounted(obj: dict[str, Any]) -> None:
    """Also where the user's own template puts something else into its place."""
    manifest = deployment(obj)
    assert not is_mounted_by(manifest)
    assert refusal(manifest, dropped(manifest)) is None
