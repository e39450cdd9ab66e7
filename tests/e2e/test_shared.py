"""Two RedisQueues that share one queue, as those of two clusters would, work it side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.e2e.conftest import TENANT
from tests.support.cluster import wait_until
from tests.support.story import Story

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARED = {"sharing": "Shared"}


@pytest.fixture
def other(story: Story) -> Iterator[Story]:
    """A RedisQueue of another namespace on the same queue."""
    other = Story(story.cluster, TENANT, story.name, story.client, story.redis_url)
    yield other
    story.cluster.kubectl(
        "-n", TENANT, "delete", "redisqueue", story.name, "--ignore-not-found", "--wait=false"
    )


def test_two_parties_share_the_work_and_rest_when_it_is_done(story: Story, other: Story) -> None:
    parties = (story, other)
    for each in parties:
        each.apply(queue=SHARED, scaling={"maxReplicas": 2, "backlogPerSlot": 1})
    ids = [f"job-{number}" for number in range(60)]
    story.publish({"id": one, "seconds": 0.5} for one in ids)
    for each in parties:
        wait_until(lambda each=each: each.ready_workers() > 0, 60, f"{each.namespace} works, too")
        assert each.condition("Ready")[1] != "Conflict"
    story.wait_for_ends(len(ids), seconds=90)
    story.assert_each_once(ids)
    pods = {entry.pod for entry in story.starts()}
    assert len(pods) >= 2, pods
    for each in parties:
        each.wait_for_zero(60)
