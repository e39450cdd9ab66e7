"""No message keeps others waiting: neither one that is retried at once, nor many that fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.worker_process import WorkerProcess, counters, eventually, publish

if TYPE_CHECKING:
    from pathlib import Path

    import redis


def test_a_retry_at_once_goes_behind_those_that_wait(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, "again 0", "first", "second")
    with WorkerProcess(tmp_path, redis_url, "postponing", max_delivery_count=0) as worker:
        worker.until_noted("finished", 2)
        assert worker.noted("started")[:3] == ["again 0", "first", "second"]
        (tmp_path / "go-done").touch()
        worker.until_noted("finished", 3)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_retries_that_are_due_all_the_time_take_every_other_place_at_most(
    concurrency: int, tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    often = [f"again 0.00{number}" for number in range(1, 7)]
    good = [f"good{number}" for number in range(30)]
    publish(redis_client, *often, *good)
    settings = {"concurrency": concurrency, "max_delivery_count": 0}
    with WorkerProcess(tmp_path, redis_url, "postponing", **settings) as worker:
        worker.until_noted("finished", len(good))
        started = worker.noted("started")
        last = started.index(good[-1])
        assert last <= 2 * (len(often) + len(good)) + concurrency
        (tmp_path / "go-done").touch()
        worker.until_noted("finished", len(often) + len(good))


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_good_message_is_reached_behind_a_hundred_that_fail(
    concurrency: int, tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, *(f"bad{number}" for number in range(100)), "good")
    with WorkerProcess(tmp_path, redis_url, "broken", concurrency=concurrency) as worker:
        worker.until_noted("finished", 1)
        started = [line.split()[0] for line in worker.noted("started")]
        # Those that were claimed together with it may have begun later.
        assert len(set(started)) > 101 - concurrency, "each was tried"


def test_a_good_message_that_comes_while_only_failed_ones_wait_is_handled_before_them(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, *(f"bad{number}" for number in range(8)))
    settings = {"circuit_breaker_failures": 2, "max_attempts": 9}
    with WorkerProcess(tmp_path, redis_url, "broken", **settings) as worker:
        pause = worker.logged("failures in a row: claiming nothing for a while, then one message", count=3)
        assert pause["pause_seconds"] >= 4
        eventually(lambda: counters(redis_client).delayed == 8, "only retries are left, and none is in hand")
        tried = len(worker.noted("started"))
        publish(redis_client, "good")
        worker.until_noted("finished", 1)
        assert worker.noted("started")[tried] == "good 1"
