"""Redis lost its last writes, as in a failover to a replica that lagged: tokens come again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.worker_process import KEYS, WorkerProcess, counters, eventually, publish

if TYPE_CHECKING:
    from pathlib import Path

    import redis

LOST = "lease lost: this outcome does not count"


@pytest.mark.parametrize(
    ("handler", "slots"), [("gated", "threads"), ("gated_async", "tasks"), ("gated", "processes")]
)
def test_a_message_under_a_token_that_comes_again_keeps_its_own_lease(
    handler: str, slots: str, tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    settings = {"slots": slots, "concurrency": 3, "visibility_timeout_seconds": 4, "heartbeat_seconds": 0.5}
    with WorkerProcess(tmp_path, redis_url, handler, **settings) as worker:
        publish(redis_client, "old")
        worker.until_noted("started", 1)
        redis_client.delete(*redis_client.keys("jobs::p*"))
        publish(redis_client, "new")
        worker.until_noted("started", 2)
        (stored, token), *others = redis_client.hgetall(KEYS.lease_tokens).items()
        assert (token, others) == (b"1", []), "the very token that the old one has"
        first_end = redis_client.zscore(KEYS.lease_deadlines, stored)
        assert first_end is not None
        worker.open_gate("old")
        worker.logged(LOST)

        def lease_end() -> float:
            return redis_client.zscore(KEYS.lease_deadlines, stored) or 0.0

        eventually(lambda: lease_end() > first_end + 4500, "renewed for longer than a lease lasts")
        eventually(lambda: [one.busy for one in counters(redis_client).workers] == [1], "told as busy")
        worker.open_gate("new")
        worker.until_noted("finished", 2)
        eventually(lambda: counters(redis_client).processing == 0, "settled")
        assert worker.noted("started") == ["old", "new"]


def test_the_same_lease_granted_again_is_no_second_message(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    with WorkerProcess(tmp_path, redis_url, "gated", concurrency=2) as worker:
        publish(redis_client, "once")
        worker.until_noted("started", 1)
        (stored,) = redis_client.hgetall(KEYS.lease_tokens)
        redis_client.delete(*redis_client.keys("jobs::p*"))
        redis_client.rpush(KEYS.pending, stored)  # as it was before the claim
        eventually(lambda: redis_client.hget(KEYS.lease_tokens, stored) == b"1", "claimed again")
        worker.open_gate()
        eventually(lambda: counters(redis_client).processing == 0, "settled")
        publish(redis_client, "next")
        worker.until_noted("finished", 2)
        assert worker.noted("started") == ["once", "next"]
