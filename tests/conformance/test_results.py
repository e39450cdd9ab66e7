"""Results: what became of a message, for whoever asks by its id, as long as its worker keeps that."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import redis
from tests.support.queues import let_leases_expire
from tests.support.waiting import until

from redis_message_queue import ConfigurationError, results
from redis_message_queue.consumer import Consumer, Outcome, Settlement, WorkerIdentity
from redis_message_queue.keys import QueueKeys
from redis_message_queue.results import Result

if TYPE_CHECKING:
    from tests.support.faces import Face

KEYS = QueueKeys("{jobs}")


@dataclass
class Size:
    width: int
    taken: datetime


def worker(client: redis.Redis, **options: Any) -> Consumer:
    return Consumer(client, "{jobs}", **{"results_ttl_seconds": 60, **options})


def done(claim: Any, value: object = None) -> Settlement:
    return Settlement(claim, Outcome.DONE, result=results.completed(value))


async def enqueued(face: Face, *ids: str) -> Any:
    queue = face.queue()
    for one in ids:
        await face.call(queue.enqueue, one, message_id=one)
    return queue


async def test_the_value_comes_back(face: Face, redis_client: redis.Redis) -> None:
    queue = await enqueued(face, "a")
    assert await face.call(queue.result, "a") is None
    consumer = worker(redis_client)
    (claim,) = consumer.claim(1).claims
    assert await face.call(queue.result, "a", timeout_seconds=0.01) is None
    assert consumer.settle([done(claim, {"sizes": [1, 2.5, None, "ü"]})]).applied == (True,)
    for seconds in (0, 5):  # who comes late is told at once, and as often as he asks
        assert await face.call(queue.result, "a", timeout_seconds=seconds) == Result(
            "completed", {"sizes": [1, 2.5, None, "ü"]}
        )
    assert 0 < redis_client.pttl(KEYS.result("a")) <= 60_000
    assert redis_client.llen(KEYS.result("a")) == 1


async def test_the_value_is_of_the_type_that_is_asked_for(face: Face, redis_client: redis.Redis) -> None:
    queue = await enqueued(face, "a", "b", "c")
    consumer, size = worker(redis_client), Size(3, datetime(2030, 1, 2, tzinfo=UTC))
    first, second, third = consumer.claim(3).claims
    consumer.settle([done(first, size), done(second, [size, size])])
    consumer.settle([Settlement(third, Outcome.DEAD, result=results.ended("failed", "why"))])
    for message_id, kind, value in (
        ("a", Size, size),
        ("a", Size | None, size),
        ("b", list[Size], [size, size]),
        ("a", dict, {"width": 3, "taken": "2030-01-02T00:00:00+00:00"}),
    ):
        assert await face.call(queue.result, message_id, type=kind) == Result("completed", value)
    assert await face.call(queue.result, "c", type=Size) == Result("failed", None, "why")


@pytest.mark.parametrize(
    ("kind", "error", "text"),
    [
        (list[Size], ValueError, "handler returned: a JSON object where a list belongs"),
        (
            Size,
            ValueError,
            "handler returned: field width is a JSON str where int belongs",
        ),
        (object(), TypeError, "JSON cannot fill"),
        (bytes, TypeError, "JSON cannot fill bytes"),
    ],
    ids=["list", "field", "no type", "bytes"],
)
async def test_a_type_that_does_not_fit_is_told(
    face: Face, redis_client: redis.Redis, kind: Any, error: type[Exception], text: str
) -> None:
    queue, consumer = await enqueued(face, "a"), worker(redis_client)
    consumer.settle([done(consumer.claim(1).claims[0], {"width": "3"})])
    with pytest.raises(error, match=text):
        await face.call(queue.result, "a", type=kind)


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.DEAD])
async def test_who_gave_it_up_says_why(face: Face, redis_client: redis.Redis, outcome: Outcome) -> None:
    queue = await enqueued(face, "a")
    consumer = worker(redis_client)
    (claim,) = consumer.claim(1).claims
    why = results.ended("failed", 'ValueError: "no"\n')
    consumer.settle([Settlement(claim, outcome, reason="no", result=why)])
    assert await face.call(queue.result, "a") == Result("failed", None, 'ValueError: "no"\n')


async def test_one_that_comes_again_has_no_result_yet(face: Face, redis_client: redis.Redis) -> None:
    queue = await enqueued(face, "a")
    consumer = worker(redis_client)
    for outcome in (Outcome.RETRY, Outcome.RELEASE):
        (claim,) = consumer.claim(1).claims
        consumer.settle([Settlement(claim, outcome)])
    assert await face.call(queue.result, "a") is None


async def test_of_many_in_one_call_each_has_its_own(face: Face, redis_client: redis.Redis) -> None:
    ids = [f"m{number}" for number in range(20)]
    queue = await enqueued(face, *ids)
    consumer = worker(redis_client, worker=WorkerIdentity("w", 20, config_hash="v1", instance="i"))
    consumer.report(busy=0, oldest_start_age_seconds=None, draining=False)
    first = consumer.claim(10).claims
    reply = consumer.settle([done(claim, claim.id) for claim in first], claim=10)
    mixed = [
        Settlement(claim, Outcome.DEAD, reason="odd", result=results.ended("failed", "odd"))
        if number % 2
        else done(claim, claim.id)
        for number, claim in enumerate(reply.claimed.claims)
    ]
    consumer.settle(mixed)
    told = [await face.call(queue.result, one) for one in ids]
    assert [one.value for one in told[:10]] == ids[:10]
    assert [(one.state, one.value) for one in told[10:12]] == [("completed", "m10"), ("failed", None)]


async def test_all_who_wait_are_told_at_once(
    face: Face, redis_client: redis.Redis, node: redis.Redis
) -> None:
    queues = [face.queue() for _ in range(3)]
    await enqueued(face, "a")
    found: list[Result | None] = []

    async def wait(one: Any) -> None:
        found.append(await face.call(one.result, "a", timeout_seconds=60))

    def wait_here(one: Any) -> None:
        asyncio.run(wait(one))

    if face.name == "sync":
        waiting: Any = [asyncio.to_thread(wait_here, one) for one in queues]
    else:
        waiting = [wait(one) for one in queues]
    together = asyncio.gather(*waiting)
    await until(lambda: node.info("clients")["blocked_clients"] == 3)
    consumer = worker(redis_client)
    (claim,) = consumer.claim(1).claims
    consumer.settle([done(claim, 7)])
    await together
    assert found == [Result("completed", 7)] * 3
    assert redis_client.llen(KEYS.result("a")) == 1


@pytest.mark.one_node
@pytest.mark.parametrize("trouble", ["cut", "short timeout", "no right"])
async def test_a_wait_outlasts_trouble(
    face: Face, redis_client: redis.Redis, node: redis.Redis, trouble: str
) -> None:
    options: dict[str, Any] = {"retry": face.retry(0)}
    if trouble == "short timeout":  # shorter than a blocking read
        options["socket_timeout"] = 0.5
    client = face.client(**options)
    queue = face.queue(client=client)
    await enqueued(face, "a")

    async def wait() -> Any:
        return await face.call(queue.result, "a", timeout_seconds=60)

    if trouble == "no right":
        refused = redis.exceptions.NoPermissionError("this user has no permissions to run 'blmove'")

        def refuse(*_: Any) -> Any:
            raise refused

        client.blmove = refuse
    blocks = trouble == "cut"
    together = asyncio.gather(
        asyncio.to_thread(lambda: asyncio.run(wait())) if face.name == "sync" else wait()
    )
    if blocks:
        await until(lambda: node.info("clients")["blocked_clients"] == 1)
        waiting = [one for one in node.client_list() if one["cmd"] == "blmove"]
        node.client_kill_filter(_id=waiting[0]["id"])
    else:
        await asyncio.sleep(0)
    consumer = worker(redis_client)
    (claim,) = consumer.claim(1).claims
    consumer.settle([done(claim, 7)])
    assert await together == [Result("completed", 7)]


async def test_who_lost_the_lease_writes_no_result(face: Face, redis_client: redis.Redis) -> None:
    queue = await enqueued(face, "a")
    slow, quick = worker(redis_client), worker(redis_client)
    (lost,) = slow.claim(1).claims
    let_leases_expire(redis_client, KEYS)
    (claim,) = quick.claim(1).claims
    assert quick.settle([done(claim, "quick")]).applied == (True,)
    assert slow.settle([done(lost, "slow")]).applied == (False,)
    assert (await face.call(queue.result, "a")).value == "quick"


async def test_the_newest_of_one_id_counts(face: Face, redis_client: redis.Redis) -> None:
    queue = await enqueued(face, "a", "a")
    consumer = worker(redis_client)
    for value in (1, 2):
        (claim,) = consumer.claim(1).claims
        consumer.settle([done(claim, value)])
    assert await face.call(queue.result, "a") == Result("completed", 2)
    assert redis_client.llen(KEYS.result("a")) == 1


async def test_one_that_spent_its_deliveries_has_failed(face: Face, redis_client: redis.Redis) -> None:
    queue = await enqueued(face, "a")
    consumer = worker(redis_client, max_delivery_count=1)
    consumer.claim(1)
    let_leases_expire(redis_client, KEYS)
    assert consumer.claim(1).dead_lettered == 1
    assert await face.call(queue.result, "a") == Result("failed", None, "MaxDeliveries")


async def test_a_large_message_has_a_result(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue()
    await face.call(queue.enqueue, "x" * 5000, message_id="a")
    consumer = worker(redis_client)
    (claim,) = consumer.claim(1).claims
    consumer.settle([done(claim, "y" * 100_000)])
    assert (await face.call(queue.result, "a")).value == "y" * 100_000


async def test_a_key_of_another_type_spoils_no_settlement(face: Face, redis_client: redis.Redis) -> None:
    queue = await enqueued(face, "a")
    redis_client.set(KEYS.result("a"), "mine", ex=60)
    consumer = worker(redis_client)
    (claim,) = consumer.claim(1).claims
    assert consumer.settle([done(claim)]).applied == (True,)
    assert (await face.call(queue.stats)).processing == 0
    redis_client.delete(KEYS.result("a"))


async def test_a_message_without_an_id_is_settled_all_the_same(redis_client: redis.Redis) -> None:
    redis_client.lpush(KEYS.pending, "raw")
    consumer = worker(redis_client)
    (claim,) = consumer.claim(1).claims
    assert consumer.settle([done(claim, 1)]).applied == (True,)
    assert not [*redis_client.scan_iter(f"{KEYS.result_prefix}*")]


async def test_a_wait_ends_in_time(face: Face, redis_client: redis.Redis) -> None:
    queue = await enqueued(face, "a")
    assert await face.call(queue.result, "a", timeout_seconds=0.05) is None
    with pytest.raises(ConfigurationError, match="'timeout_seconds' must not be below 0, got -1"):
        await face.call(queue.result, "a", timeout_seconds=-1)
    with pytest.raises(TypeError, match="'message_id' must be a str, got"):
        await face.call(queue.result, None)
    redis_client.rpush(KEYS.result("b"), "mine")
    redis_client.expire(KEYS.result("b"), 60)
    with pytest.raises(ValueError, match=r"Expecting value|no result"):
        await face.call(queue.result, "b")


class Bad:
    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, Result("completed")),
        ("text", Result("completed", "text")),
        (Size(3, datetime(2030, 1, 1, tzinfo=UTC)), None),
        (b"x", Result("completed", None, "the value that the handler returned is not kept: bytes cannot be")),
        (
            {"a": [timedelta(1)]},
            Result("completed", None, "… not kept: a[0]: timedelta cannot be said in JSON"),
        ),
        (Bad(), Result("completed", None, "not kept: Bad cannot be said in JSON")),
        ("x" * 300_000, Result("completed", None, "not kept: 300002 bytes as JSON, at most 262144 are kept")),
    ],
)
def test_what_can_be_kept_of_a_value(value: object, told: Result | None) -> None:
    read = results.read(results.completed(value))
    if told is None:
        assert read == Result("completed", {"width": 3, "taken": "2030-01-01T00:00:00+00:00"})
    else:
        assert (read.state, read.value) == (told.state, told.value)
        assert told.reason.removeprefix("… ") in read.reason
        assert bool(read.reason) is bool(told.reason)


async def test_of_an_id_that_no_key_can_have_nothing_is_known(face: Face) -> None:
    assert await face.call(face.queue().result, "\ud800", timeout_seconds=0) is None


@pytest.mark.parametrize("message_id", [r"\ud800", r"x \ud83d{}", r"\u00e9 {\"state\":"])
@pytest.mark.parametrize("key", ["", ',"key":"k"'], ids=["", "key"])
async def test_what_has_an_id_that_no_key_can_have_is_settled(
    face: Face, redis_client: redis.Redis, message_id: str, key: str
) -> None:
    stored = f'\x1eRMQ1:{{"id":"{message_id}","payload":"x"{key}}}'
    consumer = face.consumer("{jobs}", results_ttl_seconds=60, max_delivery_count=1)
    for outcome in (Outcome.DONE, Outcome.DEAD, Outcome.CANCELLED):
        redis_client.lpush(KEYS.pending, stored)
        (claim,) = (await face.call(consumer.claim, 1)).claims
        ended = Settlement(claim, outcome, result=results.completed(outcome.value))
        assert (await face.call(consumer.settle, [ended])).applied == (True,)
        told = await face.call(face.queue().result, json.loads(f'"{message_id}"'))
        assert told.value == outcome.value
    redis_client.lpush(KEYS.pending, stored)  # and it spends its deliveries
    assert len((await face.call(consumer.claim, 1)).claims) == 1
    let_leases_expire(redis_client, KEYS)
    assert (await face.call(consumer.claim, 1)).dead_lettered == 1


@pytest.mark.foreign_keys("others have one, and the queue's name makes ours look like theirs")
async def test_a_result_stands_under_its_own_key_whatever_the_queue_is_called(
    face: Face, redis_client: redis.Redis
) -> None:
    name = '{jobs} {"state":1}'
    queue, consumer = face.queue(name), face.consumer(name, results_ttl_seconds=60)
    redis_client.rpush("{jobs}", "of", "others")
    await face.call(queue.enqueue, "x", message_id="a")
    (claim,) = (await face.call(consumer.claim, 1)).claims
    await face.call(consumer.settle, [done(claim, 5)])
    assert (await face.call(queue.result, "a")).value == 5
    await face.call(queue.enqueue, "x", message_id="b")
    assert await face.call(queue.cancel, "b") == "removed"
    assert (await face.call(queue.result, "b")).state == "cancelled"
    assert redis_client.lrange("{jobs}", 0, -1) == [b"of", b"others"]
