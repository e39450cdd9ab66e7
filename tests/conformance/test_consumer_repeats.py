"""Lost replies: the call is repeated, its work is not done twice, its messages are given again."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import redis
import redis.asyncio
from tests.support.queues import (
    AsyncLossyRedis,
    LossyRedis,
    everything,
    lease_sets,
    let_leases_expire,
    payloads,
    publish,
)

from redis_message_queue import RedisMessageQueue, _transport
from redis_message_queue.asyncio.consumer import Consumer as AsyncConsumer
from redis_message_queue.consumer import Consumer, Outcome, Settlement, WorkerIdentity
from redis_message_queue.keys import QueueKeys
from redis_message_queue.stats import sample

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from redis_message_queue.operations import Call

KEYS = QueueKeys("{jobs}")


@pytest.fixture
def lossy(redis_url: str) -> Iterator[LossyRedis]:
    with LossyRedis.from_url(redis_url) as client:
        yield client


@pytest.fixture
async def async_lossy(redis_url: str) -> AsyncIterator[AsyncLossyRedis]:
    async with AsyncLossyRedis.from_url(redis_url) as client:
        yield client


def lose_claim(client: LossyRedis, consumer: Consumer, count: int) -> None:
    client.lose = 1
    with pytest.raises(redis.ConnectionError):
        consumer.claim(count)


def test_a_repeated_claim_gives_the_same_messages(lossy: LossyRedis) -> None:
    publish(lossy, KEYS, *"abcd")
    consumer = Consumer(lossy, "{jobs}")
    consumer.claim(0)  # the server knows the script now
    lose_claim(lossy, consumer, 2)
    first = consumer.claim(2).claims
    assert [claim.payload for claim in first] == [b"a", b"b"]
    assert [(claim.token, claim.delivery_count) for claim in first] == [("1", 1), ("2", 1)]
    assert [claim.payload for claim in consumer.claim(2).claims] == [b"c", b"d"]


def test_a_repeat_finds_its_messages_behind_many_newer_claims(
    lossy: LossyRedis, redis_client: redis.Redis
) -> None:
    publish(lossy, KEYS, *map(str, range(300)))
    consumer, other = Consumer(lossy, "{jobs}"), Consumer(redis_client, "{jobs}")
    other.claim(20)
    lose_claim(lossy, consumer, 3)
    other.claim(250)
    assert [claim.payload for claim in consumer.claim(3).claims] == [b"20", b"21", b"22"]


def test_a_repeat_starts_the_leases_anew(lossy: LossyRedis) -> None:
    publish(lossy, KEYS, "a")
    consumer = Consumer(lossy, "{jobs}")
    consumer.claim(0)
    lose_claim(lossy, consumer, 1)
    let_leases_expire(lossy, KEYS)
    consumer.claim(1)
    (queue,) = sample(lossy, [KEYS])
    assert not isinstance(queue, Exception)
    assert (queue.in_flight, queue.expired) == (1, 0)


def test_a_repeat_leaves_out_what_others_took_meanwhile(lossy: LossyRedis, redis_client: redis.Redis) -> None:
    publish(lossy, KEYS, "a", "b")
    consumer = Consumer(lossy, "{jobs}")
    consumer.claim(0)
    lose_claim(lossy, consumer, 2)
    let_leases_expire(redis_client, KEYS)
    (stolen,) = Consumer(redis_client, "{jobs}").claim(1).claims
    assert stolen.payload == b"a"
    assert consumer.claim(2).claims == ()  # both were put back, so none is ours any more
    assert [claim.payload for claim in consumer.claim(2).claims] == [b"b"]


def test_a_repeat_asking_for_less_gives_the_rest_back(lossy: LossyRedis) -> None:
    publish(lossy, KEYS, *"abc")
    consumer = Consumer(lossy, "{jobs}")
    consumer.claim(0)
    lose_claim(lossy, consumer, 3)
    assert [claim.payload for claim in consumer.claim(1).claims] == [b"a"]
    assert payloads(lossy, KEYS.pending) == ["b", "c"]
    assert [claim.delivery_count for claim in consumer.claim(2).claims] == [1, 1]


def spend_a_delivery(client: redis.Redis) -> None:
    """The next claim buries the first of two messages, which has a deduplication key, and gets the second."""
    RedisMessageQueue("{jobs}", client=client).enqueue("a", deduplication_key="one")
    Consumer(client, "{jobs}", max_delivery_count=1).claim(1)
    let_leases_expire(client, KEYS)
    publish(client, KEYS, "b")


def test_a_claim_that_is_interrupted_while_keys_are_freed_is_given_again(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    spend_a_delivery(redis_client)
    execute = _transport.execute

    def interrupted(client: redis.Redis, call: Call[Any]) -> Any:
        if call.script.name == "free":
            raise KeyboardInterrupt
        return execute(client, call)

    consumer = Consumer(redis_client, "{jobs}", max_delivery_count=1)
    with monkeypatch.context() as patch:
        patch.setattr(_transport, "execute", interrupted)
        with pytest.raises(KeyboardInterrupt):
            consumer.claim(2)
    assert [claim.payload for claim in consumer.claim(2).claims] == [b"b"]


async def test_a_claim_that_is_cancelled_while_keys_are_freed_is_given_again(
    redis_url: str, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    spend_a_delivery(redis_client)
    execute, freeing = _transport.execute_async, asyncio.Event()

    async def hanging(client: Any, call: Call[Any]) -> Any:
        if call.script.name == "free":
            freeing.set()
            await asyncio.Event().wait()
        return await execute(client, call)

    async with redis.asyncio.Redis.from_url(redis_url) as client:
        consumer = AsyncConsumer(client, "{jobs}", max_delivery_count=1)
        with monkeypatch.context() as patch:
            patch.setattr(_transport, "execute_async", hanging)
            claiming = asyncio.create_task(consumer.claim(2))
            await freeing.wait()
            claiming.cancel()
            with pytest.raises(asyncio.CancelledError):
                await claiming
        assert [claim.payload for claim in (await consumer.claim(2)).claims] == [b"b"]


def test_a_repeated_settlement_answers_as_the_first_time(lossy: LossyRedis) -> None:
    publish(lossy, KEYS, *"abc")
    consumer = Consumer(lossy, "{jobs}", keep_completed=10, worker=WorkerIdentity("w", 2))
    a, b = consumer.claim(2).claims
    let_leases_expire(lossy, KEYS)
    Consumer(lossy, "{jobs}").claim(1)  # reclaims both, takes "a" again
    publish(lossy, KEYS, "d")
    (c,) = consumer.claim(1).claims
    assert c.payload == b"b"
    settlements = [Settlement(a, Outcome.DONE), Settlement(c, Outcome.DONE)]
    lossy.lose = 1
    with pytest.raises(redis.ConnectionError):
        consumer.settle(settlements, claim=1)
    reply = consumer.settle(settlements, claim=1)
    assert reply.applied == (False, True)
    assert [claim.payload for claim in reply.claimed.claims] == [b"c"]
    assert lossy.lrange(KEYS.completed, 0, -1) == [b"b"]
    del b


@pytest.mark.parametrize("lost", [0, 1])
def test_once_it_was_answered_a_settlement_is_no_repeat_any_more(lossy: LossyRedis, lost: int) -> None:
    publish(lossy, KEYS, "a")
    consumer = Consumer(lossy, "{jobs}")
    ends = [Settlement(consumer.claim(1).claims[0], Outcome.DONE)]
    assert consumer.settle(ends).applied == (True,)
    for _ in range(lost):
        lossy.lose = 1
        with pytest.raises(redis.ConnectionError):
            consumer.settle(ends)
    assert consumer.settle(ends).applied == (False,)


def test_busy_and_done_are_counted_once_however_often_a_call_is_repeated(lossy: LossyRedis) -> None:
    publish(lossy, KEYS, *"abcd")
    consumer = Consumer(lossy, "{jobs}", worker=WorkerIdentity("w", 4, config_hash="v1"))
    consumer.claim(0)
    lose_claim(lossy, consumer, 3)
    lose_claim(lossy, consumer, 3)
    claims = consumer.claim(3).claims
    lossy.lose = 1
    with pytest.raises(redis.ConnectionError):
        consumer.settle([Settlement(claims[0], Outcome.DONE)])
    consumer.settle([Settlement(claims[0], Outcome.DONE)])
    (queue,) = sample(lossy, [KEYS])
    assert not isinstance(queue, Exception)
    assert queue.workers[0].busy == 2
    assert queue.versions[0].done == 1


def test_recover_gives_what_was_claimed_and_nothing_new(lossy: LossyRedis) -> None:
    publish(lossy, KEYS, *"abcde")
    consumer = Consumer(lossy, "{jobs}")
    consumer.claim(0)
    assert consumer.recover() == ()
    lose_claim(lossy, consumer, 2)
    recovered = consumer.recover()
    assert [claim.payload for claim in recovered] == [b"a", b"b"]
    consumer.settle([Settlement(claim, Outcome.RELEASE) for claim in recovered])
    assert payloads(lossy, KEYS.pending) == list("abcde")
    assert consumer.recover() == ()


def test_records_of_answered_calls_do_not_pile_up(lossy: LossyRedis) -> None:
    consumer = Consumer(lossy, "{jobs}")
    reply = consumer.claim(1)
    for number in range(20):
        publish(lossy, KEYS, str(number))
        settlements = [Settlement(claim, Outcome.DONE) for claim in reply.claims]
        reply = consumer.settle(settlements, claim=1).claimed
    records = [key for key in everything(lossy) if "_result:" in key]
    assert len(records) == 2  # the settlement and the claim of the last call
    assert all(0 < lossy.pttl(key) <= 120_000 for key in records)


async def test_the_asyncio_consumer_repeats_alike(
    async_lossy: AsyncLossyRedis, redis_client: redis.Redis
) -> None:
    publish(redis_client, KEYS, *"abc")
    consumer = AsyncConsumer(async_lossy, "{jobs}")
    await consumer.claim(0)
    async_lossy.lose = 1
    with pytest.raises(redis.ConnectionError):
        await consumer.claim(2)
    assert [claim.payload for claim in await consumer.recover()] == [b"a", b"b"]
    async_lossy.lose = 1
    with pytest.raises(redis.ConnectionError):
        await consumer.claim(1)
    (claim,) = (await consumer.claim(1)).claims
    settlements = [Settlement(claim, Outcome.DONE)]
    async_lossy.lose = 1
    with pytest.raises(redis.ConnectionError):
        await consumer.settle(settlements)
    assert (await consumer.settle(settlements)).applied == (True,)
    assert await consumer.renew([claim]) == (False,)
    assert lease_sets(redis_client, KEYS)[0].total() == 2


async def test_the_asyncio_consumer_waits_without_taking(
    async_lossy: AsyncLossyRedis, redis_client: redis.Redis
) -> None:
    consumer = AsyncConsumer(async_lossy, "{jobs}")
    assert await consumer.wait(0.02) is False
    publish(redis_client, KEYS, "a")
    assert await consumer.wait(5) is True
    assert payloads(redis_client, KEYS.pending) == ["a"]


async def test_a_cancelled_claim_is_recovered(redis_url: str, redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, "a")
    async with AsyncLossyRedis.from_url(redis_url) as client:
        consumer = AsyncConsumer(client, "{jobs}")
        await consumer.claim(0)
        done = client.gate()
        claim = asyncio.create_task(consumer.claim(1))
        await done.wait()
        claim.cancel()
        with pytest.raises(asyncio.CancelledError):
            await claim
        assert [found.payload for found in await consumer.recover()] == [b"a"]


async def test_a_cancelled_recovery_leaves_all_to_the_next(
    async_lossy: AsyncLossyRedis, redis_client: redis.Redis
) -> None:
    publish(redis_client, KEYS, *"abc")
    consumer = AsyncConsumer(async_lossy, "{jobs}")
    await consumer.claim(0)
    lost = [asyncio.create_task(consumer.claim(1)) for _ in range(3)]
    async_lossy.lose = 3
    for claim in lost:
        with pytest.raises(redis.ConnectionError):
            await claim
    done = async_lossy.gate(before_it=1)
    recovery = asyncio.create_task(consumer.recover())
    await done.wait()
    recovery.cancel()
    with pytest.raises(asyncio.CancelledError):
        await recovery
    assert sorted(found.payload for found in await consumer.recover()) == [b"a", b"b", b"c"]
    assert await consumer.recover() == ()


def test_threads_share_a_consumer(redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, *map(str, range(200)))
    consumer = Consumer(redis_client, "{jobs}", keep_completed=1000, worker=WorkerIdentity("w", 4))

    def work(_: int) -> None:
        claims = consumer.claim(3).claims
        while claims:
            ends = [Settlement(claim, Outcome.DONE) for claim in claims]
            reply = consumer.settle(ends, claim=3)
            assert reply.applied == (True,) * len(claims)
            claims = reply.claimed.claims

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert sorted(redis_client.lrange(KEYS.completed, 0, -1), key=int) == [
        str(n).encode() for n in range(200)
    ]
    (queue,) = sample(redis_client, [KEYS])
    assert not isinstance(queue, Exception)
    assert (queue.in_flight, queue.processing, queue.workers[0].busy) == (0, 0, 0)
