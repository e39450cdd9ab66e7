"""Where handlers are quick, a worker has more messages in hand than slots: none is harmed by it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from tests.support.worker_process import KEYS, WorkerProcess, counters, eventually, publish

from redis_message_queue import envelope

if TYPE_CHECKING:
    from pathlib import Path

    import redis

SLOTS = 4


@pytest.mark.parametrize("handler", ["brief", "brief_async"])
def test_a_drain_gives_back_in_order_what_no_slot_has_begun_with(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, handler: str
) -> None:
    sent = [f"{number:05}" for number in range(20_000)]
    publish(redis_client, *sent)
    with WorkerProcess(tmp_path, redis_url, handler, concurrency=SLOTS) as worker:
        eventually(lambda: counters(redis_client).in_flight > SLOTS, "more in hand than slots")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    assert 1 < max(map(int, worker.noted("peaks"))) <= SLOTS, "none runs beyond the slots"
    handled = worker.noted("tally")
    left = [envelope.decode(stored).payload.decode() for stored in redis_client.lrange(KEYS.pending, 0, -1)]
    assert left[::-1] == sent[len(handled) :], "none was begun out of turn"
    assert sorted(handled) == sent[: len(handled)], "each was handled once"
    after = counters(redis_client)
    assert (after.processing, after.in_flight, redis_client.hlen(KEYS.delivery_counts)) == (0, 0, 0)


@pytest.mark.parametrize("handler", ["brief", "brief_async"])
def test_what_waits_behind_handlers_that_hang_goes_to_another_worker(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, handler: str
) -> None:
    quick = [f"quick {number}" for number in range(400)]
    held = [f"held {number}" for number in range(SLOTS)]
    publish(redis_client, *quick[:200], *held, *quick[200:])
    with WorkerProcess(tmp_path, redis_url, handler, concurrency=SLOTS) as worker:
        worker.until_noted("started", SLOTS)
        eventually(lambda: counters(redis_client).in_flight == SLOTS, "the others are given back")
        with WorkerProcess(tmp_path, redis_url, handler, concurrency=SLOTS, worker_id="worker-2"):
            worker.until_noted("tally", len(quick))
            worker.open_gate()
            worker.until_noted("tally", len(quick) + len(held))
    assert sorted(worker.noted("tally")) == sorted(quick + held), "each was handled once"
