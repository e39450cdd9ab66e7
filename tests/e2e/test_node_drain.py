"""`kubectl drain` of a node with busy workers: each finishes what it has, nothing is lost or repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.cluster import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.story import Story

SECONDS = 10  # of each handler


@pytest.fixture
def node(story: Story) -> Iterator[str]:
    """The node that a worker of the story will run on; it takes pods again afterwards."""
    (first, *_) = story.cluster.list("nodes", story.namespace)
    name = first["metadata"]["name"]
    yield name
    story.cluster.kubectl("uncordon", name)


def test_node_drain(story: Story, node: str) -> None:
    ids = [f"job-{number}" for number in range(6)]
    story.apply(scaling={"maxReplicas": 3, "backlogPerSlot": 1})
    story.publish({"id": one, "seconds": SECONDS} for one in ids)
    story.wait_for_starts(3, seconds=60)
    wait_until(lambda: story.ready_workers() == 3, 60, "three workers are ready")
    busy = {entry.pod for entry in story.starts()}

    selector = f"--pod-selector=redisqueue.dev/queue={story.name}"
    story.cluster.kubectl("drain", node, selector, "--delete-emptydir-data", "--timeout=120s")
    assert not busy & {pod["metadata"]["name"] for pod in story.pods()}, "a drained pod is still there"
    started, ended = story.starts(), story.ends()
    assert {entry.id for entry in started} == {entry.id for entry in ended}, "a handler was interrupted"

    story.cluster.kubectl("uncordon", node)
    story.wait_for_ends(len(ids), seconds=120)
    story.assert_each_once(ids)
