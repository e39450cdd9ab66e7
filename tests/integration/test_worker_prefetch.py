"""Where handlers are quick, a worker has more messages in hand than slots: none is harmed by it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from tests.support.fault_proxy import Fault, FaultProxy
from tests.support.worker_process import KEYS, WorkerProcess, counters, eventually, publish

from redis_message_queue import envelope
from redis_message_queue.stats import retire

if TYPE_CHECKING:
    from pathlib import Path

    import redis

    from redisqueue_worker.embedded_redis import EmbeddedRedis

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


def test_where_calls_take_longer_than_handlers_two_of_them_have_enough_to_carry(
    tmp_path: Path, redis_server: EmbeddedRedis, redis_client: redis.Redis
) -> None:
    sent = [f"{number:05}" for number in range(20_000)]
    publish(redis_client, *sent)
    with (
        FaultProxy(redis_server.port, lambda _: Fault.DELAY) as proxy,
        WorkerProcess(tmp_path, proxy.url, "brief", concurrency=SLOTS) as worker,
    ):
        found = [eventually(lambda: in_hand(redis_client, more_than=2 * SLOTS), "a second call brings more")]
        found += [redis_client.llen(KEYS.processing) for _ in range(500)]
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    assert max(found) <= 4 * SLOTS
    assert 1 < max(map(int, worker.noted("peaks"))) <= SLOTS, "none runs beyond the slots"
    handled = worker.noted("tally")
    assert waiting(redis_client) == sent[len(handled) :], "none was begun out of turn"
    assert sorted(handled) == sent[: len(handled)], "each was handled once"


def in_hand(client: redis.Redis, *, more_than: int) -> int | None:
    """How many messages the worker has; None where that is not more."""
    number = client.llen(KEYS.processing)
    return number if number > more_than else None


def waiting(client: redis.Redis) -> list[str] | None:
    """What waits, the next one first, once nothing is in hand; None before."""
    with client.pipeline() as pipe:
        in_hand, stored = pipe.llen(KEYS.processing).lrange(KEYS.pending, 0, -1).execute()
    return None if in_hand else [str(envelope.decode(one.decode()).payload) for one in reversed(stored)]


@pytest.mark.parametrize("handler", ["brief_unless_bad", "brief_unless_bad_async"])
def test_an_open_circuit_breaker_gives_back_in_order_what_no_slot_has_begun_with(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, handler: str
) -> None:
    sent = [f"{'bad' if 400 <= number < 500 else 'good'} {number:05}" for number in range(2_000)]
    publish(redis_client, *sent)
    settings = {"circuit_breaker_failures": 3, "max_attempts": 10, "concurrency": SLOTS}
    with WorkerProcess(tmp_path, redis_url, handler, **settings) as worker:
        worker.logged("failures in a row: claiming nothing for a while, then one message")
        left = eventually(lambda: waiting(redis_client), "all is given back")
        begun = {*worker.noted("begun")}
        untouched = [payload for payload in left if payload not in begun]
        assert untouched == [payload for payload in sent if payload not in begun]
        (tmp_path / "fixed").touch()
        worker.until_noted("tally", len(sent))
        eventually(lambda: counters(redis_client).processing == 0, "all is settled")
    assert sorted(worker.noted("tally")) == sorted(sent), "each was handled once"
    after = counters(redis_client)
    assert (after.pending, after.delayed, after.dead_letter) == (0, 0, 0)


@pytest.mark.parametrize("limit", [{"max_messages": 600}, {"reload": True}], ids=str)
def test_a_process_that_starts_afresh_gives_back_in_order_what_no_slot_has_begun_with(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, limit: dict[str, object]
) -> None:
    sent = [f"{number:05}" for number in range(20_000)]
    publish(redis_client, *sent)
    with WorkerProcess(tmp_path, redis_url, "brief", concurrency=SLOTS, **limit) as worker:
        worker.until_noted("tally", 400)
        if "reload" in limit:
            eventually(lambda: counters(redis_client).in_flight > SLOTS, "more in hand than slots")
            (tmp_path / "changed.py").touch()
        worker.logged("started", count=2)
        worker.until_noted("tally", len(worker.noted("tally")) + 100)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    handled = worker.noted("tally")
    assert waiting(redis_client) == sent[len(handled) :], "none was begun out of turn"
    assert sorted(handled) == sent[: len(handled)], "each was handled once"
    assert redis_client.hlen(KEYS.delivery_counts) == 0


def test_a_worker_that_is_busy_with_what_it_prefetched_is_not_retired(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    """A worker is retired while it has nothing in hand: what waits for a slot counts as in hand."""
    sent = [f"{number:05}" for number in range(20_000)]
    publish(redis_client, *sent)
    with WorkerProcess(tmp_path, redis_url, "brief", concurrency=SLOTS) as worker:
        eventually(lambda: counters(redis_client).in_flight > SLOTS, "more in hand than slots")
        assert retire(redis_client, KEYS, ["worker-1"], ttl_seconds=600) == ()
        redis_client.delete(KEYS.pending)
        eventually(lambda: retire(redis_client, KEYS, ["worker-1"], ttl_seconds=600), "idle, so retired")
        assert waiting(redis_client) == []
        publish(redis_client, "later")
        handled = worker.noted("tally")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    assert worker.noted("tally") == handled
    assert sorted(handled) == sent[: len(handled)], "each was handled once"
    assert waiting(redis_client) == ["later"]


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
