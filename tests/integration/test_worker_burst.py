"""A burst works a queue off, retries that are soon due included, and never stays for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis
from tests.support.worker_process import QUEUE, WorkerProcess, counters, eventually, publish

from redis_message_queue import RedisMessageQueue
from redis_message_queue.consumer import Consumer, Limits, Outcome, Settlement
from redisqueue_worker.embedded_redis import EmbeddedRedis, free_port
from redisqueue_worker.shutdown import EXIT_IMPATIENT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("slots", ["threads", "processes"])
def test_retries_that_are_soon_due_are_waited_for(
    slots: str, tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, "0 kills 2 failures", "good", "other")
    settings = {"retry_initial_seconds": 0.5, "slots": slots}
    with WorkerProcess(tmp_path, redis_url, "deadly", burst=True, **settings) as worker:
        assert worker.wait() == 0
    assert sorted(worker.noted("finished")) == ["0 kills 2 failures", "good", "other"]
    after = counters(redis_client)
    assert (after.pending, after.processing, after.delayed, after.dead_letter) == (0, 0, 0, 0)


def test_what_is_due_later_than_its_patience_is_left(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, "again 60", "good")
    settings = {"burst": True, "burst_patience_seconds": 5}
    with WorkerProcess(tmp_path, redis_url, "postponing", **settings) as worker:
        assert worker.wait() == 0
    assert worker.noted("finished") == ["good"]
    assert counters(redis_client).delayed == 1


@pytest.mark.parametrize("limit", ["rate_per_second", "key_rate_per_second"])
def test_what_waits_for_a_rate_is_waited_for(
    limit: str, tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    names = [f"{number} good" for number in range(4)]
    RedisMessageQueue(QUEUE, client=redis_client).enqueue_many(names, limit_key="tenant")
    with WorkerProcess(tmp_path, redis_url, "postponing", burst=True, **{limit: 4}) as worker:
        assert worker.wait() == 0
    assert worker.noted("finished") == names
    assert counters(redis_client).pending == 0


@pytest.mark.parametrize("limit", ["max_in_flight", "key_max_in_flight"])
def test_what_others_have_in_hand_of_a_limit_is_waited_for(
    limit: str, tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    RedisMessageQueue(QUEUE, client=redis_client).enqueue_many(["first", "second"], limit_key="tenant")
    one = Limits(max_in_flight=1)
    other = Consumer(redis_client, QUEUE, **{"key_limits" if limit.startswith("key") else "limits": one})
    (claim,) = other.claim(1).claims
    settings = {"burst": True, "burst_patience_seconds": 60, limit: 1}
    with WorkerProcess(tmp_path, redis_url, "postponing", **settings) as worker:
        eventually(lambda: counters(redis_client).workers, "it is at work")
        other.settle([Settlement(claim, Outcome.DONE)])
        assert worker.wait() == 0
    assert worker.noted("finished") == ["second"]


@pytest.mark.parametrize("delay", ["0", "0.3"])
def test_a_message_that_is_retried_for_ever_does_not_keep_it(
    delay: str, tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, f"again {delay}", "good")
    settings = {"burst": True, "burst_patience_seconds": 4, "max_delivery_count": 0}
    with WorkerProcess(tmp_path, redis_url, "postponing", **settings) as worker:
        assert worker.wait() == EXIT_IMPATIENT
    assert worker.noted("finished") == ["good"]
    after = counters(redis_client)
    assert after.pending + after.delayed == 1, "and it is not lost"
    assert after.processing == 0


def test_all_failing_messages_come_to_an_end(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, *(f"bad{number}" for number in range(3)))
    settings = {"burst": True, "circuit_breaker_failures": 2, "max_attempts": 2}
    with WorkerProcess(tmp_path, redis_url, "broken", **settings) as worker:
        assert worker.wait(60) == 0
    assert counters(redis_client).dead_letter == 3


def test_an_import_that_takes_longer_than_its_patience_is_no_waiting(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    (tmp_path / "slow_import.py").write_text(
        "import time\ntime.sleep(3)\ndef handle(payload): time.sleep(1)\n"
    )
    publish(redis_client, "good")
    worker = WorkerProcess(tmp_path, redis_url, "", burst=True, burst_patience_seconds=2)
    worker.settings["handler"] = "slow_import:handle"
    with worker:
        assert worker.wait() == 0
    assert counters(redis_client).pending == 0


def test_without_redis_it_gives_up(tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    with WorkerProcess(tmp_path, url, "gated", burst=True, burst_patience_seconds=1) as worker:
        assert worker.wait(60) == EXIT_IMPATIENT


def test_when_redis_goes_away_it_gives_up(tmp_path: Path) -> None:
    with EmbeddedRedis() as server, redis.Redis.from_url(server.url) as client:
        publish(client, "again 2")
        settings = {"burst": True, "burst_patience_seconds": 3}
        worker = WorkerProcess(tmp_path, server.url, "postponing", **settings).start()
        worker.until_noted("started", 1)
    try:
        assert worker.wait(60) == EXIT_IMPATIENT
    finally:
        worker.__exit__()
