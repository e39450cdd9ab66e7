"""What a gateway does to a list by its name, and histories whose length alone was given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from redis_message_queue import envelope
from redis_message_queue.consumer import Outcome, Settlement
from redis_message_queue.exceptions import ConfigurationError, LuaScriptError

if TYPE_CHECKING:
    import redis
    from tests.support.faces import Face

PENDING, DEAD = "{jobs}::pending", "{jobs}::dlq"


async def consume(face: Face, queue: Any) -> None:
    async with face.process(queue):
        pass


@pytest.mark.parametrize(("length", "kept"), [(0, []), (2, [b"c", b"b"]), (None, [b"c", b"b", b"a"])])
async def test_a_length_alone_switches_a_history_on(
    face: Face, redis_client: redis.Redis, length: int | None, kept: list[bytes]
) -> None:
    queue = face.queue(max_completed_length=length, deduplication=False)
    for text in "abc":
        await face.call(queue.publish, text)
        await consume(face, queue)
    assert redis_client.lrange("{jobs}::completed", 0, -1) == kept


async def test_many_letters_get_their_ids_oldest_first(face: Face, redis_client: redis.Redis) -> None:
    gateway = face.gateway()
    letters = [b"\xff%d" % number for number in range(1100)]
    redis_client.rpush(DEAD, *reversed(letters))
    ids = [f"id-{number}" for number in range(1050)]
    assert await face.call(gateway.redrive_messages, DEAD, PENDING, ids) == 1050
    found = [envelope.decode(stored) for stored in reversed(redis_client.lrange(PENDING, 0, -1))]
    assert [(one.id, one.payload) for one in found] == list(zip(ids, letters[:1050], strict=True))
    assert await face.call(gateway.queue_length, DEAD) == 50
    assert await face.call(gateway.redrive_messages, DEAD, PENDING, [f"more-{n}" for n in range(60)]) == 50
    assert await face.call(gateway.purge_queue, PENDING) == 1100
    assert not redis_client.exists(PENDING, DEAD)


async def test_what_is_told_of_letters_leaves_with_them(face: Face, redis_client: redis.Redis) -> None:
    queue, gateway = face.queue(deduplication=False), face.gateway()
    consumer = face.consumer("{jobs}")
    for text in ("a", "b"):
        await face.call(queue.publish, text)
    claims = (await face.call(consumer.claim, 2)).claims
    await face.call(consumer.settle, [Settlement(claim, Outcome.DEAD, reason="no") for claim in claims])
    assert redis_client.llen("{jobs}::dlq_info") == 2
    assert await face.call(gateway.redrive_messages, DEAD, PENDING, ["again"]) == 1
    assert redis_client.llen("{jobs}::dlq_info") == 1
    assert await face.call(gateway.purge_queue, DEAD) == 1
    assert not redis_client.exists("{jobs}::dlq_info")
    assert await face.call(gateway.peek_messages, PENDING, 5) == [envelope.encode("a", "again").encode()]


async def test_what_cannot_be_asked_is_named(face: Face, redis_client: redis.Redis) -> None:
    gateway = face.gateway()
    redis_client.rpush(DEAD, "a")
    for ids, error, text in (
        ("abc", TypeError, "'envelope_ids' must be an iterable of ids, got str"),
        ([1], TypeError, "'envelope_ids' must be strings, got int"),
        (["a", "a"], ConfigurationError, "'envelope_ids' must not be empty nor equal"),
        ([""], ConfigurationError, "'envelope_ids' must not be empty nor equal"),
    ):
        with pytest.raises(error, match=text):
            await face.call(gateway.redrive_messages, DEAD, PENDING, ids)
    with pytest.raises(ConfigurationError, match="'count' must be positive"):
        await face.call(gateway.peek_messages, DEAD, 0)
    assert redis_client.lrange(DEAD, 0, -1) == [b"a"]


@pytest.mark.foreign_keys("a key of the wrong type")
async def test_a_key_of_another_type_stays_as_it_is(face: Face, redis_client: redis.Redis) -> None:
    gateway = face.gateway()
    redis_client.set(PENDING, "text")
    redis_client.rpush(DEAD, "a")
    with pytest.raises(LuaScriptError):
        await face.call(gateway.purge_queue, PENDING)
    with pytest.raises(LuaScriptError):
        await face.call(gateway.redrive_messages, DEAD, PENDING, ["b"])
    assert (redis_client.get(PENDING), redis_client.lrange(DEAD, 0, -1)) == (b"text", [b"a"])
