"""Repair: messages whose lease lost a part come back; what somebody has in hand stays theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.support.queues import everything, let_leases_expire, payloads
from tests.support.waiting import until

from redis_message_queue import ConfigurationError, GatewayContractError, RepairReport
from redis_message_queue.consumer import Outcome, Settlement
from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    import redis
    from tests.support.faces import Face

KEYS = QueueKeys("{jobs}")
NEVER = {"visibility_timeout_seconds": None, "max_delivery_count": None}


async def in_hand(face: Face, number: int) -> tuple[Any, tuple[Any, ...]]:
    """A consumer that has claimed so many messages, the first of which is the oldest."""
    await face.call(face.queue(deduplication=False).publish_many, [f"order {each}" for each in range(number)])
    consumer = face.consumer("{jobs}", visibility_timeout_seconds=60)
    return consumer, (await face.call(consumer.claim, number)).claims


async def given_again(face: Face) -> list[str]:
    """What another consumer is given."""
    other = face.consumer("{jobs}")
    return [claim.payload.decode() for claim in (await face.call(other.claim, 100)).claims]


@pytest.mark.parametrize(
    ("lost", "report"),
    [
        (("lease_deadlines",), RepairReport(3, without_deadline=3)),
        (("lease_deadlines", "lease_tokens"), RepairReport(3, without_lease=3)),
        (("lease_deadlines", "lease_tokens", "delivery_counts"), RepairReport(3, without_lease=3)),
        (("",), RepairReport(0, without_message=3)),
        (("", "lease_deadlines"), RepairReport(0, without_message=3)),
    ],
)
async def test_messages_come_back_whatever_keys_of_their_leases_are_gone(
    face: Face, redis_client: redis.Redis, lost: tuple[str, ...], report: RepairReport
) -> None:
    await in_hand(face, 3)
    for part in lost:
        redis_client.delete(f"{KEYS.processing}:{part}" if part else KEYS.processing)
    before, queue = everything(redis_client), face.queue()
    assert await face.call(queue.repair, dry_run=True) == report
    assert everything(redis_client) == before
    assert await face.call(queue.repair) == report
    assert await given_again(face) == []
    assert await face.call(queue.repair) == RepairReport(3)
    let_leases_expire(redis_client, KEYS)
    assert sorted(await given_again(face)) == ["order 0", "order 1", "order 2"]
    assert await given_again(face) == []


async def test_a_whole_queue_is_left_as_it_is(face: Face, redis_client: redis.Redis) -> None:
    await in_hand(face, 700)
    before = everything(redis_client)
    assert await face.call(face.queue().repair) == RepairReport(700)
    assert everything(redis_client) == before


async def test_parts_lost_among_many(face: Face, redis_client: redis.Redis) -> None:
    _, claims = await in_hand(face, 900)
    redis_client.zrem(KEYS.lease_deadlines, *(claim.stored for claim in claims[10:40]))
    redis_client.hdel(KEYS.lease_tokens, *(claim.stored for claim in claims[30:40]))
    redis_client.ltrim(KEYS.processing, 0, 894)
    report = await face.call(face.queue().repair)
    assert report == RepairReport(895, without_deadline=20, without_lease=10, without_message=5)
    assert report.found == 35
    let_leases_expire(redis_client, KEYS)
    back: list[str] = []
    while some := await given_again(face):
        back += some
    assert sorted(back) == sorted(f"order {each}" for each in range(900))


async def test_only_what_was_not_seen_is_searched_for(
    face: Face, redis_client: redis.Redis, node: redis.Redis
) -> None:
    await in_hand(face, 900)
    redis_client.ltrim(KEYS.processing, 0, 894)
    queue = face.queue()
    node.config_resetstat()
    assert await face.call(queue.repair) == RepairReport(895, without_message=5)
    assert node.info("commandstats")["cmdstat_lpos"]["calls"] == 5


async def test_who_has_a_message_in_hand_renews_and_settles_it_as_before(
    face: Face, redis_client: redis.Redis
) -> None:
    consumer, claims = await in_hand(face, 3)
    redis_client.delete(KEYS.lease_deadlines)
    redis_client.lrem(KEYS.processing, 1, claims[2].stored)
    await face.call(face.queue().repair)
    assert await face.call(consumer.renew, claims) == (True, True, True)
    settled = await face.call(consumer.settle, [Settlement(claim, Outcome.DONE) for claim in claims])
    assert settled.applied == (True, True, True)
    assert redis_client.llen(KEYS.processing) == redis_client.zcard(KEYS.lease_deadlines) == 0


async def test_a_consumer_without_a_visibility_timeout_keeps_what_it_has_for_the_grace(
    face: Face, redis_client: redis.Redis
) -> None:
    at_most_once = face.queue(**NEVER)
    await face.call(at_most_once.publish, "slow")
    async with face.process(at_most_once) as payload:
        assert payload == b"slow"
        assert await face.call(at_most_once.repair) == RepairReport(1, without_lease=1)
        (deadline,) = [
            score for _, score in redis_client.zrange(KEYS.lease_deadlines, 0, -1, withscores=True)
        ]
        seconds, micros = redis_client.time()
        assert 3500 < deadline / 1000 - seconds - micros / 1e6 <= 3600
        assert await given_again(face) == []
    # It was handled: neither a second repair nor the end of that lease brings it back.
    assert await face.call(at_most_once.repair) == RepairReport()
    let_leases_expire(redis_client, KEYS)
    assert await given_again(face) == []
    assert redis_client.exists(KEYS.pending, KEYS.processing, KEYS.lease_deadlines) == 0


async def test_the_grace_is_chosen(face: Face, redis_client: redis.Redis) -> None:
    redis_client.lpush(KEYS.processing, b"\xff no text", "lost")
    queue = face.queue()
    assert await face.call(queue.repair, grace_seconds=0.05) == RepairReport(2, without_lease=2)
    await until(lambda: _expired(redis_client) == 2)
    consumer = face.consumer("{jobs}")
    claims = (await face.call(consumer.claim, 5)).claims
    assert sorted(claim.payload for claim in claims) == [b"lost", b"\xff no text"]


async def test_one_of_two_equal_messages_is_not_taken_for_the_other(
    face: Face, redis_client: redis.Redis
) -> None:
    redis_client.lpush(KEYS.processing, "same", "same")
    queue = face.queue()
    for _ in range(2):
        await face.call(queue.repair, grace_seconds=0.01)
        await until(lambda: _expired(redis_client) == 1)
        (claim,) = (await face.call(face.consumer("{jobs}").claim, 5)).claims
        await face.call(face.consumer("{jobs}").settle, [Settlement(claim, Outcome.DONE)])
    assert payloads(redis_client, KEYS.processing) == []


async def test_wrong_arguments_are_named(face: Face) -> None:
    queue = face.queue()
    for seconds in (0, -1, float("inf"), float("nan"), 10**400):
        with pytest.raises(ConfigurationError, match="'grace_seconds'"):
            await face.call(queue.repair, grace_seconds=seconds)
    with pytest.raises(TypeError, match="'grace_seconds' must be a number"):
        await face.call(queue.repair, grace_seconds="60")
    with pytest.raises(TypeError, match="'dry_run' must be a bool"):
        await face.call(queue.repair, dry_run=1)

    class Own(face.package.AbstractRedisGateway):  # type: ignore[name-defined,misc]
        """Nothing of it is called."""

    Own.__abstractmethods__ = frozenset()
    with pytest.raises(GatewayContractError, match=r"repair\(\) needs the built-in"):
        await face.call(face.queue(gateway=Own(), **NEVER).repair)


def _expired(client: redis.Redis) -> int:
    seconds, micros = client.time()
    return int(client.zcount(KEYS.lease_deadlines, "-inf", seconds * 1000 + micros // 1000))
