"""Cancelling what a worker has in hand: a task ends, a process is killed, a thread may look."""

from __future__ import annotations

import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.waiting import PATIENCE_SECONDS
from tests.support.worker_process import KEYS, WorkerProcess, alive, counters, eventually

from redis_message_queue import RedisMessageQueue
from redis_message_queue.results import Result
from redisqueue_worker.embedded_redis import free_port

if TYPE_CHECKING:
    from pathlib import Path

    import redis

CANCELLED = Result("cancelled", None, "cancelled while it was handled")


def queue_of(client: redis.Redis, *payloads: str) -> Any:
    queue = RedisMessageQueue("jobs", client=client)
    for payload in payloads:
        queue.enqueue(payload, message_id=payload)
    return queue


@pytest.mark.parametrize(
    ("handler", "slots"),
    [
        ("looking", "auto"),
        ("looking_async", "auto"),
        ("looking", "processes"),
        ("looking_async", "processes"),
    ],
    ids=["threads", "tasks", "processes", "tasks in processes"],
)
def test_a_running_handler_ends_and_its_message_does_not_come_again(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, handler: str, slots: str
) -> None:
    # What runs in a process is killed, unless it looks and ends before: that one never looks.
    one = "blind" if slots == "processes" else "looks"
    queue = queue_of(redis_client, one, "other")
    port = free_port()
    settings = {"slots": slots, "concurrency": 2, "results_ttl_seconds": 600, "http_port": port}
    with WorkerProcess(tmp_path, redis_url, handler, **settings) as worker:
        started = dict(note.split() for note in worker.until_noted("started", 2))
        assert queue.cancel(one) == "requested"
        assert queue.result(one, timeout_seconds=PATIENCE_SECONDS) == CANCELLED
        if slots == "processes":
            eventually(lambda: not alive(int(started[one])), "its process is killed")
            assert alive(int(started["other"]))
        elif handler == "looking_async":
            assert worker.noted("cancelled") == ["looks True"]
        worker.open_gate("other")
        assert queue.result("other", timeout_seconds=PATIENCE_SECONDS) == Result("completed", "other")
        queue.enqueue("next", message_id="next")
        worker.open_gate("next")
        assert queue.result("next", timeout_seconds=PATIENCE_SECONDS) == Result("completed", "next")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
            numbers = page.read().decode()
    assert 'redisqueue_worker_messages_total{outcome="cancelled"} 1.0' in numbers
    assert [note.split()[0] for note in worker.noted("started")].count(one) == 1
    assert counters(redis_client).dead_letter == 0
    assert not redis_client.exists(KEYS.cancelled)


def test_a_thread_that_never_looked_has_done_its_work(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    queue = queue_of(redis_client, "blind")
    with WorkerProcess(tmp_path, redis_url, "looking", results_ttl_seconds=600) as worker:
        worker.until_noted("started", 1)
        assert queue.cancel("blind") == "requested"
        worker.logged("cancelled: its handler is told")
        worker.open_gate()
        assert queue.result("blind", timeout_seconds=PATIENCE_SECONDS) == Result("completed", "blind")
    assert not redis_client.exists(KEYS.cancelled)


def test_what_is_cancelled_beside_a_crash_is_not_started_again(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    queue = queue_of(redis_client, "blind", "other")
    with WorkerProcess(tmp_path, redis_url, "looking", worker_id="first", concurrency=2) as first:
        first.until_noted("started", 2)
        assert queue.cancel("blind") == "requested"
    with WorkerProcess(tmp_path, redis_url, "looking", worker_id="first") as again:  # which gives them back
        again.until_noted("started", 3)
        again.open_gate()
        again.until_noted("finished", 1)
        eventually(lambda: counters(redis_client).in_flight == 0, "it is settled")
    assert [note.split()[0] for note in again.noted("started")].count("blind") == 1
    assert queue.result("blind") == Result("cancelled", None, "cancelled before it came again")
