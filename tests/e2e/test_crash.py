"""A worker killed in mid-message costs its messages a moment, not their visibility timeout."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.support.cluster import provider, wait_until

if TYPE_CHECKING:
    from tests.support.story import Story

IN_HAND = 16
# The default lease is 120 s, and was renewed 30 s ago at most: by itself none ends sooner than after this.
SOONEST_SECONDS = 90


def test_killed_worker(story: Story) -> None:
    worker = {"concurrency": IN_HAND}
    story.apply(worker=worker, scaling={"minReplicas": 1, "maxReplicas": 1})
    story.publish({"id": f"long-{n}", "seconds": 600, "seconds_again": 0.05} for n in range(IN_HAND))
    starts = wait_until(lambda: len(found := story.starts()) == IN_HAND and found, 60, "all are in hand")
    (dying,) = {entry.pod for entry in starts}
    (victim,) = [pod for pod in story.pods() if pod["metadata"]["name"] == dying]
    story.apply(worker=worker, scaling={"minReplicas": 2, "maxReplicas": 2})
    wait_until(lambda: story.ready_workers() == 2, 60, "another one is idle")

    provider("kill", victim["metadata"]["uid"])
    story.wait_for_ends(IN_HAND, seconds=SOONEST_SECONDS - 20)

    assert set(Counter(entry.id for entry in story.starts()).values()) == {2}
    wait_until(
        lambda: "MessagesReturned" in {reason for reason, _ in story.events()}, 60, "an Event tells of it"
    )
