"""Processes of redis-message-queue 7.0.0 and ours share a queue, both ways, and leave the same keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.support import v7

from redis_message_queue import RedisMessageQueue

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]
DEDUP = "q::deduplication::"


@pytest.fixture(autouse=True)
def _v7() -> None:
    v7.require_v7()


@pytest.fixture
def queue(redis_client: redis.Redis) -> RedisMessageQueue:
    return RedisMessageQueue("q", client=redis_client)


def take(queue: RedisMessageQueue, count: int) -> Iterator[str]:
    for _ in range(count):
        with queue.process_message() as payload:
            assert isinstance(payload, bytes)
            yield payload.decode()


def crash_with_message(queue: RedisMessageQueue) -> None:
    """What a killed consumer leaves: an exit settles nothing."""
    with pytest.raises(SystemExit), queue.process_message():
        raise SystemExit


def expire(client: redis.Redis) -> None:
    """Let every lease of the queue run out now."""
    for stored in client.zrange("q::processing:lease_deadlines", 0, -1):
        client.zadd("q::processing:lease_deadlines", {stored: 1})


def key_space(client: redis.Redis) -> dict[str, Any]:
    """Every key and content but replay records, which expire, and what differs by nature (ids, counters)."""
    content: dict[str, Any] = {}
    for name in sorted(key.decode() for key in client.scan_iter()):
        if "operation_result" in name:
            assert client.pttl(name) > 0
            continue
        kind = client.type(name)
        content[name] = client.lrange(name, 0, -1) if kind == b"list" else kind
    return content


def test_their_producer_and_our_consumer(redis_url: str, queue: RedisMessageQueue) -> None:
    assert v7.publish(redis_url, "q", 5) == [True] * 5
    assert list(take(queue, 5)) == [f"v7-{number}" for number in range(5)]


def test_our_producer_and_their_consumer(redis_url: str, queue: RedisMessageQueue) -> None:
    messages: list[Any] = ["plain", "grüße \U0001f600 \x1e", {"b": "é/", "a": [1, None]}]
    assert all(queue.publish(message) for message in messages)
    assert v7.consume(redis_url, "q", 3) == [
        "plain",
        "grüße \U0001f600 \x1e",
        '{"a": [1, null], "b": "\\u00e9/"}',
    ]


def test_duplicates_are_seen_across_both(redis_url: str, queue: RedisMessageQueue) -> None:
    message = {"b": "é/", "a": 1}
    assert queue.publish(message) is True
    assert v7.publish_messages(redis_url, "q", [message, {"other": 1}]) == [False, True]
    assert queue.publish({"other": 1}) is False


def test_we_reclaim_what_their_crashed_consumer_held(
    redis_url: str, redis_client: redis.Redis, queue: RedisMessageQueue
) -> None:
    v7.publish(redis_url, "q", 2)
    assert v7.claim_and_crash(redis_url, "q") == ["v7-0"]
    expire(redis_client)
    assert list(take(queue, 2)) == ["v7-0", "v7-1"]
    leftovers = {name for name in redis_client.scan_iter() if b"claim_result" in name or b"lease_t" in name}
    assert leftovers == {b"q::processing:lease_token_counter"}


def test_they_reclaim_what_our_crashed_consumer_held(
    redis_url: str, redis_client: redis.Redis, queue: RedisMessageQueue
) -> None:
    for text in ("a", "b"):
        queue.publish(text)
    crash_with_message(queue)
    expire(redis_client)
    assert v7.consume(redis_url, "q", 2) == ["a", "b"]
    assert not redis_client.exists("q::processing:delivery_counts", "q::processing:lease_tokens")


def test_deliveries_are_counted_together_until_the_dead_letters(
    redis_url: str, redis_client: redis.Redis
) -> None:
    queue = RedisMessageQueue("q", client=redis_client, max_delivery_count=2)
    queue.publish("poison")
    v7.claim_and_crash(redis_url, "q", max_delivery_count=2)
    expire(redis_client)
    crash_with_message(queue)
    expire(redis_client)
    queue.publish("fresh")
    assert v7.consume(redis_url, "q", 1, max_delivery_count=2) == ["fresh"]
    assert redis_client.lrange("q::dlq", 0, -1) == [b"poison"]


@pytest.mark.parametrize("options", [{}, {"visibility_timeout_seconds": None, "max_delivery_count": None}])
def test_the_same_work_leaves_the_same_keys(
    redis_url: str, redis_client: redis.Redis, options: dict[str, Any]
) -> None:
    options = {"enable_completed_queue": True, **options}
    v7.publish(redis_url, "q", 3, "m", **options)
    v7.consume(redis_url, "q", 2, **options)
    theirs = key_space(redis_client)
    redis_client.flushall()
    queue = RedisMessageQueue("q", client=redis_client, **options)
    for number in range(3):
        queue.publish(f"m{number}")
    assert list(take(queue, 2)) == ["m0", "m1"]
    ours = key_space(redis_client)
    # The pending message has an id of its own in each run.
    assert len(theirs.pop("q::pending")) == len(ours.pop("q::pending")) == 1
    assert ours == theirs
