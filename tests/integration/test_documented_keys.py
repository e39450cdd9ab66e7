"""Nothing that the library, a worker or the operator does leaves a key that the README does not tell of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis
from tests.support.documented_keys import documented_keys, undocumented
from tests.support.queues import LossyRedis, let_leases_expire
from tests.support.worker_process import KEYS, QUEUE, WorkerProcess, eventually

from redis_message_queue import RedisGateway, RedisMessageQueue, RetryBudgetExhaustedError
from redis_message_queue.consumer import Consumer, Outcome, Settlement, WorkerIdentity
from redis_message_queue.holders import expire_leases
from redis_message_queue.stats import retire, sample

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def lossy(redis_url: str) -> Iterator[LossyRedis]:
    with LossyRedis.from_url(redis_url) as client:
        yield client


def seen_at_most(client: redis.Redis) -> set[str]:
    """The rows of the table that have a key now; all keys must be in one."""
    assert undocumented(client, QUEUE) == []
    names = [key.decode() for key in client.scan_iter()]
    return {row.template for row in documented_keys() if any(row.names(name, QUEUE) for name in names)}


def test_publishing_in_every_way(lossy: LossyRedis) -> None:
    queue = RedisMessageQueue(QUEUE, client=lossy, max_pending_length=100)
    lossy.lose = 1
    queue.publish("a")
    queue.publish("later", delay_seconds=60)
    queue.publish_many(["b", "c", "a"])
    queue.publish_many(["d", "e"], delay_seconds=60)
    RedisMessageQueue(QUEUE, client=lossy, deduplication=False).publish_many(["f", "g"])
    lossy.lose = 1
    queue.enqueue("h", deduplication_key="h", deduplication_seconds=60, at_front=True)
    queue.enqueue_many(["i", "j"], delay_seconds=60)
    assert {"N::delayed", "N::pending", "N::deduplication::<key>"} <= seen_at_most(lossy)
    assert lossy.keys("*:publish_operation_result:*")


@pytest.mark.parametrize("timeout", [300, None], ids=["leased", "plain"])
def test_records_of_answered_calls_go_with_the_next_one(
    redis_client: redis.Redis, timeout: int | None
) -> None:
    limit = {} if timeout else {"max_delivery_count": None}
    queue = RedisMessageQueue(QUEUE, client=redis_client, visibility_timeout_seconds=timeout, **limit)
    for number in range(30):
        queue.publish(str(number))
    for _ in range(30):
        with queue.process_message() as payload:
            assert payload is not None
    assert len(redis_client.keys("*_result:*")) <= 3


@pytest.mark.parametrize("leased", [True, False])
def test_processing_in_every_way(lossy: LossyRedis, leased: bool) -> None:
    options = {"max_delivery_count": 1, "dead_letter_queue": KEYS.dead_letter} if leased else {}
    gateway = RedisGateway(
        redis_client=lossy,
        message_wait_interval_seconds=0,
        message_visibility_timeout_seconds=300 if leased else None,
        **options,
    )
    queue = RedisMessageQueue(
        QUEUE, gateway=gateway, enable_completed_queue=True, enable_failed_queue=True, deduplication=False
    )
    queue.publish_many(list("abcdef"))
    with queue.process_message():
        seen_at_most(lossy)
    with pytest.raises(ValueError, match="no"), queue.process_message():
        raise ValueError("no")
    lossy.lose = 2
    with pytest.raises(RetryBudgetExhaustedError), queue.process_message():
        raise AssertionError("nothing was claimed")
    seen_at_most(lossy)
    queue.drain()
    let_leases_expire(lossy, KEYS)
    other = RedisMessageQueue(QUEUE, gateway=gateway)
    with other.process_message():
        expected = {"N::completed", "N::failed", "N::processing", "N::pending"}
        expected |= {"N::dlq", "N::processing:lease_deadlines"} if leased else set()
        assert expected <= seen_at_most(lossy)
    other.redrive_dead_letters()
    for target in ("pending", "completed", "failed", "dead_letter"):
        other.purge(target=target)  # type: ignore[arg-type]
    assert not seen_at_most(lossy) & {"N::pending", "N::completed", "N::failed", "N::dlq"}


def test_the_level_of_workers(lossy: LossyRedis) -> None:
    RedisMessageQueue(QUEUE, client=lossy).publish_many(list("abcdefghij"))
    worker = WorkerIdentity("w", 4, config_hash="v1", instance="i")
    consumer = Consumer(lossy, QUEUE, keep_completed=10, keep_failed=10, max_delivery_count=1, worker=worker)
    consumer.report(busy=0, oldest_start_age_seconds=None, draining=False)
    lossy.lose = 1
    with pytest.raises(redis.ConnectionError):
        consumer.claim(6)
    claims = consumer.claim(6).claims
    consumer.renew(claims)
    ends = [
        Settlement(claim, outcome, delay_seconds=60) for claim, outcome in zip(claims, Outcome, strict=False)
    ]
    lossy.lose = 1
    with pytest.raises(redis.ConnectionError):
        consumer.settle(ends, claim=1)
    consumer.settle(ends, claim=1)
    let_leases_expire(lossy, KEYS)
    consumer.claim(10)
    assert {
        "N::workers",
        "N::dlq",
        "N::dlq_info",
        "N::delayed",
        "N::completed_info",
        "N::failed_info",
    } <= seen_at_most(lossy)
    seen_at_most(lossy)
    expire_leases(lossy, KEYS, "i")
    retire(lossy, KEYS, ["w"])
    sample(lossy, [KEYS])
    consumer.deregister()
    assert "N::versions" in (left := seen_at_most(lossy))
    assert "N::workers" not in left


def test_a_worker_process(redis_url: str, redis_client: redis.Redis, tmp_path: Path) -> None:
    RedisMessageQueue(QUEUE, client=redis_client).publish_many(["a", "dead", "boom", "retry"])
    with WorkerProcess(tmp_path, redis_url, "outcome", max_attempts=1, keep_failed=10, keep_completed=10):
        eventually(lambda: redis_client.llen(KEYS.completed) == 2, "two messages were handled")
        assert {"N::workers", "N::dlq", "N::dlq_info", "N::failed"} <= seen_at_most(redis_client)
    seen_at_most(redis_client)


@pytest.mark.foreign_keys("the very keys that the table has to notice")
def test_the_table_is_found_out_when_it_is_wrong(redis_client: redis.Redis) -> None:
    redis_client.set(f"{QUEUE}::surprise", 1)
    redis_client.hset(KEYS.workers, "w", "{}")
    redis_client.set(KEYS.claim_result("1"), "", px=900_000)
    redis_client.set(KEYS.pending, "")
    assert len(undocumented(redis_client, QUEUE)) == 4
