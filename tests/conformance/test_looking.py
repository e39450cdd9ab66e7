"""`find`, `dead_letters` and `failed`: where a message is, and what became of those that ended."""

from __future__ import annotations

import json
import random
import socket
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.conformance.test_queue_exactly_once import flaky
from tests.support.queues import let_leases_expire, publish

from redis_message_queue import (
    ConfigurationError,
    Letter,
    Location,
    LuaScriptError,
    RetryBudgetExhaustedError,
    envelope,
)
from redis_message_queue.consumer import Consumer, Outcome, Settlement, WorkerIdentity
from redis_message_queue.keys import QueueKeys
from redis_message_queue.trouble import AWAY

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis
    from tests.support.faces import Face

KEYS = QueueKeys("{jobs}")
LAST = datetime.max.replace(tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def worker(client: redis.Redis, **options: Any) -> Consumer:
    identity = WorkerIdentity("pod-1", 4, instance="instance-1")
    return Consumer(client, "{jobs}", worker=identity, **options)


def ended(client: redis.Redis, outcome: Outcome, **options: Any) -> None:
    """Claim the next message and end it."""
    consumer = worker(client, **options)
    (claim,) = consumer.claim(1).claims
    reason = {} if outcome is Outcome.DONE else {"reason": "Boom", "detail": 'Traceback "id":"b"'}
    assert consumer.settle([Settlement(claim, outcome, **reason)]).applied == (True,)


async def states(face: Face, queue: Any, *ids: str) -> list[str]:
    return [(await face.call(queue.find, one)).state for one in ids]


async def test_a_message_is_found_wherever_it_goes(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue()
    for one in "abc":
        await face.call(queue.enqueue, one, message_id=one)
    at = datetime.now(UTC) + timedelta(days=1)
    await face.call(queue.enqueue, "later", message_id="later", at=at)
    assert [await face.call(queue.find, one) for one in "abc"] == [
        Location(one, "pending", position=place) for place, one in enumerate("abc")
    ]
    later = await face.call(queue.find, "later")
    assert later.state == "delayed"
    assert abs(later.due - at) < timedelta(milliseconds=2)
    assert await face.call(queue.find, "nowhere") == Location("nowhere", "unknown")

    consumer = worker(redis_client, visibility_timeout_seconds=1000)
    (claim,) = consumer.claim(1).claims
    in_hand = await face.call(queue.find, "a")
    assert (in_hand.state, in_hand.deliveries, in_hand.worker) == ("in_flight", 1, "pod-1")
    assert in_hand.lease_end.timestamp() * 1000 == claim.lease_end_ms
    assert (await face.call(queue.find, "b")).position == 0
    consumer.settle([Settlement(claim, Outcome.DONE)])
    assert await states(face, queue, "a") == ["unknown"]
    let_leases_expire(redis_client, KEYS)


@pytest.mark.parametrize("outcome", [Outcome.DONE, Outcome.FAILED, Outcome.DEAD])
async def test_what_has_ended_is_found_while_it_is_kept(
    face: Face, redis_client: redis.Redis, outcome: Outcome
) -> None:
    queue = face.queue()
    state, target = {
        Outcome.DONE: ("completed", "completed"),
        Outcome.FAILED: ("failed", "failed"),
        Outcome.DEAD: ("dead", "dead_letter"),
    }[outcome]
    for one in ("a/1", "b"):
        await face.call(queue.enqueue, "same", message_id=one)
    ended(redis_client, outcome, keep_completed=5, keep_failed=5)
    found = await face.call(queue.find, "a/1")
    assert (found.state, found.worker, found.deliveries) == (state, "pod-1", 1)
    assert found.at > LONG_AGO
    assert found.reason == ("" if outcome is Outcome.DONE else "Boom")
    assert found.traceback == ("" if outcome is Outcome.DONE else 'Traceback "id":"b"')
    assert await states(face, queue, "b") == ["pending"]
    await face.call(queue.purge, target=target)
    assert await states(face, queue, "a/1") == ["unknown"]


async def test_nothing_is_recorded_of_what_is_not_kept(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue()
    for outcome in (Outcome.DONE, Outcome.FAILED):
        await face.call(queue.enqueue, "x", message_id="x")
        ended(redis_client, outcome, keep_completed=0, keep_failed=0)
        assert await states(face, queue, "x") == ["unknown"]
    await face.call(queue.enqueue, "x", message_id="x")
    ended(redis_client, Outcome.FAILED, keep_failed=5, keep_dead_letter_info=0)
    assert await face.call(queue.failed) == [Letter(b"x")]
    assert not [*redis_client.scan_iter("*_info")]


async def test_records_are_as_many_as_are_kept(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue()
    await face.call(queue.enqueue_many, range(6))
    consumer = worker(redis_client, keep_completed=2, keep_failed=1, keep_dead_letter_info=2)
    claims = consumer.claim(6).claims
    outcomes = [Outcome.DONE, Outcome.FAILED] * 3
    consumer.settle([Settlement(claim, outcome) for claim, outcome in zip(claims, outcomes, strict=True)])
    assert redis_client.llen(KEYS.completed_info) == redis_client.llen(KEYS.completed) == 2
    assert redis_client.llen(KEYS.failed_info) == redis_client.llen(KEYS.failed) == 1


@pytest.mark.one_node
@pytest.mark.parametrize("where", ["pending", "delayed", "processing"])
async def test_a_large_place_is_looked_through_in_pages(
    face: Face, redis_client: redis.Redis, where: str
) -> None:
    queue = face.queue()
    later = 1000 if where == "delayed" else None
    receipts = await face.call(queue.enqueue_many, ["x" * 900] * 2500, delay_seconds=later)
    if where == "processing":
        assert len(worker(redis_client).claim(2500).claims) == 2500
    wanted = [receipts[place].message_id for place in (0, 1200, 2499)]
    found = [await face.call(queue.find, one) for one in wanted]
    assert {one.state for one in found} == {"in_flight" if where == "processing" else where}
    if where == "pending":
        assert [one.position for one in found] == [0, 1200, 2499]
    redis_client.config_resetstat()
    assert await states(face, queue, "unknown") == ["unknown"]
    calls = redis_client.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert calls == 3
    assert not [
        name for name in redis_client.info("commandstats") if name.endswith(("_set", "push", "expire"))
    ]


def after_each_call(face: Face, queue: Any, happens: Callable[[], object]) -> None:
    """Have something happen between a call of the queue and its next one."""
    sender = queue._gateway._sender
    execute = sender.execute

    def sync(client: object, call: object) -> object:
        answer = execute(client, call)
        happens()
        return answer

    async def awaited(client: object, call: object) -> object:
        answer = await execute(client, call)
        happens()
        return answer

    sender.execute = sync if face.name == "sync" else awaited


async def test_messages_that_leave_meanwhile_hide_no_other(face: Face, redis_client: redis.Redis) -> None:
    """Between two pages the newest of processing are settled: what stands behind them has moved."""
    queue = face.queue()
    receipts = await face.call(queue.enqueue_many, ["x"] * 1500)
    consumer = worker(redis_client)
    claims = consumer.claim(1500).claims
    newest_first = [receipt.message_id for receipt in reversed(receipts)]
    looked = 0

    def settle_some() -> None:
        nonlocal looked
        looked += 1
        if looked == 1:
            consumer.settle([Settlement(claim, Outcome.DONE) for claim in claims[-400:]])

    after_each_call(face, queue, settle_some)
    assert await states(face, queue, newest_first[1100]) == ["in_flight"]
    assert looked >= 2


async def test_values_of_other_producers_are_passed_over_or_found(
    face: Face, redis_client: redis.Redis
) -> None:
    publish(redis_client, KEYS, "ours")
    loose = envelope.PREFIX + json.dumps({"payload": "spaced", "id": "v7"})
    redis_client.lpush(KEYS.pending, "raw", b"\xff\xfe", envelope.PREFIX + "broken", loose)
    assert (await face.call(face.queue().find, "v7")).position == 4
    assert await states(face, face.queue(), "raw", "é", 'quo"te', "\ud800") == ["unknown"] * 4


@pytest.mark.parametrize(
    ("score", "due"),
    [
        ("inf", LAST),
        ("1e18", LAST),
        ("253402300800000", LAST),
        ("-inf", datetime.min.replace(tzinfo=UTC)),
    ],
)
async def test_what_is_due_when_no_calendar_reaches_is_found(
    face: Face, redis_client: redis.Redis, score: str, due: datetime
) -> None:
    redis_client.zadd(KEYS.delayed, {envelope.encode("x", "far"): score})
    found = await face.call(face.queue().find, "far")
    assert (found.state, found.due) == ("delayed", due)


async def test_letters_come_newest_first_with_what_is_known(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue()
    redis_client.lpush(KEYS.dead_letter, "of 7.0.0")
    for one in ("first", "second"):
        await face.call(queue.enqueue, "same", message_id=one)
        ended(redis_client, Outcome.DEAD)
    redis_client.lpush(KEYS.dead_letter, b"\xff")
    newest, second, first, oldest = await face.call(queue.dead_letters)
    assert newest == Letter(b"\xff")
    assert oldest == Letter(b"of 7.0.0")
    assert [one.message_id for one in (second, first)] == ["second", "first"]
    assert first.at <= second.at
    assert (first.payload, first.reason, first.deliveries, first.worker) == (b"same", "Boom", 1, "pod-1")
    assert first.traceback.startswith("Traceback")
    assert await face.call(queue.dead_letters, 2, start=2) == [first, oldest]
    assert await face.call(queue.dead_letters, 1) == [newest]
    assert await face.call(queue.dead_letters, start=4) == []
    assert await face.call(queue.failed) == []


async def test_what_was_redriven_is_no_letter_and_its_record_no_others(
    face: Face, redis_client: redis.Redis
) -> None:
    queue = face.queue()
    await face.call(queue.enqueue, "same", message_id="a")
    ended(redis_client, Outcome.DEAD)
    assert await face.call(queue.redrive_dead_letters) == 1
    assert await face.call(queue.dead_letters) == []
    assert await states(face, queue, "a") == ["unknown"]
    ended(redis_client, Outcome.DEAD)
    (letter,) = await face.call(queue.dead_letters)
    assert letter.message_id not in (None, "a")


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.DEAD])
@pytest.mark.parametrize("leave", ["purge", "redrive"])
async def test_what_is_told_of_letters_leaves_with_them(
    face: Face, redis_client: redis.Redis, outcome: Outcome, leave: str
) -> None:
    """An equal message of 7.0.0 that is given up later is a letter of nobody."""
    queue = face.queue()
    target, key = ("dead_letter", KEYS.dead_letter) if outcome is Outcome.DEAD else ("failed", KEYS.failed)
    for one in ("same", "beside"):
        await face.call(queue.enqueue, one, message_id=one)
        ended(redis_client, outcome, keep_failed=5)
    if leave == "purge":
        assert await face.call(queue.purge, target=target) == 2
    else:
        assert (await face.call(queue.redrive, target, max_messages=1)).moved == 1
        assert await states(face, queue, "beside") == [outcome]
    redis_client.lpush(key, "same")
    assert await states(face, queue, "same") == ["unknown"]
    assert await face.call(queue.delete_letters, ["same"], source=target) == []
    told = await face.call(queue.dead_letters if target == "dead_letter" else queue.failed)
    assert told[0] == Letter(b"same")


async def test_of_many_equal_letters_the_others_keep_their_records(
    face: Face, redis_client: redis.Redis
) -> None:
    queue = face.queue()
    for number in range(6):
        await face.call(queue.enqueue, "same", message_id=str(number))
        ended(redis_client, Outcome.DEAD, keep_dead_letter_info=4)
    assert (await face.call(queue.redrive, max_messages=3)).moved == 3
    assert [one.message_id for one in await face.call(queue.dead_letters)] == ["5", "4", "3"]
    assert await states(face, queue, *"012345") == ["unknown"] * 3 + ["dead"] * 3
    assert await face.call(queue.redrive_dead_letters) == 3
    assert not redis_client.exists(KEYS.dead_letter_info)


async def test_a_record_whose_letter_somebody_removed_tells_of_no_other(
    face: Face, redis_client: redis.Redis
) -> None:
    queue = face.queue()
    for one in ("a", "b"):
        await face.call(queue.enqueue, "same", message_id=one)
        ended(redis_client, Outcome.DEAD)
    redis_client.rpop(KEYS.dead_letter)
    assert await states(face, queue, "a", "b") == ["unknown", "dead"]


@pytest.mark.one_node
async def test_equal_letters_are_told_apart_across_pages(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue()
    ids = [f"{number:04}" for number in range(2500)]
    for one in ids:
        redis_client.lpush(KEYS.pending, envelope.encode("same", one))
    claims = worker(redis_client).claim(2500).claims
    worker(redis_client, keep_dead_letter_info=3000).settle(
        [Settlement(claim, Outcome.DEAD) for claim in claims]
    )
    assert await states(face, queue, ids[0], ids[1200], ids[-1]) == ["dead"] * 3
    redis_client.rpop(KEYS.dead_letter)
    assert await states(face, queue, ids[0], ids[1], ids[-1]) == ["unknown", "dead", "dead"]


async def test_equal_letters_have_their_own_records_on_every_page(
    face: Face, redis_client: redis.Redis
) -> None:
    queue = face.queue()
    for number in range(12):
        await face.call(queue.enqueue, f"payload {number % 2}", message_id=str(number))
        ended(redis_client, Outcome.FAILED, keep_failed=100)
    told = [await face.call(queue.failed, 4, start=start) for start in (0, 4, 8)]
    assert [one.message_id for page in told for one in page] == [str(number) for number in range(11, -1, -1)]
    moved = await face.call(queue.redrive_letters, ["3", "8", "none"], source="failed")
    assert moved.keys() == {"3", "8"}
    assert await states(face, queue, *moved.values()) == ["pending", "pending"]
    assert await face.call(queue.delete_letters, ["11", "0"], source="failed") == ["0", "11"]
    left = [one.message_id for one in await face.call(queue.failed)]
    assert left == ["10", "9", "7", "6", "5", "4", "2", "1"]


async def test_letters_without_an_id_are_nobodys(face: Face, redis_client: redis.Redis) -> None:
    """What 7.0.0 gave up has no id: to name that takes nothing."""
    queue = face.queue()
    await face.call(queue.enqueue, "ours", message_id="a")
    ended(redis_client, Outcome.DEAD)
    redis_client.lpush(KEYS.dead_letter, *[f"of 7.0.0: {number}" for number in range(10)])
    shown = [one.message_id for one in await face.call(queue.dead_letters, 2)]
    for method in (queue.redrive_letters, queue.delete_letters):
        for wrong in (shown, ["a", None], [b"a"], [7]):
            with pytest.raises(TypeError, match="'message_ids' must hold ids, which are str, got "):
                await face.call(method, wrong)
        assert [*await face.call(method, ["None", ""])] == []
    assert redis_client.llen(KEYS.dead_letter) == 11
    assert await face.call(queue.delete_letters, ["a"]) == ["a"]
    assert redis_client.llen(KEYS.dead_letter) == 10


async def test_of_letters_under_one_id_the_newest_is_taken(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue()
    for payload in ("oldest", "older", "newest"):
        await face.call(queue.enqueue, payload, message_id="same")
        ended(redis_client, Outcome.DEAD)
    assert await face.call(queue.delete_letters, ["same"]) == ["same"]
    assert [one.payload for one in await face.call(queue.dead_letters)] == [b"older", b"oldest"]
    assert (await face.call(queue.redrive_letters, ["same"])).keys() == {"same"}
    assert [(one.payload, one.message_id) for one in await face.call(queue.dead_letters)] == [
        (b"oldest", "same")
    ]


async def test_the_oldest_letters_of_many_go_first(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue()
    number = 700  # more than one call takes
    ids = [str(place) for place in range(number)]
    await face.call(queue.enqueue_many, ids)
    claims = worker(redis_client).claim(number).claims
    worker(redis_client).settle([Settlement(claim, Outcome.DEAD) for claim in claims])
    letters = {one.payload: one.message_id for one in await face.call(queue.dead_letters, number)}
    moved = await face.call(queue.redrive_letters, [letters[one.encode()] for one in ids[50:]])
    assert len(moved) == number - 50
    pending = await face.call(queue.peek, number)
    assert [one.decode() for one in pending] == ids[50:]


@pytest.mark.one_node
async def test_many_letters_are_read_in_pages(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue()
    redis_client.lpush(KEYS.dead_letter, *[f"{place:05}" for place in range(1700)])
    await face.call(queue.dead_letters)
    redis_client.config_resetstat()
    told = await face.call(queue.dead_letters, 1200, start=100)
    assert [int(one.payload) for one in told] == [*range(1599, 399, -1)]
    assert redis_client.info("commandstats")["cmdstat_evalsha"]["calls"] == 3
    assert len(await face.call(queue.dead_letters, 5000)) == 1700
    redis_client.lpush(KEYS.failed, *[b"x" * 1500 for _ in range(800)])
    assert len(await face.call(queue.failed, 800)) == (1 << 20) // 1500


async def test_letters_that_come_between_two_pages_repeat_none(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue()
    redis_client.lpush(KEYS.dead_letter, *map(str, range(1200)))
    after_each_call(face, queue, lambda: redis_client.lpush(KEYS.dead_letter, "new"))
    told = await face.call(queue.dead_letters, 1200)
    assert [int(one.payload) for one in told] == [*range(1199, -1, -1)]


async def test_letters_are_taken_once_although_replies_are_lost(
    face: Face, redis_client: redis.Redis
) -> None:
    gateway = face.gateway(retry_initial_delay_seconds=0.001, retry_max_delay_seconds=0.002)
    queue = face.queue(gateway=gateway)
    ids = [str(number) for number in range(30)]
    for one in ids:
        await face.call(queue.enqueue, "same", message_id=one)
        ended(redis_client, Outcome.DEAD)
    flaky(face, gateway, random.Random(1))
    assert (await face.call(queue.redrive_letters, ids[:20])).keys() == {*ids[:20]}
    assert redis_client.llen(KEYS.pending) == 20
    assert await face.call(queue.delete_letters, ids) == ids[20:]
    assert not redis_client.exists(KEYS.dead_letter, KEYS.dead_letter_info)
    assert redis_client.llen(KEYS.pending) == 20


async def test_a_page_of_letters_is_bounded(face: Face, redis_client: redis.Redis) -> None:
    redis_client.lpush(
        KEYS.failed, *[b"%06d" % number + b"x" * 400_000 for number in range(5)], b"y" * 3_000_000
    )
    queue = face.queue()
    sizes = []
    while page := await face.call(queue.failed, start=len(sizes)):
        assert sum(len(one.payload) for one in page) <= 1 << 20 or len(page) == 1
        sizes += [len(one.payload) for one in page]
    assert sizes == [3_000_000] + [400_006] * 5


async def test_a_decoding_client_gets_text_where_it_is_text(face: Face, redis_client: redis.Redis) -> None:
    redis_client.lpush(KEYS.failed, b"\xff", "grüße")
    redis_client.lpush(KEYS.failed_info, "no record", "[]", '{"digest": 7}')
    queue = face.queue(client=face.client(decode_responses=True))
    assert [one.payload for one in await face.call(queue.failed)] == ["grüße", b"\xff"]
    assert await states(face, queue, "x") == ["unknown"]


async def test_what_was_lost_too_often_is_dead(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue()
    await face.call(queue.enqueue, "x", message_id="x", deduplication_key="k")
    consumer = worker(redis_client, max_delivery_count=1)
    consumer.claim(1)
    let_leases_expire(redis_client, KEYS)
    assert consumer.claim(1).dead_lettered == 1
    found = await face.call(queue.find, "x")
    assert (found.state, found.reason, found.deliveries) == ("dead", "MaxDeliveries", 1)


@pytest.mark.parametrize("key", [KEYS.pending, KEYS.failed, KEYS.failed_info, KEYS.workers])
async def test_a_key_of_another_type_is_named(face: Face, redis_client: redis.Redis, key: str) -> None:
    redis_client.set(key, "text", ex=60)
    with pytest.raises(LuaScriptError, match="WRONGTYPE"):
        await face.call(face.queue().find, "x")


async def test_what_cannot_be_asked_is_named(face: Face) -> None:
    queue = face.queue()
    for wrong in (None, 7):
        with pytest.raises(TypeError, match="'message_id' must be a str, got"):
            await face.call(queue.find, wrong)
    for method in (queue.redrive_letters, queue.delete_letters):
        with pytest.raises(TypeError, match="'message_ids' must be an iterable of ids"):
            await face.call(method, "text")
        with pytest.raises(ConfigurationError, match="'source' must be one of"):
            await face.call(method, ["a"], source="pending")
    for options in ({"count": 0}, {"start": -1}):
        with pytest.raises(ConfigurationError):
            await face.call(queue.dead_letters, **options)


@pytest.mark.one_node
async def test_a_replica_is_looked_at_and_takes_nothing(
    face: Face, redis_client: redis.Redis, node: redis.Redis
) -> None:
    queue = face.queue(publish_timeout_seconds=0.3)
    await face.call(queue.enqueue, "x", message_id="x")
    redis_client.lpush(KEYS.dead_letter, "dead")
    node.replicaof("127.0.0.1", 1)  # of nobody: it keeps what it has
    try:
        assert await states(face, queue, "x", "y") == ["pending", "unknown"]
        assert await face.call(queue.dead_letters) == [Letter(b"dead")]
        with pytest.raises(AWAY):
            await face.call(queue.enqueue, "y")
    finally:
        node.replicaof("NO", "ONE")
    assert redis_client.llen(KEYS.pending) == 1


@pytest.mark.one_node  # a cluster's client connects before anything is looked for
async def test_a_search_ends_in_time_where_redis_takes_the_call_and_never_answers(face: Face) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = type(face.client()).from_url(f"redis://127.0.0.1:{silent.getsockname()[1]}")
        queue = face.queue(client=client)
        with pytest.raises(RetryBudgetExhaustedError) as refused:
            await face.call(queue.find, "anything", timeout_seconds=0.3)
    assert str(refused.value) == (
        "find() gave up after 'timeout_seconds' 0.3: Redis, or the way to it, does not answer"
    )


async def test_a_search_that_is_in_time_is_as_ever(face: Face) -> None:
    queue = face.queue()
    receipt = await face.call(queue.enqueue, "x")
    found = await face.call(queue.find, receipt.message_id, timeout_seconds=60)
    assert found == await face.call(queue.find, receipt.message_id)
    for wrong in (-1, 0):  # without any time it could not even ask
        with pytest.raises(ConfigurationError, match="timeout_seconds"):
            await face.call(queue.find, "x", timeout_seconds=wrong)
