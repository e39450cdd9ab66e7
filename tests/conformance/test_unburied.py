"""A message that spent its deliveries, and a server that refuses its dead letter: others go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from redis import ResponseError

from redis_message_queue import LuaScriptError
from redis_message_queue.consumer import Outcome, Settlement
from redis_message_queue.envelope import encode
from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    import redis
    from tests.support.faces import Face

KEYS = QueueKeys("{jobs}")


@pytest.fixture
def spent(redis_client: redis.Redis) -> list[str]:
    """Two messages beyond their limit, two good ones behind them, and no list for dead letters."""
    stored = [encode(payload) for payload in ("spent 1", "spent 2")]
    redis_client.lpush(KEYS.pending, *stored, encode("a"), encode("b"))
    redis_client.hset(KEYS.delivery_counts, mapping=dict.fromkeys(stored, 10))
    redis_client.set(KEYS.dead_letter, "somebody else's")
    return stored


async def test_a_consumer_claims_the_others(face: Face, redis_client: redis.Redis, spent: list[str]) -> None:
    consumer = face.consumer("{jobs}")
    claims = (await face.call(consumer.claim, 1)).claims + (await face.call(consumer.claim, 5)).claims
    assert [claim.payload for claim in claims] == [b"a", b"b"]
    assert redis_client.llen(KEYS.pending) == 2
    with pytest.raises(ResponseError, match="dlq is a string"):
        await face.call(consumer.claim, 1)
    await face.call(consumer.settle, [Settlement(claim, Outcome.DONE) for claim in claims])
    redis_client.delete(KEYS.dead_letter)
    assert (await face.call(consumer.claim, 5)).dead_lettered == 2
    assert redis_client.llen(KEYS.dead_letter) == 2
    assert not redis_client.exists(KEYS.pending, KEYS.processing, KEYS.delivery_counts)


async def test_a_queue_claims_the_others(face: Face, redis_client: redis.Redis, spent: list[str]) -> None:
    queue = face.queue()
    for expected in (b"a", b"b"):
        async with face.process(queue) as payload:
            assert payload == expected
    with pytest.raises(LuaScriptError, match="dlq is a string"):
        async with face.process(queue):
            pass
    assert redis_client.hgetall(KEYS.delivery_counts) == {one.encode(): b"10" for one in spent}
    redis_client.delete(KEYS.dead_letter)
    await face.call(queue.publish, "c")
    async with face.process(queue) as payload:
        assert payload == b"c"
    assert redis_client.llen(KEYS.dead_letter) == 2
    assert not redis_client.exists(KEYS.pending, KEYS.processing, KEYS.delivery_counts)


@pytest.mark.parametrize("list_of", ["dead_letter", "failed", "completed"])
async def test_only_what_needs_a_list_is_refused_with_it(
    face: Face, redis_client: redis.Redis, list_of: str
) -> None:
    redis_client.lpush(KEYS.pending, *[encode(str(number)) for number in range(len(Outcome))])
    redis_client.hset(KEYS.claim_result_refs, "a peer's", "record")
    redis_client.set(getattr(KEYS, list_of), "somebody else's")
    consumer = face.consumer("{jobs}", keep_completed=5)
    claims = (await face.call(consumer.claim, len(Outcome))).claims
    refused = {"dead_letter": Outcome.DEAD, "failed": Outcome.FAILED, "completed": Outcome.DONE}[list_of]
    for claim, outcome in zip(claims, Outcome, strict=True):
        settlement = Settlement(claim, outcome)
        if outcome is refused:
            with pytest.raises(ResponseError, match="is a string"):
                await face.call(consumer.settle, [settlement])
        else:
            assert (await face.call(consumer.settle, [settlement])).applied == (True,)
    assert redis_client.llen(KEYS.processing) == 1
