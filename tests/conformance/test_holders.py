"""What a process held that has ended comes back at once, and nothing else does."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.queues import everything, let_leases_expire, payloads, publish
from tests.support.waiting import until

from redis_message_queue import ConfigurationError, _transport, holders, stats
from redis_message_queue.consumer import Consumer, Outcome, Settlement, WorkerIdentity
from redis_message_queue.keys import QueueKeys, held_field
from redis_message_queue.stats import Holder, QueueSample, sample

if TYPE_CHECKING:
    import redis
    from tests.support.faces import Face

KEYS = QueueKeys("{jobs}")


def worker(client: redis.Redis, instance: str, **options: Any) -> Consumer:
    """Two processes of one pod have its name, one after the other."""
    return Consumer(client, "{jobs}", worker=WorkerIdentity("pod", 1000, instance=instance), **options)


def held(client: redis.Redis) -> dict[str, int]:
    (found,) = sample(client, [KEYS])
    assert isinstance(found, QueueSample)
    return {holder.instance: holder.messages for holder in found.holders}


def names(claims: Any) -> list[str]:
    return [bytes(claim.payload).decode() for claim in claims]


async def end(face: Face, instance: str = "dead") -> int:
    returned = await face.call(face.of(holders, "expire_leases"), face.client(), KEYS, instance)
    assert isinstance(returned, int)
    return returned


async def test_all_comes_back_in_its_order_and_to_the_front(face: Face, redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, *map(str, range(20)))
    assert len(worker(redis_client, "dead").claim(16).claims) == 16
    assert await end(face) == 16
    assert redis_client.zcard(KEYS.lease_deadlines) == redis_client.hlen(KEYS.lease_tokens) == 0
    assert redis_client.llen(KEYS.processing) == 0
    claims = worker(redis_client, "alive").claim(20).claims
    assert names(claims) == [str(number) for number in range(20)]
    assert [claim.delivery_count for claim in claims] == [2] * 16 + [1] * 4
    assert [claim.lost_leases for claim in claims] == [1] * 16 + [0] * 4


async def test_it_is_told_what_each_process_holds(face: Face, redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, *"abcdef")
    one, other = worker(redis_client, "one"), worker(redis_client, "other")
    first, second = one.claim(2).claims, other.claim(1).claims
    assert held(redis_client) == {"one": 2, "other": 1}
    third = one.settle([Settlement(first[0], Outcome.DONE)], claim=2).claimed.claims
    assert held(redis_client) == {"one": 3, "other": 1}
    ends = [Outcome.RETRY, Outcome.RELEASE, Outcome.DEAD]
    one.settle([Settlement(*each) for each in zip((first[1], *third), ends, strict=True)])
    assert held(redis_client) == {"other": 1}
    other.settle([Settlement(second[0], Outcome.FAILED)])
    (found,) = await face.call(face.of(stats, "sample"), face.client(), [KEYS])
    assert found.holders == ()
    assert [each.id for each in found.workers] == ["pod"]
    one.deregister()
    other.deregister()
    assert not redis_client.exists(KEYS.workers)


@pytest.mark.parametrize("outcome", [Outcome.DONE, Outcome.RETRY])
@pytest.mark.parametrize("counter", [0, 99_500])
def test_of_many_in_hand_it_is_known_which(redis_client: redis.Redis, outcome: Outcome, counter: int) -> None:
    """Whatever tokens are settled together, and where these become longer by a digit."""
    redis_client.set(KEYS.lease_token_counter, counter)
    publish(redis_client, KEYS, *map(str, range(1500)))
    one, order, delay = worker(redis_client, "one"), random.Random(1), 60 * (outcome is Outcome.RETRY)
    claims = [claim for _ in range(2) for claim in one.claim(500).claims]
    for count in (1, 16, 3, 400, 100, 2):
        order.shuffle(claims)
        ends = [Settlement(claim, outcome, delay_seconds=delay) for claim in claims[:count]]
        claims = [*claims[count:], *one.settle(ends, claim=count // 2).claimed.claims]
        field = redis_client.hget(KEYS.workers, held_field("one"))
        assert field is not None
        assert field.split()[1:] == sorted((claim.token.encode() for claim in claims), key=int)
        assert held(redis_client) == {"one": len(claims)}
    # Nothing rests on their order.
    order.shuffle(claims)
    shuffled = b" ".join([field.split()[0], *(claim.token.encode() for claim in claims)])
    redis_client.hset(KEYS.workers, held_field("one"), shuffled)
    one.settle([Settlement(claim, outcome, delay_seconds=delay) for claim in claims[:50]])
    left = (redis_client.hget(KEYS.workers, held_field("one")) or b"").split()[1:]
    assert left == [claim.token.encode() for claim in claims[50:]]


async def test_nobody_else_loses_anything(face: Face, redis_client: redis.Redis) -> None:
    """Neither another process of that name, nor a consumer without one, though its lease is over already."""
    publish(redis_client, KEYS, *"abcdef")
    dead, alive = worker(redis_client, "dead"), worker(redis_client, "alive")
    nameless = face.consumer("{jobs}")
    async with face.process(face.queue()) as payload:
        claims = [*(await face.call(nameless.claim, 1)).claims, *alive.claim(2).claims]
        dead.claim(1)
        let_leases_expire(redis_client, KEYS)
        assert await end(face) == 1
        assert payloads(redis_client, KEYS.pending) == ["e", "f"]
        assert await face.call(nameless.renew, claims) == (True, True, True)
        assert held(redis_client) == {"alive": 2}
        assert payload == b"a"
    assert redis_client.hlen(KEYS.lease_tokens) == 3
    assert await end(face, "nobody") == 0


async def test_who_lives_after_all_learns_of_its_loss(face: Face, redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, "a", "b")
    supposed_dead, alive = worker(redis_client, "dead"), worker(redis_client, "alive")
    claims = supposed_dead.claim(2).claims
    assert await end(face) == 2
    taken = alive.claim(1).claims
    assert supposed_dead.renew(claims) == (False, False)
    reply = supposed_dead.settle([Settlement(claim, Outcome.DONE) for claim in claims], claim=1)
    assert reply.applied == (False, False)
    assert names(reply.claimed.claims) == ["b"], "it goes on as any other"
    assert held(redis_client) == {"alive": 1, "dead": 1}
    assert alive.settle([Settlement(taken[0], Outcome.DONE)]).applied == (True,)


async def test_again_it_does_nothing(face: Face, redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, *"abc")
    worker(redis_client, "dead").claim(2)
    assert await end(face) == 2
    before = everything(redis_client)
    assert await end(face) == 0
    assert everything(redis_client) == before
    worker(redis_client, "alive").claim(2)
    assert await end(face) == 0


@pytest.mark.one_node
async def test_many_come_back_a_bounded_number_at_a_time(face: Face, redis_client: redis.Redis) -> None:
    count = 1200
    publish(redis_client, KEYS, *(f"{number:04}" + "x" * 5000 for number in range(count)))
    dead, alive = worker(redis_client, "dead"), worker(redis_client, "alive")
    for _ in range(count // 100):
        dead.claim(50)
        alive.claim(50)
    redis_client.config_resetstat()
    assert await end(face) == count // 2
    calls = redis_client.info("commandstats")
    assert calls["cmdstat_lrem"]["calls"] == count // 2
    assert calls["cmdstat_evalsha"]["calls"] >= count // 2 / 100
    assert held(redis_client) == {"alive": count // 2}
    assert redis_client.llen(KEYS.pending) == redis_client.llen(KEYS.processing) == count // 2


async def test_one_that_ends_its_workers_is_a_dead_letter_at_last(
    face: Face, redis_client: redis.Redis
) -> None:
    publish(redis_client, KEYS, "poison", "good")
    for delivery in range(1, 4):
        dead = worker(redis_client, "dead", max_delivery_count=3)
        claims = dead.settle((), claim=2, in_hand=0).claimed.claims
        poison = next(claim for claim in claims if claim.payload == b"poison")
        assert poison.delivery_count == delivery
        assert poison.lost_leases == delivery - 1
        dead.settle([Settlement(claim, Outcome.RELEASE) for claim in claims if claim is not poison])
        assert await end(face) == 1
    reply = worker(redis_client, "alive", max_delivery_count=3).settle((), claim=2, in_hand=0).claimed
    assert (reply.dead_lettered, names(reply.claims)) == (1, ["good"])
    assert payloads(redis_client, KEYS.dead_letter) == ["poison"]


async def test_what_was_only_kept_is_not_counted(face: Face, redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, "a")
    worker(redis_client, "dead").claim(1)
    assert await end(face) == 1
    for _ in range(10):
        (kept,) = worker(redis_client, "dead").settle((), claim=1, in_hand=1).claimed.claims
        assert (kept.kept, kept.delivery_count, kept.lost_leases) == (True, 2, 1)
        assert await end(face) == 1


async def test_a_consumer_that_waits_is_woken(
    face: Face, redis_client: redis.Redis, node: redis.Redis
) -> None:
    publish(redis_client, KEYS, "a")
    worker(redis_client, "dead").claim(1)
    consumer = face.consumer("{jobs}")
    waiting = asyncio.create_task(asyncio.to_thread(_wait, redis_client))
    await until(lambda: node.info("clients")["blocked_clients"])
    assert await end(face) == 1
    assert await waiting
    assert names((await face.call(consumer.claim, 1)).claims) == ["a"]


def _wait(client: redis.Redis) -> bool:
    return Consumer(client, "{jobs}").wait(60)


async def test_a_claim_whose_reply_was_lost_is_the_process_own_too(
    face: Face, redis_client: redis.Redis
) -> None:
    publish(redis_client, KEYS, *"abc")
    dead = worker(redis_client, "dead")
    attempt = dead._state.begin((), 3)
    _transport.execute(redis_client, attempt.call)
    dead._state.lost(attempt)
    assert held(redis_client) == {"dead": 3}
    assert names(dead.settle((), claim=2).claimed.claims) == ["a", "b"], "the third goes back"
    assert held(redis_client) == {"dead": 2}
    assert await end(face) == 2


def test_leases_from_before_and_after_the_counter_was_lost_are_counted(redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, *"abcdef")
    one = worker(redis_client, "one")
    for newest, count in ((97, 5), (9, 1)):
        redis_client.set(KEYS.lease_token_counter, newest)
        one.claim(count)
    assert redis_client.hget(KEYS.workers, held_field("one")).split()[1:] == [
        b"98",
        b"99",
        b"100",
        b"101",
        b"102",
        b"10",
    ]
    assert held(redis_client) == {"one": 6}


async def test_what_is_held_is_known_for_as_long_as_the_leases_last(
    face: Face, redis_client: redis.Redis
) -> None:
    publish(redis_client, KEYS, "a")
    dead = worker(redis_client, "dead", visibility_timeout_seconds=3600)
    dead.claim(1)
    assert 3_500_000 < redis_client.pttl(KEYS.workers) <= 3_600_000
    redis_client.hset(KEYS.workers, held_field("dead"), f"{_now_ms(redis_client) + 1000} 1")
    dead.report(busy=1, oldest_start_age_seconds=None, draining=False)
    until = int(redis_client.hget(KEYS.workers, held_field("dead")).split()[0])
    assert until > _now_ms(redis_client) + 3_500_000
    assert 3_500_000 < redis_client.pttl(KEYS.workers) <= 3_600_000
    redis_client.hset(KEYS.workers, held_field("long over"), "1 17 18")
    while redis_client.hexists(KEYS.workers, held_field("long over")):
        dead.report(busy=1, oldest_start_age_seconds=None, draining=False)
    assert await end(face) == 1


def _now_ms(client: redis.Redis) -> int:
    seconds, micros = client.time()
    return int(seconds) * 1000 + int(micros) // 1000


async def test_who_has_no_instance_is_not_accounted_for(face: Face, redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, "a")
    worker(redis_client, "").claim(1)
    assert redis_client.hkeys(KEYS.workers) == [b"pod"]
    with pytest.raises(ConfigurationError, match="instance"):
        await end(face, "")
    assert Holder("x", 1).instance == "x"
