"""Deduplication through a worker and a shell: what was given up may come again, keys are said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.worker_process import KEYS, QUEUE, WorkerProcess, eventually

from redis_message_queue import RedisMessageQueue
from redisqueue_operator.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    import redis

NOTING = """
from decimal import Decimal

def once(payload: str, context):
    told = [context.publish(text, queue="told", deduplication_key="k", deduplication_seconds=60)
            for text in ("first", "second")]
    context.publish("plain", queue="told")
    context.publish("plain", queue="told")
    assert told == [True, False], told

    first, second = [context.enqueue({"n": Decimal(n)}, queue="enqueued", deduplication_key="k")
                     for n in (1, 2)]
    assert first and not second and second.first_id == first.message_id, (first, second)

async def once_async(payload: str, context):
    assert await context.enqueue_async(["a"], queue="enqueued", at_front=True, message_id="mine",
                                       priority="high", limit_key="tenant-7")
    assert await context.publish_async("first", queue="told", deduplication_key="k")
    assert not await context.publish_async("second", queue="told", deduplication_key="k")
"""


def test_a_message_that_became_a_dead_letter_is_published_again(
    redis_client: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    queue = RedisMessageQueue(QUEUE, client=redis_client)
    with WorkerProcess(tmp_path, redis_url, "outcome", max_attempts=2, retry_initial_seconds=0.01):
        for round_ in (1, 2):
            assert queue.publish("dead") is True
            assert queue.publish("boom") is True
            eventually(
                lambda wanted=2 * round_: redis_client.llen(KEYS.dead_letter) == wanted, "both are given up"
            )
        assert queue.publish("good") is True
        eventually(lambda: not redis_client.exists(KEYS.pending, KEYS.processing), "it is handled")
        assert queue.publish("good") is False


@pytest.mark.parametrize(("handler", "expected"), [("once", 3), ("once_async", 1)])
@pytest.mark.parametrize("slots", ["auto", "processes"])
def test_a_handler_publishes_once_for_each_key(
    redis_client: redis.Redis, redis_url: str, tmp_path: Path, handler: str, expected: int, slots: str
) -> None:
    (tmp_path / "noting.py").write_text(NOTING)
    worker = WorkerProcess(tmp_path, redis_url, "outcome", slots=slots)
    worker.settings["handler"] = f"noting:{handler}"
    with worker:
        RedisMessageQueue(QUEUE, client=redis_client).publish("go")
        eventually(lambda: not redis_client.exists(KEYS.pending, KEYS.processing), "it is handled")
    assert redis_client.llen("told::pending") == expected
    assert redis_client.llen("enqueued::pending") == 1
    assert redis_client.llen(KEYS.dead_letter) == redis_client.zcard(KEYS.delayed) == 0


def test_the_shell_takes_a_key_and_a_time(
    redis_client: redis.Redis, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--redis-url", redis_url, "--deduplication-key", "k"]
    assert main(["publish", "jobs", "one", *where, "--deduplication-seconds", "60"]) == 0
    assert main(["publish", "jobs", "two", *where]) == 0
    said = "published 1 to jobs\npublished 0 to jobs, skipped 1 duplicates\n"
    assert capsys.readouterr().out == said
    assert 50 < redis_client.ttl("jobs::deduplication::k") <= 60
    for wrong in (["a", "b", *where], ["a", "--deduplication-seconds", "5"], ["a", "--deduplication-key="]):
        assert main(["publish", "jobs", *wrong, "--redis-url", redis_url]) == 2
        assert "--deduplication-" in capsys.readouterr().err
