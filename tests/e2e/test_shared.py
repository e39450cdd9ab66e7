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
    ids: list[str] = []

    def all_work() -> bool:
        """There is work for all until all have begun, however long their pods take to come."""
        while story.client.llen(f"{story.name}::pending") < 20:
            ids.append(f"job-{len(ids)}")
            story.publish([{"id": ids[-1], "seconds": 0.5}])
        return all(each.ready_workers() > 0 for each in parties)

    wait_until(all_work, 120, "both have workers")
    for each in parties:
        assert each.condition("Ready")[1] != "Conflict"
    story.wait_for_ends(len(ids), seconds=90)
    story.assert_each_once(ids)
    pods = {entry.pod for entry in story.starts()}
    assert len(pods) >= 2, pods
    for each in parties:
        each.wait_for_zero(60)
