"""A consumer that tells what it has in hand claims apart what comes back by an expired lease."""

from __future__ import annotations

import pytest
import redis
from tests.support.queues import let_leases_expire, payloads, publish

from redis_message_queue.consumer import Claim, Consumer, Outcome, Settlement
from redis_message_queue.keys import QueueKeys

KEYS = QueueKeys("{jobs}")


@pytest.fixture
def consumer(redis_client: redis.Redis) -> Consumer:
    return Consumer(redis_client, "{jobs}", max_delivery_count=4)


def claim(consumer: Consumer, count: int, in_hand: int = 0) -> list[tuple[str, int, int, bool]]:
    """Payload, deliveries, lost leases and whether it is kept, of each message of a claim."""
    claims = consumer.settle((), claim=count, in_hand=in_hand).claimed.claims
    return [
        (bytes(one.payload).decode(), one.delivery_count, one.lost_leases, one.kept)
        for one in claims
        if isinstance(one.payload, bytes)
    ]


def done(consumer: Consumer, *claims: Claim) -> None:
    assert all(consumer.settle([Settlement(one, Outcome.DONE) for one in claims]).applied)


def test_lost_ones_come_with_their_like_and_then_alone(redis_client: redis.Redis, consumer: Consumer) -> None:
    publish(redis_client, KEYS, "a", "b", "c", "d")
    assert claim(consumer, 2) == [("a", 1, 0, False), ("b", 1, 0, False)]
    let_leases_expire(redis_client, KEYS)
    assert claim(consumer, 4) == [("a", 2, 1, False), ("b", 2, 1, False)], "not the fresh ones"
    let_leases_expire(redis_client, KEYS)
    assert claim(consumer, 4) == [("a", 3, 2, False)]
    assert claim(consumer, 4) == [("b", 3, 2, False)]
    assert claim(consumer, 4) == [("c", 1, 0, False), ("d", 1, 0, False)]


def test_its_last_delivery_is_its_own(redis_client: redis.Redis) -> None:
    consumer = Consumer(redis_client, "{jobs}", max_delivery_count=2)
    publish(redis_client, KEYS, "a", "b")
    assert len(claim(consumer, 2)) == 2
    let_leases_expire(redis_client, KEYS)
    assert claim(consumer, 2) == [("a", 2, 1, False)]


def test_a_busy_consumer_is_given_one_to_keep(redis_client: redis.Redis, consumer: Consumer) -> None:
    publish(redis_client, KEYS, "a", "b")
    assert len(claim(consumer, 2)) == 2
    publish(redis_client, KEYS, "fresh")
    let_leases_expire(redis_client, KEYS)
    (kept,) = consumer.settle((), claim=2, in_hand=1).claimed.claims
    assert kept.kept
    assert claim(consumer, 2, in_hand=1) == [("b", 2, 1, True)], "and another consumer the next"
    reply = consumer.settle([Settlement(kept, Outcome.RELEASE)], claim=3, in_hand=0).claimed
    assert [(one.payload, one.delivery_count, one.kept) for one in reply.claims] == [(b"a", 2, False)]


def test_what_was_only_kept_is_neither_lost_nor_delivered(
    redis_client: redis.Redis, consumer: Consumer
) -> None:
    publish(redis_client, KEYS, "a")
    assert len(claim(consumer, 1)) == 1
    for _ in range(10):
        let_leases_expire(redis_client, KEYS)
        assert claim(consumer, 1, in_hand=1) == [("a", 2, 1, True)]
    let_leases_expire(redis_client, KEYS)
    assert claim(consumer, 1) == [("a", 2, 1, False)]
    let_leases_expire(redis_client, KEYS)
    assert claim(consumer, 1) == [("a", 3, 2, False)]


def test_without_telling_what_is_in_hand_all_come_as_they_are(
    redis_client: redis.Redis, consumer: Consumer
) -> None:
    publish(redis_client, KEYS, "a", "b", "c")
    assert len(claim(consumer, 2)) == 2
    let_leases_expire(redis_client, KEYS)
    assert len(consumer.claim(3).claims) == 3


def test_nothing_is_remembered_of_what_has_ended(redis_client: redis.Redis) -> None:
    consumer = Consumer(redis_client, "{jobs}", max_delivery_count=1)
    publish(redis_client, KEYS, "spent")
    assert len(claim(consumer, 1)) == 1
    let_leases_expire(redis_client, KEYS)
    assert consumer.claim(1).dead_lettered == 1
    assert not redis_client.exists(KEYS.notes)
    publish(redis_client, KEYS, "failing")
    for failures in range(2):
        limitless = Consumer(redis_client, "{jobs}", max_delivery_count=None)
        (one,) = limitless.claim(1).claims
        assert one.failures == failures
        limitless.settle([Settlement(one, Outcome.RETRY, failed=True)])
    assert 0 < redis_client.pttl(KEYS.notes) <= 31 * 24 * 3600 * 1000
    done(consumer, *Consumer(redis_client, "{jobs}", max_delivery_count=None).claim(1).claims)
    assert not redis_client.exists(KEYS.notes)


def test_a_retry_without_a_delay_goes_behind_those_that_wait(
    redis_client: redis.Redis, consumer: Consumer
) -> None:
    publish(redis_client, KEYS, "a", "b", "c")
    (one,) = consumer.claim(1).claims
    consumer.settle([Settlement(one, Outcome.RETRY)])
    assert payloads(redis_client, KEYS.pending) == ["b", "c", "a"]


@pytest.mark.foreign_keys("another type stands under the name of one")
def test_notes_of_another_type_stop_the_call_before_any_write(
    redis_client: redis.Redis, consumer: Consumer
) -> None:
    publish(redis_client, KEYS, "a")
    redis_client.set(KEYS.notes, "alien")
    with pytest.raises(redis.ResponseError, match=r"WRONGTYPE .*notes"):
        consumer.settle((), claim=1, in_hand=0)
    assert payloads(redis_client, KEYS.pending) == ["a"]
