"""`enqueue` and `enqueue_many`: what is put where, what a receipt says, and that nothing is there twice."""

from __future__ import annotations

import itertools
import random
from dataclasses import FrozenInstanceError, dataclass
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import pydantic
import pytest
import redis
from tests.conformance.test_queue_exactly_once import flaky
from tests.support.faces import FACES
from tests.support.queues import let_delayed_be_due, payloads

from redis_message_queue import (
    ConfigurationError,
    GatewayContractError,
    LuaScriptError,
    QueueBackpressureError,
    QueueDrainedError,
    RetryBudgetExhaustedError,
    envelope,
)
from redis_message_queue.consumer import Consumer, Outcome, Settlement
from redis_message_queue.enqueue import Receipt
from redis_message_queue.exceptions import PayloadTooLargeError
from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.faces import Face
    from tests.support.servers import Server

KEYS = QueueKeys("{jobs}")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Order:
    id: int
    at: datetime


def ids(client: redis.Redis) -> list[str | None]:
    """The ids of what is pending, the next first."""
    return [envelope.decode(stored).id for stored in reversed(client.lrange(KEYS.pending, 0, -1))]


def server_ms(client: redis.Redis) -> int:
    seconds, microseconds = client.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


async def test_a_receipt_names_the_message_that_is_pending(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue()
    first = await face.call(queue.enqueue, Order(7, datetime(2026, 1, 1, tzinfo=UTC)))
    second = await face.call(queue.enqueue, "text", message_id="order-7")
    assert first
    assert ids(redis_client) == [first.message_id, "order-7"]
    assert second == Receipt("order-7", enqueued=True, first_id=None)
    assert payloads(redis_client, KEYS.pending) == ['{"at": "2026-01-01T00:00:00+00:00", "id": 7}', "text"]
    with pytest.raises(FrozenInstanceError):
        first.enqueued = False


async def test_nothing_is_suppressed_without_a_key(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue(deduplication=True)
    assert all([await face.call(queue.enqueue, "same") for _ in range(3)])
    assert all(await face.call(queue.enqueue_many, ["same", "same"]))
    assert redis_client.llen(KEYS.pending) == 5
    assert not list(redis_client.scan_iter("*deduplication*"))


async def test_a_duplicate_learns_whose_the_key_is(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue(deduplication=False)
    first = await face.call(queue.enqueue, "a", deduplication_key="k", deduplication_seconds=60)
    again = await face.call(queue.enqueue, "b", deduplication_key="k", message_id="mine")
    assert not again
    assert again == Receipt("mine", enqueued=False, first_id=first.message_id)
    assert 50 < redis_client.ttl(KEYS.deduplication("k")) <= 60
    assert await face.call(queue.publish, "c", deduplication_key="k") is False
    assert redis_client.llen(KEYS.pending) == 1


async def test_keys_are_those_of_publish(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue(get_deduplication_key=lambda _: "by callable")
    assert await face.call(queue.publish, "a", deduplication_key="of one publish") is True
    (published,) = ids(redis_client)
    told = await face.call(queue.enqueue, "b", deduplication_key="of one publish")
    assert (bool(told), told.first_id) == (False, published)
    assert await face.call(queue.publish, "c") is True
    told = await face.call(queue.enqueue, "d", deduplication_key="by callable")
    assert (bool(told), told.first_id) == (False, ids(redis_client)[-1])
    redis_client.set(KEYS.deduplication("of 7.0.0"), "", ex=60)
    told = await face.call(queue.enqueue, "d", deduplication_key="of 7.0.0")
    assert (bool(told), told.first_id) == (False, None)
    redis_client.set(KEYS.deduplication("odd"), b"\xff\n", ex=60)
    told = await face.call(queue.enqueue, "e", deduplication_key="odd")
    assert (bool(told), told.first_id) == (False, None)


async def test_many_are_in_order_and_the_first_of_a_key_counts(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue()
    told = await face.call(queue.enqueue_many, [1, {"b": 2}, 3], deduplication_keys=["x", "y", "x"])
    assert [*map(bool, told)] == [True, True, False]
    assert told[2].first_id == told[0].message_id
    assert payloads(redis_client, KEYS.pending) == ["1", '{"b": 2}']
    assert await face.call(queue.enqueue_many, []) == []
    assert await face.call(queue.enqueue_many, [], deduplication_keys=[], deduplication_seconds=60) == []
    large = await face.call(queue.enqueue_many, [f"{number:06}" + "x" * 2000 for number in range(1100)])
    assert ids(redis_client)[2:] == [one.message_id for one in large]


async def test_what_is_for_later_is_due_when_it_was_said(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue()
    before = server_ms(redis_client)
    at = datetime.now(timezone(timedelta(hours=5))) + timedelta(days=400)
    receipts = [
        await face.call(queue.enqueue, "soon", delay_seconds=60),
        await face.call(queue.enqueue, "at", at=at),
        *await face.call(queue.enqueue_many, ["m1", "m2"], at=at),
    ]
    after = server_ms(redis_client)
    due = {
        envelope.decode(stored).id: score
        for stored, score in redis_client.zrange(KEYS.delayed, 0, -1, withscores=True)
    }
    soon, *others = [due[receipt.message_id] for receipt in receipts]
    assert before + 60_000 <= soon <= after + 60_001
    assert [int(score) for score in others] == [pytest.approx(at.timestamp() * 1000, abs=1)] * 3
    assert others[1] < others[2]
    assert redis_client.llen(KEYS.pending) == 0


async def test_what_is_for_later_is_due_within_ten_years(face: Face, redis_client: redis.Redis) -> None:
    queue, now = face.queue(), datetime.now(UTC)
    for method, what in ((queue.enqueue, "x"), (queue.enqueue_many, ["x"])):
        for at in (datetime.max.replace(tzinfo=UTC), now + timedelta(days=3651)):
            with pytest.raises(ConfigurationError, match="'at' must be at most ten years from now, got "):
                await face.call(method, what, at=at)
        assert await face.call(method, what, at=now + timedelta(days=3649))
    assert redis_client.zcard(KEYS.delayed) == 2


async def test_what_is_overdue_is_handled_at_once(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue()
    await face.call(queue.enqueue, "past", at=datetime(1960, 1, 1, tzinfo=UTC))
    await face.call(queue.enqueue, "later", delay_seconds=1000)
    async with face.process(queue) as payload:
        assert payload == b"past"
    let_delayed_be_due(redis_client, KEYS)
    async with face.process(queue) as payload:
        assert payload == b"later"


async def test_at_the_front_is_before_all_that_wait(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue(max_pending_length=3)
    for number in (1, 2):
        await face.call(queue.enqueue, str(number))
    assert await face.call(queue.enqueue, "first", at_front=True, deduplication_key="k")
    assert payloads(redis_client, KEYS.pending) == ["first", "1", "2"]
    with pytest.raises(QueueBackpressureError):
        await face.call(queue.enqueue, "no room", at_front=True)
    assert not await face.call(queue.enqueue, "a duplicate is no overload", deduplication_key="k")


async def test_equal_ids_are_two_messages(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue()
    for _ in range(2):
        await face.call(queue.enqueue, "same", message_id="id")
        await face.call(queue.enqueue, "later", message_id="id", delay_seconds=60)
    assert redis_client.zcard(KEYS.delayed) == 2
    consumer = Consumer(redis_client, "{jobs}")
    claims = consumer.claim(2).claims
    assert [claim.id for claim in claims] == ["id", "id"]
    assert len({claim.lease for claim in claims}) == 2
    assert consumer.settle([Settlement(claim, Outcome.DONE) for claim in claims]).applied == (True, True)


@pytest.mark.parametrize("size", [10, 5000])
@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.DEAD])
async def test_what_is_given_up_frees_its_key(
    face: Face, redis_client: redis.Redis, outcome: Outcome, size: int
) -> None:
    queue, consumer = face.queue(), Consumer(redis_client, "{jobs}")
    assert await face.call(queue.enqueue, "x" * size, deduplication_key="k", message_id="i" * 64)
    assert not await face.call(queue.enqueue, "y", deduplication_key="k")
    consumer.settle([Settlement(claim, outcome) for claim in consumer.claim(1).claims])
    assert await face.call(queue.enqueue, "z", deduplication_key="k")


async def test_bytes_that_are_no_text_come_back_as_they_are(face: Face) -> None:
    queue = face.queue(client=face.client(decode_responses=True))
    for data in (b"\xff\x00\xfe", "grüße".encode()):
        assert await face.call(queue.enqueue, data, deduplication_key=data.hex())
    async with face.process(queue) as payload:
        assert payload == b"\xff\x00\xfe"
    async with face.process(queue) as payload:
        assert payload == "grüße"


# -- faults --


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_lost_reply_enqueues_nothing_twice(face: Face, redis_client: redis.Redis, seed: int) -> None:
    gateway = face.gateway(retry_initial_delay_seconds=0.001, retry_max_delay_seconds=0.002)
    queue = face.queue(gateway=gateway)
    flaky(face, gateway, random.Random(seed))
    receipts = [await face.call(queue.enqueue, number) for number in range(30)]
    receipts += [await face.call(queue.enqueue, 0, deduplication_key=str(number)) for number in range(30)]
    receipts += await face.call(queue.enqueue_many, range(30))
    front = [await face.call(queue.enqueue, number, at_front=True) for number in range(10)]
    assert all(receipts)
    expected = [*reversed(front), *receipts]
    assert ids(redis_client) == [receipt.message_id for receipt in expected]
    told = [await face.call(queue.enqueue, 1, deduplication_key=str(number)) for number in range(30)]
    assert [one.first_id for one in told] == [one.message_id for one in receipts[30:60]]


@pytest.mark.parametrize("holder", [b"", b"0", b"first", b"\xff\n"], ids=["7.0.0", "0", "ours", "odd"])
async def test_a_duplicate_whose_reply_was_lost_is_one_again(
    face: Face, redis_client: redis.Redis, holder: bytes
) -> None:
    gateway = face.gateway(retry_initial_delay_seconds=0.001, retry_max_delay_seconds=0.002)
    queue = face.queue(gateway=gateway)
    redis_client.set(KEYS.deduplication("k"), holder, ex=60)
    chances = itertools.cycle(
        [1, 0, 1, 1]
    )  # it gets there, its reply is lost, and the same again is answered
    dice: Any = SimpleNamespace(random=chances.__next__)
    flaky(face, gateway, dice)
    named = holder.decode() if holder.isalnum() else None
    told = await face.call(queue.enqueue, "a", deduplication_key="k")
    assert (bool(told), told.first_id) == (False, named)
    (told,) = await face.call(queue.enqueue_many, ["a"], deduplication_keys=["k"])
    assert (bool(told), told.first_id) == (False, named)
    assert await face.call(queue.publish, "a", deduplication_key="k") is False
    assert not redis_client.exists(KEYS.pending)


async def test_records_of_answered_calls_go_with_the_next_one(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue()
    for number in range(20):
        await face.call(queue.enqueue, number)
        await face.call(queue.enqueue, number, delay_seconds=60, deduplication_key=f"k{number}")
    assert len([*redis_client.scan_iter("*_result:*")]) <= 2


@pytest.mark.one_node
async def test_a_full_server_takes_nothing(face: Face, redis_client: redis.Redis, node: redis.Redis) -> None:
    queue = face.queue()
    for options in ({}, {"deduplication_key": "k"}, {"at_front": True}, {"delay_seconds": 1}):
        assert await face.call(queue.enqueue, "a", **options)
        redis_client.flushall()
        node.config_set("maxmemory", 1)
        try:
            with pytest.raises(LuaScriptError, match="OOM"):
                await face.call(queue.enqueue, "a", **options)
        finally:
            node.config_set("maxmemory", 0)
        assert redis_client.dbsize() == 0
        assert await face.call(queue.enqueue, "a", **options)
        redis_client.flushall()


@pytest.mark.one_node
@pytest.mark.parametrize("name", FACES)
async def test_a_user_without_a_right_leaves_nothing(
    name: str, server: Server, redis_client: redis.Redis, node: redis.Redis
) -> None:
    rights = "+eval +evalsha +type +time +get +set +del +exists +llen"
    node.execute_command("ACL", "SETUSER", "poor", "reset", "on", ">secret", "~*", *rights.split())
    face = FACES[name](server.as_user("poor"))
    try:
        queue = face.queue()
        for options in ({}, {"at_front": True}, {"delay_seconds": 1}):
            with pytest.raises(redis.ResponseError):
                await face.call(queue.enqueue, "a", deduplication_key="k", **options)
        assert redis_client.dbsize() == 0
    finally:
        await face.close()
        node.acl_deluser("poor")


async def test_a_key_of_another_type_is_named_and_nothing_written(
    face: Face, redis_client: redis.Redis
) -> None:
    redis_client.set(KEYS.pending, "text")
    with pytest.raises(LuaScriptError, match=r"WRONGTYPE .*pending"):
        await face.call(face.queue().enqueue, "a", deduplication_key="k")
    assert redis_client.delete(KEYS.pending) == 1
    assert redis_client.dbsize() == 0


@pytest.mark.one_node
async def test_redis_away_ends_in_time(face: Face) -> None:
    options = {"host": "127.0.0.1", "port": 1, "retry": face.retry(0)}
    package = redis.asyncio if face.name == "async" else redis
    client = package.Redis(**options)
    queue = face.queue(client=client, publish_timeout_seconds=0.2)
    with pytest.raises(RetryBudgetExhaustedError):
        await face.call(queue.enqueue, "a")


# -- arguments --


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"at": "tomorrow"}, TypeError, "'at' must be a datetime or None, got str"),
        ({"at": datetime(2026, 1, 1)}, ConfigurationError, "'at' must have a time zone"),  # noqa: DTZ001
        ({"delay_seconds": -1}, ConfigurationError, "'delay_seconds' must not be below 0"),
        ({"delay_seconds": 1, "at": NOW}, ConfigurationError, "'delay_seconds' cannot be combined with 'at'"),
        ({"delay_seconds": 1, "at_front": True}, ConfigurationError, "cannot be combined with 'at_front'"),
        ({"at": NOW, "at_front": True}, ConfigurationError, "'at' cannot be combined with 'at_front'"),
        ({"at_front": 1}, TypeError, "'at_front' must be a bool"),
        ({"deduplication_key": ""}, ConfigurationError, "'deduplication_key' must be a non-empty string"),
        ({"deduplication_key": 7}, TypeError, "'deduplication_key' must be a str or None, got int"),
        ({"deduplication_seconds": 7}, ConfigurationError, "pass 'deduplication_key'"),
        ({"deduplication_key": "k", "deduplication_seconds": 0}, ConfigurationError, "must be positive"),
        ({"message_id": ""}, ConfigurationError, "'message_id' must be a non-empty string"),
        ({"message_id": 7}, TypeError, "'message_id' must be a str or None, got int"),
        ({"message_id": 'a"b'}, ConfigurationError, "'message_id' must be 1 to 128 visible ASCII characters"),
        ({"message_id": "a b"}, ConfigurationError, "'message_id'"),
        ({"message_id": "x" * 129}, ConfigurationError, "'message_id'"),
        ({"message_id": "raw-1"}, ConfigurationError, "not begin with 'raw-'"),
    ],
)  # fmt: skip
async def test_what_cannot_be_asked_is_named(
    face: Face, redis_client: redis.Redis, options: dict[str, Any], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        await face.call(face.queue(deduplication=True).enqueue, "a", **options)
    assert redis_client.dbsize() == 0


class Model(pydantic.BaseModel):
    a: int


class Numbers(pydantic.RootModel[list[int]]):
    pass


@dataclass
class Batch:
    items: list[int]

    def __iter__(self) -> Iterator[int]:
        return iter(self.items)


class Point(NamedTuple):
    x: int
    y: int


@pytest.mark.parametrize(
    ("payloads", "keys", "kind", "said"),
    [
        ("text", None, TypeError, "'payloads' must be an iterable of payloads, got str"),
        (bytearray(b"a"), None, TypeError, "'payloads' must be .* got bytearray; give a list of them"),
        (MappingProxyType({"a": 1}), None, TypeError, "'payloads' must be .* got mappingproxy"),
        (Model(a=1), None, TypeError, "'payloads' must be an iterable of payloads, got Model"),
        (Numbers([1, 2]), None, TypeError, "'payloads' must be an iterable of payloads, got Numbers"),
        (Batch([1, 2]), None, TypeError, "'payloads' must be an iterable of payloads, got Batch"),
        (Point(1, 2), None, TypeError, "'payloads' must be an iterable of payloads, got Point"),
        (7, None, TypeError, "'payloads' must be an iterable of payloads, got int"),
        (["a", "b"], ["k"], ConfigurationError, "one for each payload, got 1 for 2"),
        (["a"], [None], ConfigurationError, "one for each payload"),
        (["a"], "k", TypeError, "'deduplication_keys' must be an iterable of texts, got str"),
        (["a", {1}, {2: 3}], None, TypeError, "the key 2 is of type int"),
    ],
)
async def test_what_cannot_be_asked_of_many_is_named(
    face: Face, redis_client: redis.Redis, payloads: Any, keys: Any, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        await face.call(face.queue().enqueue_many, payloads, deduplication_keys=keys)
    assert redis_client.dbsize() == 0


@pytest.mark.parametrize("option", [{"deduplication_key": "k"}, {"at_front": True}])
async def test_dropping_the_oldest_excludes_keys_and_the_front(face: Face, option: dict[str, Any]) -> None:
    dropping = {"max_pending_length": 1, "pending_overload_policy": "drop_oldest"}
    for queue in (
        face.queue(**dropping, deduplication=False, max_delivery_count=None),
        face.queue(gateway=face.gateway(**dropping), deduplication=False),
    ):
        with pytest.raises(ConfigurationError, match="drop_oldest"):
            await face.call(queue.enqueue, "a", **option)
        for text in "ab":
            assert await face.call(queue.enqueue, text)


async def test_a_gateway_of_ones_own_is_refused_by_name(face: Face) -> None:
    class Own(face.package.AbstractRedisGateway):
        async def _none(self, *_: Any, **__: Any) -> None: ...

        publish_message = add_message = move_message = remove_message = _none
        renew_message_lease = wait_for_message_and_move = trim_queue = _none

    queue = face.queue(gateway=Own(), deduplication=False)
    with pytest.raises(GatewayContractError, match=r"enqueue\(\) needs the built-in RedisGateway"):
        await face.call(queue.enqueue, "a")


async def test_events_tell_of_each_message(face: Face) -> None:
    told: list[tuple[str, str, str | None]] = []

    def note(event: Any) -> None:
        told.append((event.operation, event.outcome, event.message_id))

    async def noted(event: Any) -> None:
        note(event)

    queue = face.queue(on_event=noted if face.name == "async" else note)
    await face.call(queue.enqueue, "a", message_id="one", deduplication_key="k")
    await face.call(queue.enqueue, "a", message_id="two", deduplication_key="k")
    with pytest.raises(TypeError):
        await face.call(queue.enqueue, object())
    await face.call(queue.drain)
    with pytest.raises(QueueDrainedError):
        await face.call(queue.enqueue, "a")
    publishes = [one for one in told if one[0].startswith("publish")]
    assert publishes == [
        ("publish", "success", "one"),
        ("publish_dedup_hit", "skipped", "two"),
        ("publish", "failure", None),
        ("publish", "failure", None),
    ]


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (object(), TypeError, r"payloads\[1\]: object cannot be said in JSON"),
        ({"a": [timedelta(1)]}, TypeError, r"payloads\[1\]: a\[0\]: timedelta cannot be said"),
        ("\ud800", ValueError, r"payloads\[1\]: the message is not encodable"),
        ("x" * 200, PayloadTooLargeError, r"payloads\[1\]: the payload has 200 bytes"),
    ],
)
async def test_which_of_many_cannot_be_enqueued_is_told(
    face: Face, redis_client: redis.Redis, wrong: object, error: type[Exception], words: str
) -> None:
    queue = face.queue(max_payload_bytes=100)
    with pytest.raises(error, match=words):
        await face.call(queue.enqueue_many, ["fine", wrong, "fine"])
    assert (await face.call(queue.stats)).pending == 0
