"""Handlers that freeze the clock: the worker around them goes on, and so do their neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.worker_process import KEYS, WorkerProcess, counters, eventually, publish

if TYPE_CHECKING:
    from pathlib import Path

    import redis

# One message stops the clock until a file says that its neighbours are done.
CODE = """
import pathlib, time
import freezegun
from test_handlers import note

def handle(payload: str) -> None:
    if payload == "freeze":
        with freezegun.freeze_time({when!r}):
            note("frozen", payload)
            while not pathlib.Path("go").exists():
                time.sleep(0.02)
    note("done", payload)
"""


def lease_end(client: redis.Redis) -> float:
    """When the lease of the message in hand ends, in ms."""
    ((_, end),) = client.zrange(KEYS.lease_deadlines, 0, -1, withscores=True)
    return end


@pytest.mark.parametrize("when", ["1970-01-02", "2040-01-01"])
def test_a_frozen_clock_ends_no_handler_and_holds_up_no_other(
    redis_client: redis.Redis, redis_url: str, tmp_path: Path, when: str
) -> None:
    (tmp_path / "frosty.py").write_text(CODE.format(when=when))
    worker = WorkerProcess(
        tmp_path,
        redis_url,
        "record",
        concurrency=2,
        handler_timeout_seconds=120,
        visibility_timeout_seconds=4,
        heartbeat_seconds=0.5,
        max_delivery_count=3,
    )
    worker.settings["handler"] = "frosty:handle"
    with worker:
        publish(redis_client, "freeze")
        worker.until_noted("frozen", 1)
        for number in range(5):  # each comes to an idle worker, which has to be woken
            publish(redis_client, f"message {number}")
            worker.until_noted("done", number + 1)
        eventually(lambda: counters(redis_client).processing == 1, "only the frozen one is in hand")
        first = lease_end(redis_client)
        eventually(lambda: lease_end(redis_client) > first + 5000, "its lease is renewed again and again")
        worker.open_gate()
        worker.until_noted("done", 6)
        eventually(lambda: counters(redis_client).processing == 0, "all are settled")
        messages = worker.messages()
    assert worker.noted("frozen") == ["freeze"]
    assert counters(redis_client).dead_letter == 0
    assert not [text for text in messages if "timed out" in text or "lease" in text or "hang" in text]
