"""A worker that starts afresh loses neither work nor its place; one in a burst leaves when nothing waits."""

from __future__ import annotations

import signal
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest
import redis
from tests.support.waiting import PATIENCE_SECONDS
from tests.support.worker_process import QUEUE, WorkerProcess, counters, eventually, publish

from redis_message_queue import RedisMessageQueue
from redisqueue_worker.embedded_redis import EmbeddedRedis, free_port

if TYPE_CHECKING:
    from pathlib import Path


def test_a_worker_of_a_certain_age_starts_afresh_under_its_name(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    with WorkerProcess(tmp_path, redis_url, "gated", max_age_seconds=0.5) as worker:
        worker.open_gate()
        assert worker.logged("time to start afresh")["reason"].endswith(" s")
        worker.logged("started", count=2)
        publish(redis_client, "a")
        worker.until_noted("finished", 1)
        assert [state.id for state in counters(redis_client).workers] == ["worker-1"]
        assert worker.running


def test_a_worker_that_outgrew_its_memory_starts_afresh(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, *(f"m{number}" for number in range(30)))
    with WorkerProcess(tmp_path, redis_url, "leak", max_memory_mib=120) as worker:
        worker.until_noted("finished", 30)
        assert worker.logged("time to start afresh")["reason"].endswith(" MiB")
        worker.logged("started", count=2)
    assert sorted(note.split()[0] for note in worker.noted("finished")) == sorted(
        f"m{number}" for number in range(30)
    )


def test_no_probe_is_refused_while_the_process_is_replaced(tmp_path: Path, redis_url: str) -> None:
    port = free_port()
    settings = {"http_port": port, "max_age_seconds": 0.3}
    with WorkerProcess(tmp_path, redis_url, "gated", **settings) as worker:
        answers = 0
        while worker.messages().count("started") < 3 or answers < 10:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=PATIENCE_SECONDS) as answer:
                assert answer.status == 200
            answers += 1


def test_it_finishes_and_settles_what_it_has_before_it_starts_afresh(tmp_path: Path) -> None:
    """Redis is away at that moment: results are worth the wait."""
    arguments = ("--appendonly", "yes", "--appendfsync", "always")
    with EmbeddedRedis(arguments=arguments) as server, redis.Redis.from_url(server.url) as client:
        publish(client, "a")
        settings = {"reload": True, "drain_timeout_seconds": 0.5}
        with WorkerProcess(tmp_path, server.url, "gated", **settings) as worker:
            worker.until_noted("started", 1)
            server.stop(kill=True)
            worker.open_gate()
            (tmp_path / "changed.py").touch()
            worker.logged("drain started by recycle")
            begun = time.monotonic()
            eventually(lambda: time.monotonic() > begun + 1, "twice the drain timeout")
            assert "starting afresh" not in worker.messages()
            server.start()
            worker.logged("starting afresh")
            assert counters(client).processing == 0
            worker.logged("started", count=2)
        assert worker.noted("finished") == ["a"]


def test_sigterm_while_it_starts_afresh_is_heard(tmp_path: Path, redis_url: str) -> None:
    with WorkerProcess(tmp_path, redis_url, "gated", max_age_seconds=0.3) as worker:
        worker.logged("starting afresh")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0


@pytest.mark.parametrize("handler", ["gated", "gated_async"])
def test_a_burst_ends_when_nothing_waits(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, handler: str
) -> None:
    payloads = [f"m{number}" for number in range(20)]
    publish(redis_client, *payloads)
    with WorkerProcess(tmp_path, redis_url, handler, burst="true", concurrency=3) as worker:
        worker.until_noted("started", 3)
        assert worker.running
        worker.open_gate()
        assert worker.wait() == 0
    assert sorted(worker.noted("finished")) == sorted(payloads)
    assert worker.logged("drained")["reason"] == "queue empty"
    after = counters(redis_client)
    assert (after.pending, after.processing, after.workers) == (0, 0, ())


def test_a_burst_waits_for_its_own_slow_message(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, "slow", "quick")
    with WorkerProcess(tmp_path, redis_url, "gated", burst="true", concurrency=2) as worker:
        worker.open_gate("quick")
        worker.until_noted("finished", 1)
        begun = time.monotonic()
        eventually(lambda: time.monotonic() > begun + 1.5, "longer than an idle worker's poll")
        assert worker.running
        publish(redis_client, "late")
        worker.open_gate()
        assert worker.wait() == 0
    assert sorted(worker.noted("finished")) == ["late", "quick", "slow"]


def test_a_burst_takes_what_is_due_and_leaves_what_is_not(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    queue = RedisMessageQueue(QUEUE, client=redis_client, deduplication=False)
    queue.publish("due", delay_seconds=0.05)
    queue.publish("later", delay_seconds=60)
    eventually(lambda: counters(redis_client).delayed_due == 1, "one is due")
    worker = WorkerProcess(tmp_path, redis_url, "own_pid", burst="true")
    try:
        assert worker.start().wait() == 0
    finally:
        worker.__exit__()
    assert [note.split()[0] for note in worker.noted("finished")] == ["due"]
    assert counters(redis_client).delayed == 1


def test_a_burst_of_processes_leaves_none_behind(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, *"abcd")
    worker = WorkerProcess(tmp_path, redis_url, "own_pid", burst="true", slots="processes", concurrency=2)
    try:
        assert worker.start().wait() == 0
    finally:
        worker.__exit__()
    assert sorted(note.split()[0] for note in worker.noted("finished")) == list("abcd")
