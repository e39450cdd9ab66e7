"""What handlers and callbacks can know of a message: its id, which delivery this is, and what went wrong."""

from __future__ import annotations

import asyncio
import gc
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from redis_message_queue import (
    CleanupFailedError,
    GatewayContractError,
    MalformedStoredMessageError,
    PayloadTooLargeError,
    current_message,
    envelope,
)

if TYPE_CHECKING:
    import redis
    from tests.support.faces import Face
from tests.support.waiting import until

AT_MOST_ONCE = {"visibility_timeout_seconds": None, "max_delivery_count": None}


def expire(client: redis.Redis) -> None:
    for stored in client.lrange("{jobs}::processing", 0, -1):
        client.zadd("{jobs}::processing:lease_deadlines", {stored: 1})


async def crash(face: Face, queue: Any) -> Any:
    """Claim, and die with the message in hand; what the handler could know of it."""
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        async with face.process(queue):
            known = current_message()
            raise KeyboardInterrupt
    return known


async def test_a_handler_knows_its_message_and_the_delivery(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue()
    await face.call(queue.publish, "x")
    message_id = envelope.decode(redis_client.lindex("{jobs}::pending", 0)).id
    for delivery in (1, 2, 3):
        assert current_message() is None
        assert await crash(face, queue) == ("{jobs}", message_id, delivery)
        expire(redis_client)


async def test_the_message_of_an_outer_handler_is_there_again_after_an_inner_one(face: Face) -> None:
    outer, inner = face.queue(), face.queue("{inner}")
    await face.call(outer.publish, "x")
    await face.call(inner.publish, "y")
    async with face.process(outer):
        async with face.process(inner):
            assert current_message().queue == "{inner}"
        assert current_message().queue == "{jobs}"
    assert current_message() is None


@pytest.mark.parametrize("options", [{"max_delivery_count": None}, AT_MOST_ONCE])
async def test_where_nobody_counts_the_delivery_is_unknown(face: Face, options: dict[str, None]) -> None:
    queue = face.queue(**options)
    await face.call(queue.publish, "x")
    async with face.process(queue):
        assert current_message().delivery_count is None
        assert current_message().id is not None


async def test_a_handler_function_knows_its_message_too(face: Face) -> None:
    queue = face.queue()
    await face.call(queue.publish, "x")
    known: list[Any] = []
    await face.call(queue.process_message_callback, face.callback(lambda _: known.append(current_message())))
    assert known[0].delivery_count == 1


async def test_events_tell_who_was_reclaimed_and_who_was_given_up(
    face: Face, redis_client: redis.Redis
) -> None:
    events: list[Any] = []
    queue = face.queue(max_delivery_count=2, on_event=face.callback(events.append))
    await face.call(queue.publish, "poison")
    redis_client.rpush("{jobs}::pending", "raw")
    assert (await crash(face, queue)).id is None
    poison = (await crash(face, queue)).id
    expire(redis_client)
    await crash(face, queue)
    await crash(face, queue)
    expire(redis_client)
    await face.call(queue.publish, "fresh")
    async with face.process(queue) as payload:
        assert payload == b"fresh"
    facts = {
        word: [(e.message_id, e.delivery_count, e.max_delivery_count) for e in events if e.operation == word]
        for word in ("claim_reclaim", "dlq", "claim")
    }
    assert facts["claim_reclaim"] == [(None, 1, 2), (poison, 1, 2), (None, 2, 2), (poison, 2, 2)]
    assert facts["dlq"] == [(None, 2, 2), (poison, 2, 2)]
    assert [fact[1:] for fact in facts["claim"]] == [(1, 2), (1, 2), (2, 2), (2, 2), (1, 2)]


async def test_an_id_written_in_another_way_is_told(face: Face, redis_client: redis.Redis) -> None:
    events: list[Any] = []
    queue = face.queue(on_event=face.callback(events.append))
    stored = '\x1eRMQ1:{ "id": "spaced", "payload": "x"}', '\x1eRMQ1:{"id":"schlüssel","payload":"x"}'
    redis_client.lpush("{jobs}::processing", *stored)
    expire(redis_client)
    async with face.process(queue) as payload:
        assert payload == b"x"
    told = [event.message_id for event in events if event.operation == "claim_reclaim"]
    assert sorted(told, key=str) == [None, "spaced"]


async def test_a_slow_callback_does_not_eat_the_lease(face: Face, redis_client: redis.Redis) -> None:
    """The heartbeat runs already while the claim is being reported."""
    scores: list[float] = []
    deadlines = "{jobs}::processing:lease_deadlines"

    def score() -> float:
        return float(redis_client.zrange(deadlines, 0, 0, withscores=True)[0][1])

    async def patient(event: Any) -> None:
        if event.operation == "claim":
            scores.append(score())
            await until(lambda: score() > scores[0])

    def plain(event: Any) -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, patient(event)).result()

    callback = patient if face.name == "async" else plain
    queue = face.queue(visibility_timeout_seconds=60, heartbeat_interval_seconds=0.05, on_event=callback)
    await face.call(queue.publish, "x")
    async with face.process(queue) as payload:
        assert payload == b"x"
    assert len(scores) == 1


# -- errors say where they come from --


async def test_errors_carry_queue_message_and_operation(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue(max_payload_bytes=3, enable_completed_queue=True)
    with pytest.raises(PayloadTooLargeError, match="max_payload_bytes") as publishing:
        await face.call(queue.publish, "long")
    assert (publishing.value.queue, publishing.value.operation) == ("{jobs}", "publish")
    await face.call(queue.publish, "x")
    message_id = envelope.decode(redis_client.lindex("{jobs}::pending", 0)).id
    redis_client.set("{jobs}::completed", "alien")
    with pytest.raises(CleanupFailedError) as settling:
        async with face.process(queue):
            pass
    failure = settling.value
    assert (failure.queue, failure.message_id, failure.operation) == ("{jobs}", message_id, "ack")


async def test_values_without_an_envelope_are_refused_if_asked_for(
    face: Face, redis_client: redis.Redis
) -> None:
    events: list[Any] = []
    queue = face.queue(strict_envelope_decoding=True, on_event=face.callback(events.append))
    redis_client.lpush("{jobs}::pending", "raw")
    with pytest.raises(MalformedStoredMessageError, match="strict_envelope_decoding") as caught:
        async with face.process(queue):
            raise AssertionError("never runs")
    assert (caught.value.queue, caught.value.operation) == ("{jobs}", "claim")
    assert [f"{e.operation}/{e.outcome}" for e in events] == ["claim/failure"]
    assert redis_client.llen("{jobs}::processing") == 1


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "value", [(1, 2), {"t": (1,)}, [Text("x")], {Text("k"): 1}, 1 << 80, None, True, 0.5, [{"a": []}]]
)
async def test_what_json_would_change_is_refused_if_asked_for(face: Face, value: object) -> None:
    exact = value in (1 << 80, None, True, 0.5, [{"a": []}])
    strict, lenient = face.queue(strict_payload_types=True), face.queue()
    assert await face.call(lenient.publish, {"a": value}) is True
    if exact:
        assert await face.call(strict.publish, {"a": value, "b": 1}) is True
    else:
        with pytest.raises(TypeError, match="strict_payload_types"):
            await face.call(strict.publish, {"a": value})


async def test_depth_counts_along_every_path(face: Face) -> None:
    queue = face.queue(max_payload_depth=3)
    shared: dict[str, Any] = {"deep": {}}
    with pytest.raises(ValueError, match="max_payload_depth"):
        await face.call(queue.publish, {"a": shared, "b": {"c": shared}})
    endless: dict[str, Any] = {}
    endless["itself"] = endless
    with pytest.raises(ValueError, match="max_payload_depth"):
        await face.call(queue.publish, endless)
    with pytest.raises(ValueError, match="Circular"):
        await face.call(face.queue().publish, endless)


# -- deduplication keys --


async def test_an_empty_deduplication_key_is_refused_everywhere(
    face: Face, redis_client: redis.Redis
) -> None:
    queue = face.queue(get_deduplication_key=lambda message: "")
    for publish in (face.queue(get_deduplication_key=None).publish, queue.publish):
        with pytest.raises(ValueError, match="every message would be a duplicate"):
            await face.call(publish, "")
    gateway = face.gateway()
    for wrong in ("", None, b"k"):
        with pytest.raises(ValueError, match="dedup_key"):
            await face.call(gateway.publish_message, "{jobs}::pending", "x", wrong)
        with pytest.raises(ValueError, match="deduplication key"):
            queue.key.deduplication(wrong)
    assert not redis_client.keys()


# -- callbacks --


class Odd(BaseException):
    """Neither an exception that anybody catches nor an exit."""


async def test_whatever_a_callback_raises_stays_with_it(face: Face, redis_client: redis.Redis) -> None:
    for raised in (Odd, asyncio.CancelledError):

        def broken(event: object, raised: type[BaseException] = raised) -> None:
            raise raised

        queue = face.queue(on_event=face.callback(broken), deduplication=False)
        with pytest.warns(RuntimeWarning, match=f"on_event callback raised {raised.__name__}"):
            assert await face.call(queue.publish, "x") is True
        with pytest.warns(RuntimeWarning, match="on_event callback raised"):
            async with face.process(queue) as payload:
                assert payload == b"x"
    assert not redis_client.exists("{jobs}::processing")


async def test_no_warning_becomes_an_error_after_the_commit(face: Face, node: redis.Redis) -> None:
    def broken(event: object) -> None:
        raise RuntimeError("callback")

    queue = face.queue(on_event=face.callback(broken))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("error")
        assert await face.call(queue.publish, "x") is True
        async with face.process(queue):
            node.delete("{jobs}::processing:lease_tokens")
    assert {type(warning.message) for warning in seen} == {RuntimeWarning}
    assert "successful processing" in str(seen[-1].message)


async def test_a_gateway_forgets_a_queue_that_is_gone(face: Face) -> None:
    class Own(face.package.RedisGateway):  # type: ignore[name-defined, misc]
        def _set_event_emitter(self, queue: str, emitter: Any) -> None:
            self.emitter = emitter

    events: list[Any] = []
    gateway = Own(redis_client=face.client())
    queue = face.queue(gateway=gateway, on_event=face.callback(events.append))
    await face.call(gateway.emitter, "dlq", "success")
    del queue
    gc.collect()
    await face.call(gateway.emitter, "dlq", "success")
    assert len(events) == 1


async def test_a_contract_broken_at_a_publish_is_told(face: Face) -> None:
    events: list[Any] = []
    queue = face.queue(on_event=face.callback(events.append))

    def five(*_: object) -> Any:
        return 5

    async def five_async(*_: object) -> Any:
        return 5

    queue._gateway.publish_message = five if face.name == "sync" else five_async
    with pytest.raises(GatewayContractError, match="must return bool") as caught:
        await face.call(queue.publish, "x")
    assert caught.value.queue == "{jobs}"
    assert [f"{e.operation}/{e.outcome}" for e in events] == ["publish/failure"]
