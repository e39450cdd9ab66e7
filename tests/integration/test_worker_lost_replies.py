"""The server did what was asked, and the worker did not hear of it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from tests.support.fault_proxy import FaultProxy, losing_replies_to, nothing
from tests.support.worker_process import KEYS, WorkerProcess, counters, eventually, publish

from redis_message_queue.operations import script

if TYPE_CHECKING:
    from pathlib import Path

    import redis

    from redisqueue_worker.embedded_redis import EmbeddedRedis

CONSUME = script("consume").sha.encode()


def lose_the_claim_of_b(proxy: FaultProxy, worker: WorkerProcess, client: redis.Redis) -> None:
    """Let `a` end, so that it is settled and `b` claimed in one call, whose reply is lost."""
    worker.until_noted("started", 1)
    proxy.rule = losing_replies_to(CONSUME)
    worker.open_gate()
    eventually(lambda: counters(client).pending == 0, "b is claimed")
    worker.logged("Redis does not answer, trying again")


def test_a_claim_whose_reply_was_lost_is_given_again(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, redis_server: EmbeddedRedis
) -> None:
    publish(redis_client, "a", "b")
    with (
        FaultProxy(redis_server.port) as proxy,
        WorkerProcess(tmp_path, proxy.url, "gated") as worker,
    ):
        lose_the_claim_of_b(proxy, worker, redis_client)
        assert worker.noted("started") == ["a"]
        proxy.rule = nothing
        assert worker.until_noted("finished", 2) == ["a", "b"]
        eventually(lambda: counters(redis_client).processing == 0, "settled")
        assert "lease lost: this outcome does not count" not in worker.messages()
    assert worker.noted("started") == ["a", "b"]


def test_a_claim_whose_reply_was_lost_is_released_by_a_drain(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, redis_server: EmbeddedRedis
) -> None:
    publish(redis_client, "a", "b")
    with (
        FaultProxy(redis_server.port) as proxy,
        WorkerProcess(tmp_path, proxy.url, "gated") as worker,
    ):
        lose_the_claim_of_b(proxy, worker, redis_client)
        worker.signal(signal.SIGTERM)
        worker.logged("drain started by SIGTERM")
        assert worker.running
        proxy.rule = nothing
        assert worker.wait() == 0
    assert worker.noted("started") == ["a"]
    after = counters(redis_client)
    assert (after.pending, after.in_flight, after.processing) == (1, 0, 0)
    assert redis_client.hlen(KEYS.delivery_counts) == 0


def test_a_settlement_whose_reply_was_lost_counts_once(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, redis_server: EmbeddedRedis
) -> None:
    publish(redis_client, "a")
    with (
        FaultProxy(redis_server.port) as proxy,
        WorkerProcess(tmp_path, proxy.url, "gated", keep_completed=10) as worker,
    ):
        worker.until_noted("started", 1)
        proxy.rule = losing_replies_to(CONSUME)
        worker.open_gate()
        eventually(lambda: counters(redis_client).completed == 1, "settled")
        publish(redis_client, "b")
        eventually(lambda: proxy.faults >= 5, "replies were lost")
        proxy.rule = nothing
        assert worker.until_noted("finished", 2) == ["a", "b"]
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        assert "lease lost: this outcome does not count" not in worker.messages()
    assert worker.noted("started") == ["a", "b"]
    assert counters(redis_client).completed == 2
