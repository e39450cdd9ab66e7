"""The last words of a consumer loop: what it tells Redis when its worker leaves."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import redis
from tests.support import queues

from redis_message_queue._clock import monotonic
from redis_message_queue.consumer import Due, SettleReply, WorkerIdentity
from redis_message_queue.keys import QueueKeys
from redis_message_queue.leases import LeaseKeeper
from redis_message_queue.pipelined import PipelinedConsumer
from redisqueue_worker.circuit_breaker import Breaker
from redisqueue_worker.consumer_loop import ConsumerLoop
from redisqueue_worker.context import Contexts
from redisqueue_worker.health import Pulse
from redisqueue_worker.in_flight import InFlight, InFlightTable
from redisqueue_worker.metrics import Metrics
from redisqueue_worker.prefetch import Prefetch
from redisqueue_worker.retry_policy import RetryPolicy

KEYS = QueueKeys("jobs")


def test_what_ends_while_the_last_replies_are_waited_for_is_done(
    redis_url: str, redis_client: redis.Redis
) -> None:
    queues.publish(redis_client, KEYS, "a", "b")
    metrics, started = Metrics(), list[InFlight]()

    def connect() -> redis.Redis:
        return redis.Redis.from_url(redis_url)

    class Slow(PipelinedConsumer):
        def receive(self) -> SettleReply:
            loop.finish(started[0], None)
            return super().receive()

    nothing: Any = None
    with closing(connect()) as client, closing(LeaseKeeper(connect)) as keeper:
        loop = ConsumerLoop(
            lambda: Slow(client, "jobs", worker=WorkerIdentity("w", 2)),
            InFlightTable(),
            keeper.queue("jobs", visibility_timeout_seconds=60),
            prefetch=Prefetch(2),
            policy=RetryPolicy(),
            breaker=Breaker(0),
            contexts=Contexts(None, nothing, metrics),
            metrics=metrics,
            pulse=Pulse(),
            changed=lambda: None,
            emptied=lambda *_: None,
        )
        loop.attach(started.extend, nothing, None)
        loop._exchange(monotonic())
        assert len(started) == 2
        loop._calls.send([], 1, in_hand=2, due=Due.FIRST)
        loop._leaving = True
        loop.run()
    assert queues.payloads(redis_client, KEYS.pending) == ["b"]
    assert metrics.outcomes["done"] == metrics.outcomes["release"] == 1
