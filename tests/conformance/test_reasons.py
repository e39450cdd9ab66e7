"""Why letters were given up, counted by the server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from redis.exceptions import ResponseError

from redis_message_queue import reasons
from redis_message_queue.consumer import Consumer, Outcome, Settlement
from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    import redis
    from tests.support.faces import Face

KEYS = QueueKeys("{jobs}")


async def counted(face: Face) -> tuple[dict[str, int], dict[str, int]]:
    asked = face.of(reasons, "letter_reasons")
    found: tuple[dict[str, int], dict[str, int]] = await face.call(asked, face.client(), KEYS)
    return found


async def test_each_reason_is_counted_of_dead_letters_and_of_failed_messages(
    face: Face, redis_client: redis.Redis
) -> None:
    consumer = Consumer(redis_client, "{jobs}", keep_failed=10)
    redis_client.lpush(KEYS.pending, *(f"m{number}" for number in range(5)))
    ends = [
        (Outcome.DEAD, "a"),
        (Outcome.DEAD, "b"),
        (Outcome.DEAD, "a"),
        (Outcome.FAILED, "ü"),
        (Outcome.DONE, ""),
    ]
    claims = consumer.claim(5).claims
    settled = [
        Settlement(claim, outcome, reason=reason)
        for claim, (outcome, reason) in zip(claims, ends, strict=True)
    ]
    consumer.settle(settled)
    assert await counted(face) == ({"a": 2, "b": 1}, {"ü": 1})


async def test_of_nothing_there_is_nothing(face: Face, redis_url: str) -> None:
    assert await counted(face) == ({}, {})


async def test_what_is_no_record_has_no_reason(face: Face, redis_client: redis.Redis) -> None:
    large = json.dumps({"reason": "large", "detail": "x" * (64 << 10)})
    none = ("{", "7", "null", "[]", '"text"', "{}", '{"reason": 7}', '{"reason": null}', b"\xff\xfe", large)
    redis_client.lpush(KEYS.dead_letter_info, *none, json.dumps({"reason": "r" * 1000}))
    dead, _ = await counted(face)
    assert dead == {"": len(none), "r" * 200: 1}


async def test_no_more_than_the_newest_are_read(face: Face, redis_client: redis.Redis) -> None:
    for reason, number in (("old", 400), ("new", reasons.AT_MOST - 50)):
        redis_client.lpush(KEYS.dead_letter_info, *[json.dumps({"reason": reason})] * number)
    dead, _ = await counted(face)
    assert dead == {"new": reasons.AT_MOST - 50, "old": 50}


async def test_another_type_of_value_is_an_error_and_nothing_is_written(
    face: Face, redis_client: redis.Redis
) -> None:
    redis_client.set(KEYS.failed_info, "text")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await counted(face)
    assert redis_client.get(KEYS.failed_info) == b"text"
    others = (KEYS.dead_letter, KEYS.failed, KEYS.dead_letter_info, KEYS.pending)
    assert redis_client.exists(*others) == 0
