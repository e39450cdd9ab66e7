"""Handler files out of an image: rolled out and back by digest, or told that there can be none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.cluster import provider, wait_until

if TYPE_CHECKING:
    from tests.support.cluster import Manifest
    from tests.support.story import Story

FIRST_MINOR = 35
"""Of Kubernetes 1, whose API servers and kubelets have volumes of type image unasked."""
ONE_WORKER = {"minReplicas": 1, "maxReplicas": 2}


def minor(story: Story) -> int:
    """Of the API server's version."""
    told = json.loads(story.cluster.kubectl("version", "-o", "json"))
    return int(told["serverVersion"]["minor"].rstrip("+"))


@pytest.fixture
def newer(story: Story) -> Story:
    if minor(story) < FIRST_MINOR:
        pytest.skip(
            f"Kubernetes 1.{minor(story)} has no volumes of type image, 1.{FIRST_MINOR} has: KUBERNETES=1.37"
        )
    return story


@pytest.fixture
def older(story: Story) -> Story:
    if minor(story) >= FIRST_MINOR:
        pytest.skip(f"Kubernetes 1.{minor(story)} has volumes of type image: that one lacks them needs 1.34")
    return story


def artifact(folder: Path, version: str) -> str:
    """By what pods name an image of the stories' handler, and of a package beside it that has the version."""
    (folder / "version").mkdir(parents=True)
    (folder / "version" / "__init__.py").write_text(f"VERSION = {version!r}\n")
    handler = (Path(__file__).parent / "handler.py").read_text()
    (folder / "handler.py").write_text(
        handler.replace("    attempt =", "    note()\n    attempt =", 1) + NOTE
    )
    return provider("artifact", f"handler-{version}", str(folder))


NOTE = """

def note() -> None:
    import version

    if version.VERSION == "broken":
        raise RuntimeError("this version is broken")
    records.rpush(f"e2e:{story}:versions", version.VERSION)
"""


def with_image(story: Story, reference: str, **spec: Any) -> Manifest:
    """The RedisQueue with its handler out of that image, in the stock worker."""
    manifest = story.manifest(**{"scaling": ONE_WORKER, **spec})
    manifest["spec"]["worker"]["source"] = {"image": {"reference": reference}}
    return manifest


def handled_by(story: Story, number: int) -> list[str]:
    """The versions that have handled messages, once there are so many."""
    name = f"e2e:{story.name}:versions"
    wait_until(lambda: story.client.llen(name) >= number, 120, f"{number} messages are handled")
    return [each.decode() for each in story.client.lrange(name, 0, -1)]


def of_workers(story: Story) -> dict[str, Any]:
    found = story.cluster.get("deployment", f"{story.name}-worker", story.namespace)
    assert found is not None
    template: dict[str, Any] = found["spec"]["template"]
    return template


def mounted(story: Story) -> set[str]:
    """The images whose files the pods that are there mount."""
    return {
        volume["image"]["reference"]
        for pod in story.pods()
        for volume in pod["spec"]["volumes"]
        if "image" in volume
    }


def is_rolled_to(story: Story, reference: str) -> bool:
    return mounted(story) == {reference} and story.condition("Ready")[0] == "True"


def test_files_of_an_image_are_rolled_out_and_back_by_their_digest(newer: Story, tmp_path: Path) -> None:
    one, two = (artifact(tmp_path / version, version) for version in ("one", "two"))
    assert one != two
    for number, (reference, version) in enumerate(((one, "one"), (two, "two"), (one, "one")), start=1):
        newer.cluster.apply(with_image(newer, reference))
        wait_until(lambda reference=reference: is_rolled_to(newer, reference), 120, f"{version} runs")
        newer.publish([{"id": f"job-{number}", "seconds": 0}])
        assert handled_by(newer, number)[-1] == version
    newer.assert_each_once(["job-1", "job-2", "job-3"])
    stock = {"image": of_workers(newer)["spec"]["containers"][0]["image"]}
    assert "redisqueue-worker" in stock["image"]


def test_files_that_fail_on_trial_are_taken_back_by_itself(newer: Story, tmp_path: Path) -> None:
    gate = {"minMessages": 3, "maxFailurePercent": 20}
    trial = {"rollout": {"strategy": "Versioned", "canaryPercent": 50, "holdSeconds": 1, "gate": gate}}
    scaling = {"minReplicas": 2, "maxReplicas": 3}
    good, broken = (artifact(tmp_path / version, version) for version in ("good", "broken"))
    newer.cluster.apply(with_image(newer, good, scaling=scaling, **trial))
    wait_until(lambda: newer.ready_workers() >= 2, 120, "two workers are ready")
    newer.publish({"id": f"job-{number}", "seconds": 0.5} for number in range(60))
    worker = {"retry": {"maxAttempts": 10}}
    newer.cluster.apply(with_image(newer, broken, scaling=scaling, worker=worker, **trial))

    wait_until(lambda: newer.condition("Progressing") == ("False", "RolledBack"), 120, "it is refused")
    assert of_workers(newer)["spec"]["volumes"][-1]["image"]["reference"] == good
    newer.wait_for_ends(60, seconds=180)
    assert set(handled_by(newer, 60)) == {"good"}


def test_an_image_that_cannot_be_pulled_is_told_and_the_workers_before_stay(
    newer: Story, tmp_path: Path
) -> None:
    newer.cluster.apply(with_image(newer, artifact(tmp_path / "here", "here")))
    wait_until(lambda: newer.condition("Ready")[0] == "True", 120, "a worker is ready")
    newer.cluster.apply(with_image(newer, "localhost:1/handlers:absent"))

    def told() -> str:
        ready = [one for one in newer.resource()["status"]["conditions"] if one["type"] == "Ready"]
        return str(ready[0]["message"]) if ready[0]["reason"] == "PodsFailing" else ""

    message = wait_until(told, 180, "Ready says why")
    assert "localhost:1/handlers:absent" in message
    newer.publish([{"id": "job", "seconds": 0}])
    assert handled_by(newer, 1) == ["here"], "the worker before goes on"


def test_where_no_image_can_be_mounted_that_is_told_and_nothing_is_changed(older: Story) -> None:
    older.apply(scaling=ONE_WORKER)
    wait_until(lambda: older.condition("Ready")[0] == "True", 120, "a worker is ready")
    before = of_workers(older)
    older.cluster.apply(with_image(older, "registry.example.com/shop/handlers:1"))
    wait_until(lambda: older.condition("Ready") == ("False", "SourceUnsupported"), 60, "it is told")
    assert older.condition("Stalled") == ("True", "SourceUnsupported")
    wait_until(
        lambda: "SourceUnsupported" in {reason for reason, _ in older.events()}, 60, "an Event tells of it"
    )
    assert of_workers(older) == before
    older.publish([{"id": "job", "seconds": 0}])
    older.wait_for_ends(1, seconds=60)

    older.apply(scaling=ONE_WORKER)
    wait_until(lambda: older.condition("Ready")[0] == "True", 60, "well again with the ConfigMap")
    assert of_workers(older) == before
