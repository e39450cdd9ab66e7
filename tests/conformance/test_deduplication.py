"""Deduplication: it surprises nobody, what was given up may come again, a publish chooses key and time."""

from __future__ import annotations

import logging
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.queues import let_leases_expire

from redis_message_queue import ConfigurationError, GatewayContractError
from redis_message_queue.consumer import Outcome, Settlement
from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    import redis
    from tests.support.faces import Face

KEYS = QueueKeys("{jobs}")
LOGGER = "redis_message_queue"


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


async def test_the_first_suppressed_publish_says_how_to_choose(
    face: Face, caplog: pytest.LogCaptureFixture
) -> None:
    queue = face.queue()
    with caplog.at_level(logging.WARNING, LOGGER):
        assert await face.call(queue.publish, "again") is True
        assert told(caplog) == []
        for _ in range(3):
            assert await face.call(queue.publish, "again") is False
        assert await face.call(queue.publish_many, ["again", "more"]) == [False, True]
    (warning,) = told(caplog)
    for word in ("{jobs}", "deduplication=False", "deduplication=True", "'deduplication_key'"):
        assert word in warning
    assert "again" not in warning.replace("{jobs}", "")


@pytest.mark.parametrize("how", ["publish", "publish_many", "later"])
async def test_each_way_to_publish_says_so(face: Face, caplog: pytest.LogCaptureFixture, how: str) -> None:
    queue = face.queue()
    with caplog.at_level(logging.WARNING, LOGGER):
        for _ in range(2):
            if how == "publish_many":
                await face.call(queue.publish_many, ["x"])
            else:
                await face.call(queue.publish, "x", delay_seconds=60 if how == "later" else None)
    assert len(told(caplog)) == 1


@pytest.mark.parametrize(
    "chosen",
    [
        {"deduplication": True},
        {"deduplication": False},
        {"get_deduplication_key": None},
        {"get_deduplication_key": str.lower},
        {"deduplication": True, "get_deduplication_key": str.lower},
    ],
)
async def test_who_chose_is_told_nothing(
    face: Face, caplog: pytest.LogCaptureFixture, chosen: dict[str, Any]
) -> None:
    queue = face.queue(**chosen)
    with caplog.at_level(logging.WARNING, LOGGER):
        first, second = [await face.call(queue.publish, "x") for _ in range(2)]
        await face.call(queue.publish_many, ["x", "x"])
        await face.call(queue.publish, "y", deduplication_key="k")
        assert await face.call(queue.publish, "z", deduplication_key="k") is False
    assert (first, second) == (True, chosen.get("deduplication") is False)
    assert told(caplog) == []


async def test_a_key_of_one_publish_is_all_that_counts(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue(deduplication=False)
    assert await face.call(queue.publish, "a", deduplication_key="order-7") is True
    assert await face.call(queue.publish, "b", deduplication_key="order-7") is False
    assert await face.call(queue.publish, "a", deduplication_key="order-8", delay_seconds=60) is True
    assert await face.call(queue.publish, "a") is True
    assert 3500 < redis_client.ttl(KEYS.deduplication("order-7")) <= 3600
    aware = face.queue(deduplication=True)
    assert await face.call(aware.publish, "c", deduplication_key="order-7") is False
    assert await face.call(aware.publish, "c") is True


async def test_one_publish_says_how_long_it_is_remembered(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue(deduplication=False)
    await face.call(queue.publish, "a", deduplication_key="k", deduplication_seconds=86_400)
    assert 86_000 < redis_client.ttl(KEYS.deduplication("k")) <= 86_400
    by_content = face.queue()
    await face.call(by_content.publish, "b", deduplication_seconds=30)
    (marker,) = [key for key in redis_client.scan_iter("*deduplication::*") if len(key) > 64]
    assert 20 < redis_client.ttl(marker) <= 30


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"deduplication_key": ""}, ConfigurationError, "'deduplication_key' must be a non-empty string"),
        ({"deduplication_key": b"k"}, TypeError, "'deduplication_key' must be a str or None, got bytes"),
        ({"deduplication_key": "k", "deduplication_seconds": 0}, ConfigurationError, "must be positive"),
        ({"deduplication_key": "k", "deduplication_seconds": 1.5}, TypeError, "'deduplication_seconds'"),
        ({"deduplication_key": "k", "deduplication_seconds": 10**400}, ConfigurationError, "seconds'"),
        ({"deduplication_seconds": 5}, ConfigurationError, "pass 'deduplication_key', or deduplication=True"),
    ],
)
async def test_what_cannot_be_asked_of_one_publish_is_named(
    face: Face, redis_client: redis.Redis, options: dict[str, Any], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        await face.call(face.queue(deduplication=False).publish, "a", **options)
    assert redis_client.dbsize() == 0


async def test_a_key_and_dropping_the_oldest_exclude_each_other(face: Face) -> None:
    dropping = face.queue(
        deduplication=False,
        max_pending_length=5,
        pending_overload_policy="drop_oldest",
        max_delivery_count=None,
    )
    with pytest.raises(ConfigurationError, match="drop_oldest"):
        await face.call(dropping.publish, "a", deduplication_key="k")
    methods = dict.fromkeys(face.package.AbstractRedisGateway.__abstractmethods__, lambda self: None)
    own = face.queue(gateway=type("Own", (face.package.AbstractRedisGateway,), methods)())
    with pytest.raises(GatewayContractError, match="a deduplication of one publish needs the built-in"):
        await face.call(own.publish, "a", deduplication_key="k")


PUBLISHERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "content": ({}, {}),
    "the text itself": ({"get_deduplication_key": None}, {}),
    "a key of the queue's": ({"get_deduplication_key": lambda _: "ключ 1"}, {}),
    "a key of the publish": ({}, {"deduplication_key": "k/é"}),
    "later": ({}, {"delay_seconds": 0.001}),
}


@pytest.mark.parametrize("how", PUBLISHERS)
@pytest.mark.parametrize("outcome", [Outcome.DEAD, Outcome.FAILED])
async def test_what_a_consumer_gives_up_may_be_published_again(
    face: Face, redis_client: redis.Redis, how: str, outcome: Outcome
) -> None:
    chosen, options = PUBLISHERS[how]
    if chosen.get("get_deduplication_key"):
        chosen = {"get_deduplication_key": face.callback(chosen["get_deduplication_key"])}
    queue, consumer = face.queue(**chosen), face.consumer("{jobs}")
    assert await face.call(queue.publish, "précieux", **options) is True
    claims = ()
    while not claims:
        claims = (await face.call(consumer.claim, 1)).claims
    assert await face.call(queue.publish, "précieux", **options) is False, "it is in hand"
    await face.call(consumer.settle, [Settlement(claims[0], outcome)])
    assert await face.call(queue.publish, "précieux", **options) is True


@pytest.mark.parametrize("how", PUBLISHERS)
@pytest.mark.parametrize("end", [Outcome.DEAD, Outcome.FAILED, "too many deliveries"])
async def test_a_key_that_another_holds_by_now_is_not_freed(
    face: Face, redis_client: redis.Redis, how: str, end: str
) -> None:
    """The time of the first one's key is over, and the same was published a second time."""
    chosen, options = PUBLISHERS[how]
    if chosen.get("get_deduplication_key"):
        chosen = {"get_deduplication_key": face.callback(chosen["get_deduplication_key"])}
    queue, consumer = face.queue(**chosen), face.consumer("{jobs}", max_delivery_count=1)
    assert await face.call(queue.publish, "x", **options) is True
    claims = ()
    while not claims:
        claims = (await face.call(consumer.claim, 1)).claims
    assert redis_client.delete(*redis_client.scan_iter("*deduplication::*")) > 0
    later = options | {"delay_seconds": 1000}
    assert await face.call(queue.publish, "x", **later) is True
    if isinstance(end, Outcome):
        await face.call(consumer.settle, [Settlement(claims[0], end)])
    else:
        let_leases_expire(redis_client, KEYS)
        while not redis_client.llen(KEYS.dead_letter):
            await face.call(consumer.claim, 1)
    assert await face.call(queue.publish, "x", **options) is False


@pytest.mark.parametrize("how", ["enqueue", "publish"])
async def test_what_was_not_deduplicated_frees_no_key(
    face: Face, redis_client: redis.Redis, how: str
) -> None:
    queue, careless = face.queue(deduplication=True), face.queue(deduplication=False)
    assert await face.call(queue.publish, "x", delay_seconds=1000) is True
    assert await face.call(getattr(careless, how), "x")
    consumer = face.consumer("{jobs}")
    (claim,) = (await face.call(consumer.claim, 1)).claims
    await face.call(consumer.settle, [Settlement(claim, Outcome.DEAD)])
    assert await face.call(queue.publish, "x") is False


async def test_a_key_of_7_0_0_is_freed_by_its_name(face: Face, redis_client: redis.Redis) -> None:
    queue, consumer = face.queue(deduplication=True), face.consumer("{jobs}")
    await face.call(queue.publish, "x")
    marker = KEYS.deduplication(sha256(b"x").hexdigest())
    assert redis_client.set(marker, "", ex=60, xx=True)
    (claim,) = (await face.call(consumer.claim, 1)).claims
    await face.call(consumer.settle, [Settlement(claim, Outcome.DEAD)])
    assert await face.call(queue.publish, "x") is True


@pytest.mark.parametrize("outcome", [Outcome.DONE, Outcome.RETRY, Outcome.RELEASE])
async def test_what_was_handled_or_comes_back_is_remembered(face: Face, outcome: Outcome) -> None:
    queue, consumer = face.queue(deduplication=True), face.consumer("{jobs}")
    await face.call(queue.publish, "a")
    (claim,) = (await face.call(consumer.claim, 1)).claims
    await face.call(consumer.settle, [Settlement(claim, outcome)])
    assert await face.call(queue.publish, "a") is False


async def test_who_lost_the_lease_frees_nothing(face: Face, redis_client: redis.Redis) -> None:
    queue, consumer = face.queue(deduplication=True), face.consumer("{jobs}")
    await face.call(queue.publish, "a")
    (claim,) = (await face.call(consumer.claim, 1)).claims
    let_leases_expire(redis_client, KEYS)
    await face.call(face.consumer("{jobs}").claim, 1)
    lost = await face.call(consumer.settle, [Settlement(claim, Outcome.DEAD)])
    assert lost.applied == (False,)
    assert await face.call(queue.publish, "a") is False


async def test_what_spent_its_deliveries_may_be_published_again(
    face: Face, redis_client: redis.Redis
) -> None:
    queue, by_key = face.queue(deduplication=True), {"deduplication_key": "k"}
    await face.call(queue.publish, "poison")
    await face.call(queue.publish, "worse", **by_key)
    consumer = face.consumer("{jobs}", max_delivery_count=1)
    assert len((await face.call(consumer.claim, 2)).claims) == 2
    let_leases_expire(redis_client, KEYS)
    while redis_client.llen(KEYS.dead_letter) < 2:
        await face.call(consumer.claim, 2)
    assert await face.call(queue.publish, "poison") is True
    assert await face.call(queue.publish, "other", **by_key) is True


@pytest.mark.parametrize("key", ['"\\ud800"', '""', "7", "null", '"a"'])
async def test_a_strange_key_in_an_envelope_fails_no_settlement(
    face: Face, redis_client: redis.Redis, key: str
) -> None:
    redis_client.lpush(KEYS.pending, f'\x1eRMQ1:{{"id":"1","payload":"","key":{key}}}')
    consumer = face.consumer("{jobs}")
    (claim,) = (await face.call(consumer.claim, 1)).claims
    done = await face.call(consumer.settle, [Settlement(claim, Outcome.DEAD)])
    assert done.applied == (True,)
