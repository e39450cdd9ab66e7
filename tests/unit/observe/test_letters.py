"""Why letters were given up, in words that tell nothing of a message; and what it costs to ask."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING

import pytest
from tests.support.acl import PASSWORD, grant

from redis_message_queue.connection import ConnectionSettings
from redis_message_queue.keys import QueueKeys
from redisqueue_operator.observe.redis.endpoint import Watched
from redisqueue_operator.observe.redis.letters import (
    KEPT_SECONDS,
    REASONS,
    REFUSAL_KEPT_SECONDS,
    LetterReasons,
    Letters,
    by_reason,
    reason_in_short,
)
from redisqueue_operator.observe.redis.sampler import Sampler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import redis

KEYS = QueueKeys("jobs")


@pytest.mark.parametrize(
    ("reason", "short"),
    [
        ("ValueError: invalid literal for int(): 'x' (attempt 3 of 3)", "ValueError"),
        ("psycopg.errors.UniqueViolation: key (mail)=(ann@example.com)", "psycopg.errors.UniqueViolation"),
        ("KeyError", "KeyError"),
        ("ValueError:", "ValueError"),
        ("timeout: ran for 30.0 s (attempt 1 of 3)", "timeout"),
        ("invalid payload: token sk-123", "invalid payload"),
        ("MaxDeliveries", "MaxDeliveries"),
        ("no recipient", "no recipient"),
        ("no such customer 4711", "no such customer …"),
        ("ann@example.com has left", "… has left"),
        ("no 'secret words' here", "no … here"),
        ("", "no reason on record"),
        ("w" * 500, "w" * 120),
    ],
)
def test_a_reason_in_short_is_what_letters_of_one_cause_have_in_common(reason: str, short: str) -> None:
    assert reason_in_short(reason) == short


def test_what_is_frequent_comes_first_and_what_is_rare_is_summed_up() -> None:
    rare = {f"Error{chr(97 + number)}: x": 1 for number in range(REASONS + 4)}
    found = by_reason({"ValueError: a": 2, "ValueError: b": 5, "own words": 3, **rare})
    assert found[:2] == (("ValueError", 7), ("own words", 3))
    assert found[-1] == (f"{6} other reasons", 6)
    assert len(found) == REASONS + 1


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def sampler() -> AsyncIterator[Sampler[str]]:
    sampler: Sampler[str] = Sampler(lambda key: None)
    yield sampler
    await sampler.close()


async def test_they_are_asked_of_redis_and_remembered_for_a_moment(
    sampler: Sampler[str], redis_client: redis.Redis, redis_url: str
) -> None:
    sampler.watch("jobs", Watched(KEYS, ConnectionSettings(url=redis_url)))
    clock = Clock()
    letters = LetterReasons(sampler, clock)
    record = json.dumps({"reason": "ValueError: x"})
    redis_client.lpush(KEYS.dead_letter_info, record, record)
    expected = {"dead letters": Letters((("ValueError", 2),), 2), "failed": Letters((), 0)}
    assert await letters.of("jobs") == expected
    redis_client.lpush(KEYS.failed_info, record)
    assert await letters.of("jobs") == expected
    clock.now += KEPT_SECONDS
    assert (await letters.of("jobs"))["failed"] == Letters((("ValueError", 1),), 1)


async def test_a_login_that_may_not_read_lists_is_not_asked_for_an_hour(
    sampler: Sampler[str], redis_client: redis.Redis, redis_url: str
) -> None:
    grant(redis_client, "operator", "operator", queue="jobs")
    redis_client.execute_command("ACL", "SETUSER", "operator", "+client|setname")
    url = redis_url.replace("//", f"//operator:{PASSWORD}@")
    try:
        sampler.watch("jobs", Watched(KEYS, ConnectionSettings(url=url)))
        clock = Clock()
        letters = LetterReasons(sampler, clock)
        redis_client.lpush(KEYS.dead_letter_info, "{}")
        redis_client.acl_log_reset()
        for _ in range(3):
            clock.now += REFUSAL_KEPT_SECONDS / 4
            assert "+lrange allows it" in (await letters.of("jobs"))["dead letters"].unknown
        refused = [entry for entry in redis_client.acl_log() if entry["object"] == "lrange"]
        assert sum(int(entry["count"]) for entry in refused) == 1
        redis_client.execute_command("ACL", "SETUSER", "operator", "+lrange")
        clock.now += REFUSAL_KEPT_SECONDS
        assert (await letters.of("jobs"))["dead letters"].by_reason == (("no reason on record", 1),)
    finally:
        redis_client.execute_command("ACL", "DELUSER", "operator")


async def test_a_redis_that_is_away_or_silent_is_unknown_in_fixed_words(sampler: Sampler[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        for key, url in (("gone", "redis://:canary@127.0.0.1:1"), ("silent", f"redis://127.0.0.1:{port}")):
            sampler.watch(key, Watched(KEYS, ConnectionSettings(url=url)))
        letters = LetterReasons(sampler)
        gone, held = await asyncio.gather(letters.of("gone"), letters.of("silent"))
        assert gone["failed"].unknown == "Nothing accepts connections at Redis' address."
        assert held["failed"].unknown == "Redis did not answer in time."
        assert (await letters.of("nobody's"))["failed"].unknown == "The queue is not read."
