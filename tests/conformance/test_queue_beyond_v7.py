"""What the queue classes offer beyond 7.0.0: bulk and delayed publishes, looking, repairing, callbacks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import until

from redis_message_queue import ConfigurationError, GatewayContractError, QueueBackpressureError

if TYPE_CHECKING:
    import redis
    from tests.support.faces import Face


async def drain_list(face: Face, queue: object) -> list[object]:
    """Handle everything that is pending."""
    taken = []
    while (await face.call(queue.stats)).pending:
        async with face.process(queue) as payload:
            taken.append(payload)
    return taken


async def test_publish_many_keeps_the_order_and_finds_duplicates(
    face: Face, redis_client: redis.Redis
) -> None:
    queue = face.queue()
    await face.call(queue.publish, "b")
    assert await face.call(queue.publish_many, ["a", "b", {"k": 1}, "a"]) == [True, False, True, False]
    assert await drain_list(face, queue) == [b"b", b"a", b'{"k": 1}']
    assert await face.call(queue.publish_many, ["a", '{"k": 1}']) == [False, False]
    assert await face.call(queue.publish_many, []) == []
    assert redis_client.ttl("{jobs}::deduplication::none") == -2


async def test_more_than_a_round_trip_of_messages(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue(deduplication=False)
    flags = await face.call(queue.publish_many, (str(number) for number in range(1234)))
    assert flags == [True] * 1234
    payloads = [json.loads(stored[6:])["payload"] for stored in redis_client.lrange("{jobs}::pending", 0, -1)]
    assert payloads == [str(number) for number in reversed(range(1234))]


async def test_publish_many_is_all_or_nothing(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue(max_pending_length=2)
    with pytest.raises(QueueBackpressureError):
        await face.call(queue.publish_many, ["a", "b", "c"])
    with pytest.raises(TypeError, match="must be a str or dict"):
        await face.call(queue.publish_many, ["a", b"wrong"])
    with pytest.raises(TypeError, match="iterable of messages"):
        await face.call(queue.publish_many, "ab")
    assert redis_client.dbsize() == 0
    assert await face.call(queue.publish_many, ["a", "b"]) == [True, True]


async def test_publish_many_reports_each_message(face: Face) -> None:
    events: list[object] = []
    queue = face.queue(on_event=face.callback(events.append))
    await face.call(queue.publish_many, ["a", "a"])
    assert [str(event.operation) for event in events] == ["publish", "publish_dedup_hit"]


@pytest.mark.parametrize("leased", [True, False])
async def test_a_delayed_message_waits_and_is_then_next(
    face: Face, redis_client: redis.Redis, leased: bool
) -> None:
    options = {} if leased else {"visibility_timeout_seconds": None, "max_delivery_count": None}
    queue = face.queue(**options)
    assert await face.call(queue.publish, "later", delay_seconds=2) is True
    assert await face.call(queue.publish, "later", delay_seconds=2) is False
    assert await face.call(queue.publish, "now") is True
    assert redis_client.zcard("{jobs}::delayed") == 1
    async with face.process(queue) as payload:
        assert payload == b"now"
    async with face.process(queue) as payload:
        assert payload == b"later"
    assert not redis_client.exists("{jobs}::delayed", "{jobs}::processing")


async def test_a_wrong_delay_is_refused(face: Face) -> None:
    queue = face.queue()
    for delay in (-1, 10**400, -(10**5000), 10**10, 1e300, float("inf"), float("nan")):
        for publish, what in ((queue.publish, "x"), (queue.publish_many, ["x"])):
            with pytest.raises(ConfigurationError, match="delay_seconds"):
                await face.call(publish, what, delay_seconds=delay)
    with pytest.raises(TypeError, match="delay_seconds"):
        await face.call(queue.publish, "x", delay_seconds="1")


async def test_stats_and_peek(face: Face) -> None:
    queue = face.queue(enable_completed_queue=True)
    await face.call(queue.publish_many, ["a", "b", "c"])
    await face.call(queue.publish, "d", delay_seconds=60)
    assert await face.call(queue.peek) == [b"a"]
    async with face.process(queue):
        assert (await face.call(queue.stats))._asdict() == {
            "pending": 2,
            "processing": 1,
            "completed": 0,
            "failed": 0,
            "dead_letter": 0,
            "delayed": 1,
        }
        assert await face.call(queue.peek, 5, source="processing") == [b"a"]
    assert await face.call(queue.peek, 2**62) == [b"b", b"c"]
    assert await face.call(queue.peek, 5, source="completed") == [b"a"]
    with pytest.raises(ConfigurationError, match=r"'source' must be one of 'pending'"):
        await face.call(queue.peek, source="nowhere")
    with pytest.raises(ConfigurationError, match="'count' must be positive"):
        await face.call(queue.peek, 0)


async def test_dead_letters_get_another_life(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue()
    redis_client.lpush("{jobs}::dlq", "first", "grüße".encode(), b"\xff\x00", "last")
    assert await face.call(queue.redrive_dead_letters, 1) == 1
    assert await face.call(queue.peek, 5) == [b"first"]
    assert await face.call(queue.redrive_dead_letters) == 3
    assert await face.call(queue.redrive_dead_letters) == 0
    assert await drain_list(face, queue) == [b"first", "grüße".encode(), b"\xff\x00", b"last"]


async def test_purge_empties_one_list_and_its_delivery_counts(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue()
    await face.call(queue.publish_many, ["a", "b"])
    await face.call(queue.publish, "later", delay_seconds=60)
    redis_client.hset("{jobs}::processing:delivery_counts", redis_client.lindex("{jobs}::pending", 0), 2)
    assert await face.call(queue.purge, target="pending") == 2
    assert await face.call(queue.purge, target="delayed") == 1
    assert await face.call(queue.purge, target="failed") == 0
    assert not redis_client.exists("{jobs}::pending", "{jobs}::delayed", "{jobs}::processing:delivery_counts")
    with pytest.raises(ConfigurationError, match="'target' must be one of"):
        await face.call(queue.purge, target="processing")


async def test_a_handler_function(face: Face, redis_client: redis.Redis) -> None:
    gateway = face.gateway(message_visibility_timeout_seconds=30, message_wait_interval_seconds=0)
    queue = face.queue(gateway=gateway, enable_failed_queue=True)
    seen: list[object] = []
    assert await face.call(queue.process_message_callback, face.callback(seen.append)) is False
    await face.call(queue.publish, "x")
    assert await face.call(queue.process_message_callback, face.callback(seen.append)) is True
    assert seen == [b"x"]
    await face.call(queue.publish, "bad")
    with pytest.raises(ZeroDivisionError):
        await face.call(queue.process_message_callback, face.callback(lambda _: 1 // 0))
    assert redis_client.lrange("{jobs}::failed", 0, -1) == [b"bad"]


async def test_a_handler_of_the_other_flavour_settles_nothing(face: Face, redis_client: redis.Redis) -> None:
    async def awaited(payload: object) -> None:
        raise AssertionError("never runs")

    queue = face.queue()
    await face.call(queue.publish, "x")
    wrong = awaited if face.name == "sync" else lambda payload: None
    with pytest.raises(TypeError, match="the handler returned"):
        await face.call(queue.process_message_callback, wrong)
    assert redis_client.llen("{jobs}::processing") == 1


async def test_a_gateway_of_ones_own_has_no_bulk_operations(face: Face) -> None:
    methods = dict.fromkeys(face.package.AbstractRedisGateway.__abstractmethods__, lambda self: None)
    queue = face.queue(gateway=type("Own", (face.package.AbstractRedisGateway,), methods)())
    with pytest.raises(GatewayContractError, match=r"publish_many\(\) needs the built-in RedisGateway"):
        await face.call(queue.publish_many, ["x"])
    with pytest.raises(GatewayContractError, match=r"stats\(\) needs the built-in"):
        await face.call(queue.stats)


async def test_a_delay_counts_as_due_in_time(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue()
    await face.call(queue.publish_many, ["a", "b"], delay_seconds=0.05)
    due = [score for _, score in redis_client.zrange("{jobs}::delayed", 0, -1, withscores=True)]
    seconds, micros = redis_client.time()
    assert all(score - (seconds * 1000 + micros / 1000) <= 50.01 for score in due)
    await until(lambda: redis_client.time() > (seconds, micros + 60_000) or redis_client.time()[0] > seconds)
    for expected in (b"a", b"b"):
        async with face.process(queue) as payload:
            assert payload == expected
