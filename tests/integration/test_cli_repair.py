"""`redisqueue repair` from a shell, and the worker that takes back what it repaired."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.queues import everything
from tests.support.worker_process import WorkerProcess, eventually

from redis_message_queue import RedisMessageQueue
from redis_message_queue.consumer import Consumer
from redis_message_queue.keys import QueueKeys
from redisqueue_operator.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    import redis

KEYS = QueueKeys("jobs")


def repaired(capsys: pytest.CaptureFixture[str], url: str, *arguments: str) -> list[str]:
    assert main(["repair", "jobs", "--redis-url", url, *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def damaged(client: redis.Redis) -> None:
    """One message with a token alone, one without anything, one in its lease alone, one that is whole."""
    RedisMessageQueue("jobs", client=client).publish_many(["a", "b", "c", "d"])
    token, nothing, gone, _ = Consumer(client, "jobs").claim(4).claims
    client.zrem(KEYS.lease_deadlines, token.stored, nothing.stored)
    client.hdel(KEYS.lease_tokens, nothing.stored)
    client.lrem(KEYS.processing, 1, gone.stored)


def test_a_dry_run_counts_what_a_repair_makes_whole(
    redis_client: redis.Redis, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged(redis_client)
    before = everything(redis_client)
    assert repaired(capsys, redis_url, "--dry-run") == [
        "jobs: looked at 3 messages in processing",
        "  1 lease without an end: would come back in 300 s, unless renewed or settled",
        "  1 message without a lease: would come back in 3600 s, unless settled",
        "  1 lease without its message: would be put back into processing",
    ]
    assert everything(redis_client) == before
    assert main(["repair", "jobs", "--redis-url", redis_url]) == 1
    refused = capsys.readouterr()
    assert refused.out == ""
    assert refused.err.startswith("redisqueue: --yes: nothing is changed without it\n")
    assert "1 message without a lease: would come back" in refused.err
    assert everything(redis_client) == before
    assert repaired(capsys, redis_url, "--yes", "--grace", "7200")[1:] == [
        "  1 lease without an end: come back in 300 s, unless renewed or settled",
        "  1 message without a lease: come back in 7200 s, unless settled",
        "  1 lease without its message: put back into processing",
    ]
    assert repaired(capsys, redis_url) == ["jobs: looked at 4 messages in processing: each has its lease"]


def test_what_a_killed_worker_had_in_hand_is_handled_although_its_deadlines_were_evicted(
    redis_client: redis.Redis, redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    RedisMessageQueue("jobs", client=redis_client).publish("precious")
    Consumer(redis_client, "jobs").claim(1)
    redis_client.delete(KEYS.lease_deadlines, KEYS.lease_tokens)
    repaired(capsys, redis_url, "--yes", "--grace", "0.1")
    with WorkerProcess(tmp_path, redis_url, "record", queue="jobs"):
        eventually(lambda: not redis_client.exists(KEYS.processing, KEYS.pending), "the message is handled")


def test_a_queue_of_which_nothing_but_its_leases_is_left_is_repaired(
    redis_client: redis.Redis, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged(redis_client)
    redis_client.delete(KEYS.processing, KEYS.lease_token_counter)
    assert repaired(capsys, redis_url, "--yes")[1:] == [
        "  3 leases without their messages: put back into processing"
    ]
    assert redis_client.llen(KEYS.processing) == 3


def test_a_grace_beyond_all_plans_is_named(
    redis_client: redis.Redis, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    redis_client.lpush(KEYS.pending, "one")
    assert main(["repair", "jobs", "--redis-url", redis_url, "--grace", "1e12"]) == 2
    assert "--grace must not be above" in capsys.readouterr().err


@pytest.mark.parametrize("grace", ["0", "-1", "soon", "inf"])
def test_a_wrong_grace_is_wrong_usage(grace: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["repair", "jobs", f"--grace={grace}"])
    assert ended.value.code == 2
