"""Results of handlers, of each kind of slot, for whoever waits for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import PATIENCE_SECONDS
from tests.support.worker_process import KEYS, WorkerProcess, counters, eventually

from redis_message_queue import RedisMessageQueue
from redis_message_queue.results import Result

if TYPE_CHECKING:
    from pathlib import Path

    import redis


@pytest.mark.parametrize(
    ("handler", "slots"),
    [("returning", "auto"), ("returning_async", "auto"), ("returning", "processes")],
    ids=["threads", "tasks", "processes"],
)
def test_it_is_kept_what_the_handler_returned_or_why_it_failed(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, handler: str, slots: str
) -> None:
    queue = RedisMessageQueue("jobs", client=redis_client)
    for payload in ("ok", "odd", "retry", "dead", "boom"):
        queue.enqueue(payload, message_id=payload)
    settings = {"slots": slots, "concurrency": 2, "max_attempts": 2, "results_ttl_seconds": 600}
    with WorkerProcess(tmp_path, redis_url, handler, **settings) as worker:
        told = {
            one: queue.result(one, timeout_seconds=PATIENCE_SECONDS)
            for one in ("ok", "odd", "retry", "dead", "boom")
        }
        assert len(worker.until_noted("started", 7)) == 7  # what cannot be told is done all the same
    assert told == {
        "ok": Result("completed", {"told": "ok", "delivery": 1}),
        "odd": Result(
            "completed",
            None,
            "the value that the handler returned is not kept: bytes cannot be said in JSON; decode it, or"
            " send it as base64 text",
        ),
        "retry": Result("completed", {"told": "retry", "delivery": 2}),
        "dead": Result("failed", None, "nobody wants it"),
        "boom": Result("failed", None, "RuntimeError: boom happened (attempt 2 of 2)"),
    }
    assert 0 < redis_client.pttl(KEYS.result("ok")) <= 600_000


def test_without_the_setting_nothing_is_kept(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    queue = RedisMessageQueue("jobs", client=redis_client)
    queue.enqueue("ok", message_id="ok")
    with WorkerProcess(tmp_path, redis_url, "returning") as worker:
        worker.until_noted("finished", 1)
        eventually(lambda: counters(redis_client).in_flight == 0, "it is settled")
    assert queue.result("ok") is None
    assert not [*redis_client.scan_iter(f"{KEYS.result_prefix}*")]
