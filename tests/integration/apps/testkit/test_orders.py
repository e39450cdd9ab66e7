"""Tests of those handlers, with all that the kit has."""

from collections.abc import Iterator
from decimal import Decimal

import pytest
import redis
from orders import Mail, Order, orders, take, track, unlucky

from redis_message_queue import RedisMessageQueue
from redisqueue_worker import Retry
from redisqueue_worker.testing import FakeContext, Outcomes, RunWorker, deliver, deliver_async

# ---- as the worker would ----


def test_the_customer_is_told() -> None:
    delivery = deliver(take, Order("book", Decimal("7.50"), "ada@example.org"))
    assert delivery.state == "done"
    (mail,) = delivery.enqueued
    assert mail.queue == "mails"
    assert mail.payload == Mail("ada@example.org", "book is on its way")


def test_what_nobody_sells_is_a_dead_letter() -> None:
    delivery = deliver(orders, {"item": "moon", "amount": "1"}, type="order")
    assert (delivery.state, delivery.reason) == ("dead", "nobody sells moon")


def test_an_order_without_an_amount_is_refused() -> None:
    assert deliver(take, {"item": "book"}).reason == "invalid payload: field amount is missing"


async def test_a_parcel_is_asked_for_once_an_hour() -> None:
    parcel = {"number": "1", "place": "sea"}
    assert (await deliver_async(orders, parcel, type="parcel", deliveries=9)).delay_seconds == 3600
    assert (await deliver_async(track, {**parcel, "place": "home"})).value == "1 is at home"


@pytest.mark.parametrize(("deliveries", "state"), [(1, "retried"), (2, "retried"), (3, "dead")])
def test_the_unlucky_come_again_twice(deliveries: int, state: str) -> None:
    assert deliver(unlucky, "bad", deliveries=deliveries).state == state


# ---- by hand ----


def test_a_handler_can_be_called() -> None:
    context = FakeContext(deliveries=2)
    unlucky("good", context)
    take(Order("book", Decimal(1)), context)
    assert not context.enqueued


async def test_a_drain_is_respected() -> None:
    with pytest.raises(Retry):
        await track({"number": "1", "place": "home"}, FakeContext(draining=True))


# ---- with a real worker ----


@pytest.fixture
def queue(redisqueue_queue: str, redisqueue_url: str) -> Iterator[RedisMessageQueue]:
    with redis.Redis.from_url(redisqueue_url) as client:
        yield RedisMessageQueue(redisqueue_queue, client=client)


def test_a_worker_takes_orders(queue: RedisMessageQueue, run_worker_until_empty: RunWorker) -> None:
    queue.enqueue({"type": "order", "item": "book", "amount": "7.50", "customer": "ada@example.org"})
    queue.enqueue({"type": "order", "item": "moon", "amount": "1"})
    queue.enqueue({"type": "parcel", "number": "1", "place": "sea"})
    assert run_worker_until_empty(orders) == Outcomes(done=1, retried=1, dead=1)
    assert [letter.reason for letter in queue.dead_letters()] == ["nobody sells moon"]
    assert queue.stats().delayed == 1, "in an hour: no test waits for that"


def test_failures_are_repeated(queue: RedisMessageQueue, run_worker_until_empty: RunWorker) -> None:
    queue.enqueue("good")
    queue.enqueue("bad")
    outcomes = run_worker_until_empty(unlucky, concurrency=2, max_attempts=2)
    assert outcomes == Outcomes(done=1, retried=2, dead=1)
