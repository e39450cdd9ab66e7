"""Values of producers that write no envelopes: empty ones, and equal ones that are in flight together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from redis_message_queue import MalformedStoredMessageError
from redis_message_queue.consumer import Outcome, Settlement

if TYPE_CHECKING:
    import redis
    from tests.support.faces import Face

PROCESSING = "{jobs}::processing"
VALUES = [
    b"",
    b"plain",
    "grüße €".encode(),
    "\U0001f600".encode(),
    b"\xed\xa0\x80",
    b'\x00\x7f/"\\',
    b"\xff raw",
]


@pytest.fixture(params=[300, None], ids=["leased", "without a lease"])
def lease(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Arguments of a queue, with and without a visibility timeout."""
    return {"visibility_timeout_seconds": request.param} | (
        {} if request.param else {"max_delivery_count": None}
    )


@pytest.mark.parametrize("value", VALUES)
async def test_two_equal_values_in_flight_are_handed_out_and_both_settle(
    face: Face, redis_client: redis.Redis, lease: dict[str, Any], value: bytes
) -> None:
    redis_client.lpush("{jobs}::pending", value, value, value)
    queue, other = face.queue(**lease), face.queue(**lease, enable_completed_queue=True)
    async with face.process(queue) as first, face.process(other) as second:
        async with face.process(queue) as third:
            assert [first, second, third] == [value] * 3
        assert redis_client.llen(PROCESSING) == 2
    left = {key for key in redis_client.scan_iter() if redis_client.type(key) in (b"list", b"hash", b"zset")}
    assert left == {b"{jobs}::completed"}
    assert redis_client.lrange("{jobs}::completed", 0, -1) == [value]


@pytest.mark.parametrize("value", ["", "grüße €", "plain"])
async def test_a_decoding_client_gets_text_each_time(
    face: Face, redis_client: redis.Redis, lease: dict[str, Any], value: str
) -> None:
    redis_client.lpush("{jobs}::pending", value, value)
    queue = face.queue(client=face.client(decode_responses=True), **lease)
    async with face.process(queue) as first, face.process(queue) as second:
        assert (first, second) == (value, value)
    assert redis_client.llen(PROCESSING) == 0


async def test_a_consumer_of_a_decoding_client_gets_text_each_time(
    face: Face, redis_client: redis.Redis
) -> None:
    redis_client.lpush("{jobs}::pending", "grüße", "grüße", b"\xff", b"\xff", "", "")
    consumer = face.consumer("{jobs}", client=face.client(decode_responses=True))
    claims = (await face.call(consumer.claim, 6)).claims
    assert [claim.payload for claim in claims] == ["grüße", "grüße", b"\xff", b"\xff", "", ""]
    done = [Settlement(claim, Outcome.DONE) for claim in claims]
    assert (await face.call(consumer.settle, done)).applied == (True,) * 6
    assert redis_client.llen(PROCESSING) == 0


async def test_of_equal_values_each_fails_for_itself(face: Face, redis_client: redis.Redis) -> None:
    redis_client.lpush("{jobs}::pending", "", "")
    queue = face.queue(enable_failed_queue=True, enable_completed_queue=True)

    async def one_fails() -> None:
        async with face.process(queue):
            async with face.process(queue):
                pass
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await one_fails()
    assert (
        redis_client.lrange("{jobs}::failed", 0, -1)
        == redis_client.lrange("{jobs}::completed", 0, -1)
        == [b""]
    )
    assert redis_client.llen(PROCESSING) == 0


async def test_an_expired_lease_of_an_empty_value_comes_back(face: Face, redis_client: redis.Redis) -> None:
    redis_client.lpush("{jobs}::pending", "", "")
    queue = face.queue()
    redis_client.zadd("{jobs}::processing:lease_deadlines", {"": 1})
    redis_client.hset("{jobs}::processing:lease_tokens", "", "1")
    redis_client.lmove("{jobs}::pending", PROCESSING, "RIGHT", "LEFT")
    async with face.process(queue) as first, face.process(queue) as second:
        assert (first, second) == (b"", b"")
    assert redis_client.llen(PROCESSING) == 0


async def test_a_second_copy_is_still_a_value_without_envelope(face: Face, redis_client: redis.Redis) -> None:
    redis_client.lpush("{jobs}::pending", "x", "x")
    queue = face.queue(strict_envelope_decoding=True)
    for _ in range(2):
        with pytest.raises(MalformedStoredMessageError, match="has no envelope"):
            async with face.process(queue):
                pass
