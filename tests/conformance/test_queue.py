"""What a queue does to Redis and tells its user, the same for threads and for asyncio."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING

import pytest
import redis

from redis_message_queue import (
    ClaimedMessage,
    CleanupFailedError,
    LuaScriptError,
    QueueBackpressureError,
    QueueDrainedError,
)

if TYPE_CHECKING:
    from tests.support.faces import Face
from tests.support.waiting import until

CANONICAL = '{"a": 1, "b": "\\u00e9/"}'
AT_MOST_ONCE = {"visibility_timeout_seconds": None, "max_delivery_count": None}


def durable(client: redis.Redis) -> set[str]:
    """Names of all keys but the replay records, which expire by themselves."""
    names = {name.decode() for name in client.scan_iter()}
    records = {name for name in names if "operation_result" in name}
    assert all(client.pttl(name) > 0 for name in records)
    return names - records


async def consume(face: Face, queue: object) -> object:
    async with face.process(queue) as payload:
        return payload


async def fail(face: Face, queue: object) -> object:
    with pytest.raises(KeyError):
        async with face.process(queue) as payload:
            raise KeyError("handler")
    return payload


async def test_a_dict_travels_as_canonical_json_and_leaves_only_its_marker(
    face: Face, redis_client: redis.Redis
) -> None:
    queue = face.queue()
    assert await face.call(queue.publish, {"b": "é/", "a": 1}) is True
    marker = f"{{jobs}}::deduplication::{hashlib.sha256(CANONICAL.encode()).hexdigest()}"
    assert durable(redis_client) == {"{jobs}::pending", marker}
    stored = redis_client.lindex("{jobs}::pending", 0)
    assert redis_client.get(marker).decode() in stored.decode()
    assert redis_client.strlen(marker) == 32
    assert stored.startswith(b"\x1eRMQ1:")
    assert json.loads(stored[6:])["payload"] == CANONICAL

    async with face.process(queue) as payload:
        assert payload == CANONICAL.encode()
        assert redis_client.lrange("{jobs}::processing", 0, -1) == [stored]
        assert redis_client.hgetall("{jobs}::processing:delivery_counts") == {stored: b"1"}
        assert redis_client.hgetall("{jobs}::processing:lease_tokens") == {stored: b"1"}
    assert durable(redis_client) == {marker, "{jobs}::processing:lease_token_counter"}


async def test_a_decoding_client_gets_text(face: Face) -> None:
    queue = face.queue(client=face.client(decode_responses=True))
    await face.call(queue.publish, "grüße")
    assert await consume(face, queue) == "grüße"


async def test_a_duplicate_is_not_enqueued(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue()
    assert [await face.call(queue.publish, text) for text in ("a", "a", "b")] == [True, False, True]
    assert redis_client.llen("{jobs}::pending") == 2


async def test_the_deduplication_key_may_be_chosen(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue(get_deduplication_key=lambda message: message["id"])
    assert await face.call(queue.publish, {"id": "1", "x": 1}) is True
    assert await face.call(queue.publish, {"id": "1", "x": 2}) is False
    assert redis_client.exists("{jobs}::deduplication::1")


@pytest.mark.parametrize("result", [None, 5, b"k"])
async def test_a_deduplication_key_must_be_text(face: Face, result: object) -> None:
    queue = face.queue(get_deduplication_key=lambda _: result)
    with pytest.raises(TypeError, match="must return a string"):
        await face.call(queue.publish, "x")


async def test_without_deduplication_equal_messages_stay_distinct(
    face: Face, redis_client: redis.Redis
) -> None:
    queue = face.queue(deduplication=False)
    for _ in range(3):
        assert await face.call(queue.publish, "same") is True
    assert len(set(redis_client.lrange("{jobs}::pending", 0, -1))) == 3


@pytest.mark.parametrize(
    ("message", "error", "text"),
    [
        (b"bytes", TypeError, "must be a str or dict"),
        (None, TypeError, "must be a str or dict"),
        (["list"], TypeError, "must be a str or dict"),
        ({1: 1, 2: 2, 3: 3, 4: 4}, TypeError, r"dict keys must all be strings.*\[1, 2, 3\] and more"),
        ({"a": {"b": [{3: 1}]}}, TypeError, "dict keys must all be strings"),
        ({"a": float("nan")}, ValueError, "JSON compliant"),
        ("\ud800", ValueError, "UTF-8"),
    ],
)
async def test_what_cannot_be_stored_is_refused_before_redis(
    face: Face, redis_client: redis.Redis, message: object, error: type[Exception], text: str
) -> None:
    events: list[object] = []
    queue = face.queue(on_event=face.callback(events.append))
    with pytest.raises(error, match=text):
        await face.call(queue.publish, message)
    assert redis_client.dbsize() == 0
    assert [(e.operation, e.outcome) for e in events] == [("publish", "failure")]


async def test_payload_limits(face: Face) -> None:
    queue = face.queue(max_payload_bytes=10, max_payload_depth=2)
    with pytest.raises(ValueError, match="11 bytes"):
        await face.call(queue.publish, "é" * 5 + "x")
    with pytest.raises(ValueError, match="3 levels"):
        await face.call(queue.publish, {"a": {"b": {}}})
    assert await face.call(queue.publish, "é" * 5) is True


async def test_success_goes_to_the_completed_list_which_is_capped(
    face: Face, redis_client: redis.Redis
) -> None:
    queue = face.queue(enable_completed_queue=True, max_completed_length=2)
    for text in ("a", "b", "c"):
        await face.call(queue.publish, text)
        await consume(face, queue)
    assert redis_client.lrange("{jobs}::completed", 0, -1) == [b"c", b"b"]
    assert redis_client.llen("{jobs}::processing") == 0


@pytest.mark.parametrize("modes", [{}, AT_MOST_ONCE], ids=["leased", "plain"])
async def test_a_handler_error_is_final_and_propagates(
    face: Face, redis_client: redis.Redis, modes: dict[str, None]
) -> None:
    queue = face.queue(enable_failed_queue=True, deduplication=False, **modes)
    await face.call(queue.publish, "bad")
    assert await fail(face, queue) == b"bad"
    assert redis_client.lrange("{jobs}::failed", 0, -1) == [b"bad"]
    assert durable(redis_client) - {"{jobs}::processing:lease_token_counter"} == {"{jobs}::failed"}


async def test_without_leases_nothing_is_left_behind(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue(deduplication=False, **AT_MOST_ONCE)
    await face.call(queue.publish, "x")
    async with face.process(queue) as payload:
        assert payload == b"x"
        assert not redis_client.exists("{jobs}::processing:lease_tokens")
    assert durable(redis_client) == set()


async def test_events_of_a_success_and_of_a_failure(face: Face) -> None:
    events: list[object] = []
    queue = face.queue(
        enable_completed_queue=True,
        on_event=face.callback(events.append),
    )
    await face.call(queue.publish, "a")
    await face.call(queue.publish, "a")
    await consume(face, queue)
    await face.call(queue.publish, "b")
    await fail(face, queue)
    assert [f"{e.operation}/{e.outcome}" for e in events] == [
        "publish/success",
        "publish_dedup_hit/skipped",
        "claim/success",
        "completed/success",
        "ack/success",
        "publish/success",
        "claim/success",
        "failed/failure",
        "nack/success",
    ]
    claim, completed = events[2], events[3]
    assert claim.message_id == completed.message_id != None  # noqa: E711
    assert claim.lease_token_hash == hashlib.sha256(b"1").hexdigest()[:16]
    assert completed.destination_queue == "{jobs}::completed"
    assert (events[7].exception_type, type(events[7].error)) == ("KeyError", KeyError)


async def test_a_callback_that_raises_changes_nothing(face: Face, redis_client: redis.Redis) -> None:
    def broken(event: object) -> None:
        raise RuntimeError("callback")

    queue = face.queue(on_event=face.callback(broken))
    with pytest.warns(RuntimeWarning, match="on_event callback raised RuntimeError"):
        assert await face.call(queue.publish, "x") is True
    with pytest.warns(RuntimeWarning, match="on_event callback raised RuntimeError"):
        assert await consume(face, queue) == b"x"
    assert redis_client.llen("{jobs}::processing") == 0


async def test_a_lost_lease_makes_the_settlement_a_reported_no_op(
    face: Face, redis_client: redis.Redis
) -> None:
    events: list[object] = []
    queue = face.queue(enable_completed_queue=True, on_event=face.callback(events.append))
    await face.call(queue.publish, "x")
    with pytest.warns(RuntimeWarning, match=r"successful processing.*lease expired"):  # noqa: PT031
        async with face.process(queue):
            stored = redis_client.lindex("{jobs}::processing", 0)
            redis_client.hset("{jobs}::processing:lease_tokens", stored, "99")
    assert redis_client.lrange("{jobs}::processing", 0, -1) == [stored]
    assert not redis_client.exists("{jobs}::completed")
    assert [f"{e.operation}/{e.outcome}" for e in events][-3:] == [
        "completed/skipped",
        "ack/skipped",
        "stale_lease_ack/skipped",
    ]


async def test_an_expired_message_is_delivered_again_and_at_last_becomes_a_dead_letter(
    face: Face, redis_client: redis.Redis
) -> None:
    events: list[object] = []
    queue = face.queue(max_delivery_count=2, on_event=face.callback(events.append))
    await face.call(queue.publish, "poison")
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012
            async with face.process(queue) as payload:
                assert payload == b"poison"
                raise KeyboardInterrupt
        stored = redis_client.lindex("{jobs}::processing", 0)
        redis_client.zadd("{jobs}::processing:lease_deadlines", {stored: 1})
    await face.call(queue.publish, "fresh")
    assert await consume(face, queue) == b"fresh"
    assert redis_client.lrange("{jobs}::dlq", 0, -1) == [b"poison"]
    told = [f"{e.operation}/{e.outcome}" for e in events]
    assert told.count("claim_reclaim/success") == 2
    dead = events[told.index("dlq/success")]
    assert dead.destination_queue == queue.key.dead_letter == "{jobs}::dlq"


async def test_a_heartbeat_keeps_a_lease_longer_than_its_timeout(
    face: Face, redis_client: redis.Redis
) -> None:
    queue = face.queue(visibility_timeout_seconds=60, heartbeat_interval_seconds=0.1)
    await face.call(queue.publish, "slow")
    async with face.process(queue):
        stored = redis_client.lindex("{jobs}::processing", 0)
        first = redis_client.zscore("{jobs}::processing:lease_deadlines", stored)
        await until(lambda: redis_client.zscore("{jobs}::processing:lease_deadlines", stored) > first + 200)
    assert redis_client.llen("{jobs}::processing") == 0


async def test_a_lost_lease_is_told_while_the_handler_runs(face: Face, redis_client: redis.Redis) -> None:
    lost: list[bool] = []
    queue = face.queue(
        visibility_timeout_seconds=60,
        heartbeat_interval_seconds=0.05,
        on_heartbeat_failure=lambda: lost.append(True),
    )
    await face.call(queue.publish, "slow")
    with pytest.warns(RuntimeWarning, match="lease expired"):  # noqa: PT031
        async with face.process(queue):
            redis_client.delete("{jobs}::processing:lease_tokens")
            await until(lambda: lost)
    assert lost == [True]


async def test_a_full_queue_raises(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue(max_pending_length=1)
    await face.call(queue.publish, "a")
    with pytest.raises(QueueBackpressureError, match=r"{jobs}::pending.*max_pending_length=1"):
        await face.call(queue.publish, "b")
    assert await face.call(queue.publish, "a") is False
    await consume(face, queue)
    assert await face.call(queue.publish, "b") is True


async def test_a_full_queue_drops_the_oldest(face: Face) -> None:
    queue = face.queue(
        max_pending_length=2,
        pending_overload_policy="drop_oldest",
        deduplication=False,
        max_delivery_count=None,
    )
    for text in ("a", "b", "c"):
        await face.call(queue.publish, text)
    assert [await consume(face, queue), await consume(face, queue)] == [b"b", b"c"]


async def test_a_full_queue_blocks_until_there_is_room_or_the_time_is_over(face: Face) -> None:
    options = {"max_pending_length": 1, "pending_overload_policy": "block"}
    queue = face.queue(pending_overload_block_timeout_seconds=0.1, **options)
    await face.call(queue.publish, "a")
    with pytest.raises(QueueBackpressureError, match="stayed at max_pending_length=1"):
        await face.call(queue.publish, "b")
    patient = face.queue(pending_overload_block_timeout_seconds=60, **options)
    publishing = asyncio.create_task(asyncio.to_thread(asyncio.run, _publish_alone(face, patient, "b")))
    await asyncio.sleep(0.05)
    assert await consume(face, queue) == b"a"
    assert await asyncio.wait_for(publishing, 60) is True


async def _publish_alone(face: Face, queue: object, text: str) -> bool:
    """Publish from another thread, over a client of that thread's own."""
    queue._gateway._sender.client = face.client()
    result = await face.call(queue.publish, text)
    if face.name == "async":
        await queue._gateway._sender.client.aclose()
    return result


async def test_a_wrong_typed_key_fails_without_a_write(face: Face, redis_client: redis.Redis) -> None:
    redis_client.set("{jobs}::pending", "oops")
    queue = face.queue()
    with pytest.raises(LuaScriptError, match="WRONGTYPE"):
        await face.call(queue.publish, "x")
    assert list(redis_client.scan_iter()) == [b"{jobs}::pending"]
    with pytest.raises(LuaScriptError, match="WRONGTYPE"):
        await consume(face, queue)


async def test_a_settlement_that_fails_is_told_and_leaves_the_message(
    face: Face, redis_client: redis.Redis
) -> None:
    queue = face.queue(enable_completed_queue=True)
    await face.call(queue.publish, "x")
    redis_client.set("{jobs}::completed", "oops")
    with pytest.raises(CleanupFailedError) as caught:
        await consume(face, queue)
    assert isinstance(caught.value.__cause__, LuaScriptError)
    assert caught.value.queue == "{jobs}"
    assert redis_client.llen("{jobs}::processing") == 1


async def test_a_damaged_envelope_is_never_handed_out(face: Face, redis_client: redis.Redis) -> None:
    redis_client.lpush("{jobs}::pending", b"\x1eRMQ1:{broken")
    queue = face.queue()
    with pytest.raises(ValueError, match="envelope"):
        await consume(face, queue)
    assert redis_client.llen("{jobs}::processing") == 1


async def test_a_raw_entry_is_delivered_as_it_is(face: Face, redis_client: redis.Redis) -> None:
    redis_client.lpush("{jobs}::pending", b"\xff raw")
    assert await consume(face, face.queue()) == b"\xff raw"


async def test_drain_refuses_new_work_and_lets_a_handler_finish(
    face: Face, redis_client: redis.Redis
) -> None:
    queue = face.queue()
    await face.call(queue.publish, "x")
    async with face.process(queue) as payload:
        assert payload == b"x"
        assert await face.call(queue.drain) is True
    assert redis_client.llen("{jobs}::processing") == 0
    assert queue.is_drained
    assert not queue.is_draining
    assert repr(queue) == "<RedisMessageQueue name='{jobs}' drained=True>"
    with pytest.raises(QueueDrainedError, match="queue is drained"):
        await face.call(queue.publish, "y")
    assert await consume(face, queue) is None
    assert await face.call(face.queue().publish, "y") is True


async def test_drain_checks_its_timeout(face: Face) -> None:
    queue = face.queue()
    for wrong in (True, "5"):
        with pytest.raises(TypeError, match="timeout"):
            await face.call(queue.drain, wrong)
    with pytest.raises(ValueError, match="timeout"):
        await face.call(queue.drain, -1)
    assert not queue.is_draining
    assert await face.call(queue.drain, 0) is True


async def test_a_lost_claim_reply_is_recovered_by_the_next_wait(
    face: Face, redis_client: redis.Redis
) -> None:
    queue = face.queue(gateway=face.gateway(message_visibility_timeout_seconds=30))
    await face.call(queue.publish, "x")
    gateway = queue._gateway
    lose_reply(face, gateway, times=1, error=OSError("reply lost"))
    with pytest.raises(OSError, match="reply lost"):
        await consume(face, queue)
    assert redis_client.llen("{jobs}::processing") == 1
    async with face.process(queue) as payload:
        assert payload == b"x"
        assert not [name for name in redis_client.scan_iter() if b":claim_result:" in name]
    assert redis_client.llen("{jobs}::processing") == 0


@pytest.mark.parametrize("interval", [0, 5])
async def test_a_transient_claim_error_is_repeated_with_the_same_claim(
    face: Face, redis_client: redis.Redis, interval: int
) -> None:
    events: list[object] = []
    gateway = face.gateway(message_visibility_timeout_seconds=30, message_wait_interval_seconds=interval)
    queue = face.queue(gateway=gateway, on_event=face.callback(events.append))
    await face.call(queue.publish, "x")
    lose_reply(face, gateway, times=1, error=redis.ConnectionError("gone"))
    assert await consume(face, queue) == b"x"
    assert [str(e.operation) for e in events][1:] == ["retry_attempt", "claim", "ack"]
    assert redis_client.get("{jobs}::processing:lease_token_counter") == b"1"


async def test_drain_returns_a_lost_claim_without_a_lease(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue(gateway=face.gateway(), deduplication=False)
    await face.call(queue.publish, "x")
    lose_reply(face, queue._gateway, times=1, error=OSError("reply lost"))
    with pytest.raises(OSError, match="reply lost"):
        await consume(face, queue)
    assert await face.call(queue.drain) is True
    assert durable(redis_client) == {"{jobs}::pending"}


def lose_reply(face: Face, gateway: object, *, times: int, error: Exception) -> None:
    """Let the next calls reach the server and lose their replies."""
    execute, left = gateway._sender.execute, [times]

    def sync(client: object, call: object) -> object:
        result = execute(client, call)
        if left[0]:
            left[0] -= 1
            raise error
        return result

    async def awaited(client: object, call: object) -> object:
        result = await execute(client, call)
        if left[0]:
            left[0] -= 1
            raise error
        return result

    gateway._sender.execute = sync if face.name == "sync" else awaited


async def test_a_repeated_publish_answers_as_the_first_did(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue()
    lose_reply(face, queue._gateway, times=1, error=redis.ConnectionError("gone"))
    assert await face.call(queue.publish, "x") is True
    assert redis_client.llen("{jobs}::pending") == 1


@pytest.mark.foreign_keys("lists with names of the caller's")
async def test_the_gateway_works_alone_on_explicit_lists(face: Face, redis_client: redis.Redis) -> None:
    gateway = face.gateway(message_visibility_timeout_seconds=30, message_wait_interval_seconds=0)
    assert await face.call(gateway.add_message, "{jobs}::in", "payload") is None
    claimed = await face.call(gateway.wait_for_message_and_move, "{jobs}::in", "{jobs}::work")
    assert isinstance(claimed, ClaimedMessage)
    renew = await face.call(
        gateway.renew_message_lease, "{jobs}::work", claimed.stored_message, claimed.lease_token
    )
    assert renew is True
    token = {"lease_token": "other"}
    assert await face.call(gateway.remove_message, "{jobs}::work", claimed.stored_message, **token) is False
    token = {"lease_token": claimed.lease_token}
    assert (
        await face.call(gateway.move_message, "{jobs}::work", "{jobs}::out", claimed.stored_message, **token)
        is True
    )
    assert redis_client.lrange("{jobs}::out", 0, -1) == [b"payload"]
    assert await face.call(gateway.wait_for_message_and_move, "{jobs}::in", "{jobs}::work") is None


async def test_an_idle_wait_ends_when_the_queue_drains(face: Face) -> None:
    queue = face.queue(gateway=face.gateway(message_wait_interval_seconds=600))
    if face.name == "sync":
        waiting = asyncio.create_task(asyncio.to_thread(lambda: queue.process_message().__enter__()))
    else:
        waiting = asyncio.create_task(queue.process_message().__aenter__())
    await asyncio.sleep(0.05)
    assert await face.call(queue.drain) is True
    assert await waiting is None
