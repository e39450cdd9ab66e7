"""Priorities and limit keys: who is claimed before whom, and that nothing of them is lost on any way."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.queues import let_delayed_be_due, let_leases_expire

from redis_message_queue import ConfigurationError, envelope
from redis_message_queue.consumer import Consumer, Due, Limits, Outcome, Settlement
from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    import redis
    from tests.support.faces import Face

KEYS = QueueKeys("{jobs}")


def end(client: redis.Redis, claims: Any, outcome: Outcome = Outcome.DONE, **more: Any) -> None:
    Consumer(client, "{jobs}").settle([Settlement(claim, outcome, **more) for claim in claims])


def one_by_one(client: redis.Redis, count: int, **options: Any) -> list[str]:
    """The payloads of so many claims of one message each, which is done at once."""
    consumer, found = Consumer(client, "{jobs}", **options), []
    for _ in range(count):
        claims = consumer.claim(1).claims
        end(client, claims)
        found += [claim.payload.decode() for claim in claims]
    return found


def left(client: redis.Redis) -> set[bytes]:
    """What is left of an empty queue, but for what expires."""
    return {key for key in client.scan_iter("*") if client.ttl(key) == -1} - {
        KEYS.lease_token_counter.encode()
    }


async def test_high_ones_come_first_and_low_ones_last(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue()
    for priority in ("low", "normal", "high"):
        for number in range(2):
            await face.call(queue.enqueue, f"{priority} {number}", priority=priority)
    assert (await face.call(queue.stats)).pending == 6
    assert one_by_one(redis_client, 7) == [
        *("high 0", "high 1", "normal 0", "normal 1", "low 0", "low 1"),
    ]
    assert left(redis_client) == set()


async def test_process_message_has_the_same_order(face: Face, redis_client: redis.Redis) -> None:
    without_leases = {"visibility_timeout_seconds": None, "max_delivery_count": None}
    for options in ({}, without_leases):
        queue, handled = face.queue(**options), []
        await face.call(queue.enqueue, "low", priority="low")
        await face.call(queue.enqueue, "normal")
        await face.call(queue.enqueue, "high", priority="high")
        for _ in range(3):
            async with face.process(queue) as payload:
                handled.append(payload)
        if (
            options
        ):  # nothing counts claims without leases: which of them is one in eight is a matter of chance
            assert sorted(handled) == [b"high", b"low", b"normal"]
        else:
            assert handled == [b"high", b"normal", b"low"]
    assert left(redis_client) == set()


def test_low_ones_get_a_claim_in_eight_of_a_flood(redis_client: redis.Redis) -> None:
    queue = face_sync(redis_client)
    queue.enqueue_many(["high"] * 100, priority="high")
    queue.enqueue_many(["normal"] * 100)
    queue.enqueue_many(["low"] * 100, priority="low")
    assert Counter(one_by_one(redis_client, 64)) == {"high": 48, "normal": 8, "low": 8}
    batch = Consumer(redis_client, "{jobs}").claim(16).claims
    assert Counter(claim.payload for claim in batch) == {b"high": 14, b"normal": 1, b"low": 1}


def face_sync(client: redis.Redis) -> Any:
    from redis_message_queue import RedisMessageQueue

    return RedisMessageQueue("{jobs}", client=client)


def test_keys_take_turns_and_each_keeps_its_order(redis_client: redis.Redis) -> None:
    queue = face_sync(redis_client)
    queue.enqueue_many([f"a{n}" for n in range(50)], limit_key="a")
    queue.enqueue_many([f"b{n}" for n in range(5)], limit_key="b")
    queue.enqueue("c0", limit_key="c")
    found = one_by_one(redis_client, 56)
    assert set(found[:3]) == {"a0", "b0", "c0"}
    assert {name[0] for name in found[3:11]} == {"a", "b"}
    for key, count in (("a", 50), ("b", 5)):
        assert [name for name in found if name[0] == key] == [f"{key}{n}" for n in range(count)]
    assert left(redis_client) == set()


def test_keys_take_turns_soon_again_after_the_clock_was_set_back(redis_client: redis.Redis) -> None:
    queue = face_sync(redis_client)
    for key in "abc":
        queue.enqueue_many([key] * 100, limit_key=key)
        queue.enqueue(key, limit_key=key, priority="high")
    one_by_one(redis_client, 6)
    # What they had their turns by is an hour ahead of now.
    for lane, turn in redis_client.zrange(KEYS.lanes.turns, 0, -1, withscores=True):
        redis_client.zadd(KEYS.lanes.turns, {lane: turn + 3600e6})
    found = Counter(one_by_one(redis_client, 124))  # after the next 64 it is mended
    assert min(found[key] for key in "abc") >= 20
    assert len(one_by_one(redis_client, 200)) == 173
    assert left(redis_client) == set()


def test_what_has_no_key_takes_every_other_turn(redis_client: redis.Redis) -> None:
    queue = face_sync(redis_client)
    queue.enqueue_many(["none"] * 40)
    queue.enqueue_many(["a"] * 40, limit_key="a")
    queue.enqueue_many(["b"] * 40, limit_key="b")
    assert Counter(one_by_one(redis_client, 40)) == {"none": 20, "a": 10, "b": 10}
    assert Counter(claim.payload for claim in Consumer(redis_client, "{jobs}").claim(16).claims) == {
        b"none": 8,
        b"a": 4,
        b"b": 4,
    }


@pytest.mark.parametrize("limited", [True, False])
@pytest.mark.parametrize("way", ["retry", "retry at once", "release", "expiry", "delay", "front"])
def test_a_message_keeps_its_priority_and_key(redis_client: redis.Redis, way: str, limited: bool) -> None:
    queue = face_sync(redis_client)
    consumer = Consumer(redis_client, "{jobs}", key_limits=Limits(max_in_flight=5) if limited else None)
    options: dict[str, Any] = {"delay": {"delay_seconds": 60}, "front": {"at_front": True}}.get(way, {})
    receipt = queue.enqueue("it", priority="high", limit_key="Zoë \"&'", **options)
    for number in range(10):
        queue.enqueue(f"other {number}", priority="normal", limit_key="Zoë \"&'")
    queue.enqueue("unkeyed")
    if way not in ("delay", "front"):
        claims = consumer.claim(1).claims
        assert claims[0].id == receipt.message_id
        if way == "expiry":
            let_leases_expire(redis_client, KEYS)
        elif way == "release":
            consumer.settle([Settlement(claims[0], Outcome.RELEASE)])
        else:
            delay = 60 if way == "retry" else 0
            consumer.settle([Settlement(claims[0], Outcome.RETRY, delay_seconds=delay)])
    let_delayed_be_due(redis_client, KEYS)
    claims = consumer.claim(1).claims
    if claims[0].id != receipt.message_id:  # what is due takes every other turn
        assert "delay" in (way, way.replace("retry", "delay"))
        end(redis_client, claims)
        claims = consumer.claim(1).claims
    assert claims[0].id == receipt.message_id
    assert b'"lane":"0Zo' in claims[0].stored
    assert redis_client.zcard(KEYS.lanes.held) == limited


@pytest.mark.parametrize("which", ["redrive", "redrive_letters"])
def test_a_letter_that_is_redriven_keeps_them_too(redis_client: redis.Redis, which: str) -> None:
    queue = face_sync(redis_client)
    receipt = queue.enqueue("it", priority="high", limit_key="Zoë")
    claims = Consumer(redis_client, "{jobs}").claim(1).claims
    end(redis_client, claims, Outcome.DEAD, reason="Gone")
    queue.enqueue_many(["other"] * 3)
    if which == "redrive":
        assert queue.redrive().moved == 1
    else:
        assert [*queue.redrive_letters([receipt.message_id])] == [receipt.message_id]
    claim = Consumer(redis_client, "{jobs}").claim(1).claims[0]
    assert (claim.payload, b'"lane":"0Zo\\u00eb"' in claim.stored) == (b"it", True)


def third(payloads: Any) -> list[bool]:
    return [one.isdigit() and int(one) % 3 == 0 for one in payloads]


@pytest.mark.parametrize("how", [{}, {"max_messages": 7}, {"match": third}], ids=["all", "few", "chosen"])
@pytest.mark.parametrize("source", ["dead_letter", "failed"])
async def test_letters_beside_others_that_nothing_tells_of_keep_them_too(
    face: Face, redis_client: redis.Redis, source: str, how: dict[str, Any]
) -> None:
    """`process_message` and 7.0.0 leave no record: those of other letters stand apart from them then."""
    queue, numbers = face.queue(), [str(number) for number in range(130)]
    letters, outcome = (
        (KEYS.failed, Outcome.FAILED) if source == "failed" else (KEYS.dead_letter, Outcome.DEAD)
    )
    keys = [f"k{number}" for number in numbers]
    await face.call(queue.enqueue_many, numbers, priority="high", limit_keys=keys)
    await face.call(queue.enqueue, "same", limit_key="same")
    redis_client.lpush(letters, "oldest")
    while claims := Consumer(redis_client, "{jobs}").claim(40).claims:
        end(redis_client, claims, outcome)
        redis_client.lpush(letters, f"beside {claims[0].id}", "same")
    if "match" in how:
        how = {"match": face.callback(third)}
    kept: dict[str, set[bytes]] = {}
    while moved := (await face.call(queue.redrive, source, **how)).moved:
        claims = Consumer(redis_client, "{jobs}").claim(moved).claims
        assert len(claims) == moved
        for claim in claims:
            lane = claim.stored.partition(b'"lane":"')[2].partition(b'"')[0]
            kept.setdefault(claim.payload.decode(), set()).add(lane)
        end(redis_client, claims)
    wanted = numbers[::3] if "match" in how else numbers
    assert {one: kept[one] for one in wanted} == {one: {f"0k{one}".encode()} for one in wanted}
    if "match" not in how:
        assert (kept["oldest"], kept["same"]) == ({b""}, {b"", b"1same"})


def test_they_are_found_seen_and_purged(redis_client: redis.Redis) -> None:
    queue = face_sync(redis_client)
    receipts = queue.enqueue_many([f"a{n}" for n in range(3)], limit_key="a", priority="low")
    queue.enqueue("none")
    assert queue.stats().pending == 4
    assert sorted(queue.peek(10)) == [b"a0", b"a1", b"a2", b"none"]
    assert queue.find(receipts[2].message_id).state == "pending"
    assert queue.find(receipts[1].message_id).position in (0, 1)  # the first may stand in pending itself
    claims = Consumer(redis_client, "{jobs}").claim(2).claims
    end(redis_client, claims, Outcome.RETRY)
    assert queue.purge(target="pending") == 4
    assert queue.stats().pending == 0
    assert not Consumer(redis_client, "{jobs}").claim(1).claims


def test_a_claim_of_very_many_takes_a_thousand(redis_client: redis.Redis) -> None:
    queue = face_sync(redis_client)
    queue.enqueue_many(["x"] * 2500, limit_keys=[f"k{number % 1200}" for number in range(2500)])
    consumer, counts = Consumer(redis_client, "{jobs}", key_limits=Limits(max_in_flight=5)), []
    while claims := (reply := consumer.claim(20_000)).claims:
        counts.append(len(claims))
        assert reply.next_due_seconds == 0 or sum(counts) == 2500
        consumer.settle([Settlement(claim, Outcome.DONE) for claim in claims])
    assert counts == [1000, 1000, 500]
    assert left(redis_client) == set()


def test_what_waits_in_a_lane_is_cancelled_there(redis_client: redis.Redis) -> None:
    queue = face_sync(redis_client)
    receipts = queue.enqueue_many([f"a{n}" for n in range(4)], limit_key="a", priority="low")
    for receipt in receipts[1:]:
        assert queue.cancel(receipt.message_id) == "removed"
        assert queue.find(receipt.message_id).state == "unknown"
    assert one_by_one(redis_client, 2) == ["a0"]
    assert left(redis_client) == set()


def test_a_full_queue_counts_those_that_wait_by_key(redis_client: redis.Redis) -> None:
    from redis_message_queue import QueueBackpressureError, RedisMessageQueue

    queue = RedisMessageQueue("{jobs}", client=redis_client, max_pending_length=3, deduplication=False)
    queue.enqueue_many(["x"] * 2, limit_key="a")
    queue.publish("x")
    for more in (lambda: queue.publish("x"), lambda: queue.enqueue("x", priority="high")):
        with pytest.raises(QueueBackpressureError):
            more()
    assert queue.stats().pending == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"priority": "urgent"}, "'priority' must be one of 'high', 'normal', 'low', got 'urgent'"),
        ({"limit_key": ""}, "'limit_key' must be a non-empty string"),
        ({"limit_key": "k" * 201}, "'limit_key' must have at most 200 characters, got 201"),
    ],
)
async def test_what_cannot_be_is_refused(face: Face, options: dict[str, Any], words: str) -> None:
    queue = face.queue()
    with pytest.raises(ConfigurationError, match=words):
        await face.call(queue.enqueue, "x", **options)
    with pytest.raises(ConfigurationError, match="'limit_keys' must have one for each payload, got 1 for 2"):
        await face.call(queue.enqueue_many, ["x", "y"], limit_keys=["a"])
    with pytest.raises(ConfigurationError, match="'limit_key' cannot be combined with 'limit_keys'"):
        await face.call(queue.enqueue_many, ["x"], limit_keys=["a"], limit_key="b")
    with pytest.raises(TypeError, match="'limit_key' must be a str or None, got int"):
        await face.call(queue.enqueue, "x", limit_key=7)


async def test_each_of_many_may_have_its_own_key(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue()
    await face.call(queue.enqueue_many, ["a", "b", "none"], limit_keys=["a", "b", None])
    claims = Consumer(redis_client, "{jobs}").claim(9).claims
    lanes = {claim.payload: envelope.decode(claim.stored).id is not None for claim in claims}
    assert lanes == {b"a": True, b"b": True, b"none": True}
    assert sum(b'"lane":"1' in claim.stored for claim in claims) == 2


@pytest.mark.parametrize("way", ["cancel", "purge", "7.0.0"])
async def test_who_waits_is_woken_by_the_next_after_the_first_has_gone(
    face: Face, redis_client: redis.Redis, way: str
) -> None:
    queue = face.queue()
    first = await face.call(queue.enqueue, "first", priority="high")
    if way == "cancel":
        assert await face.call(queue.cancel, first.message_id) == "removed"
    elif way == "purge":
        assert await face.call(queue.purge, target="pending") == 1
    else:  # which reads that list alone
        redis_client.rpop(KEYS.pending)
    if way != "7.0.0":
        assert left(redis_client) == set()
    await face.call(queue.enqueue, "second", priority="high")
    assert Consumer(redis_client, "{jobs}").wait(0.01)
    assert one_by_one(redis_client, 2) == ["second"]
    assert left(redis_client) == set()


KEY_LIMITS: list[dict[str, Any]] = [{}, {"key_limits": Limits(max_in_flight=4)}]


@pytest.mark.parametrize("options", KEY_LIMITS, ids=["no limits", "limits"])
def test_one_that_had_trouble_has_its_turn_and_holds_up_no_other_of_its_key(
    redis_client: redis.Redis, options: dict[str, Any]
) -> None:
    queue, consumer = face_sync(redis_client), Consumer(redis_client, "{jobs}", **options)
    for number in range(6):
        for key in "abc":
            queue.enqueue(f"{key}{number}", limit_key=key)
    (current,) = consumer.claim(1).claims
    assert current.payload == b"a0"
    consumer.settle([Settlement(current, Outcome.RETRY, delay_seconds=60, failed=True)])
    let_delayed_be_due(redis_client, KEYS)
    ends: list[Settlement] = []
    found = []
    for _ in range(18):
        (claim,) = consumer.settle(ends, claim=1).claimed.claims
        found.append(claim.payload.decode())
        ends = [Settlement(claim, Outcome.DONE)]
    assert not consumer.settle(ends, claim=1).claimed.claims
    assert "a0" in found[:4]
    for key in "abc":
        own = [place for place, payload in enumerate(found) if payload.startswith(key)]
        assert max(after - before for before, after in itertools.pairwise(own)) <= 5, found
    assert left(redis_client) == set()


@pytest.mark.parametrize("options", KEY_LIMITS, ids=["no limits", "limits"])
def test_one_that_was_kept_comes_before_others_of_all_lanes(
    redis_client: redis.Redis, options: dict[str, Any]
) -> None:
    queue, consumer = face_sync(redis_client), Consumer(redis_client, "{jobs}", **options)
    queue.enqueue("lost", limit_key="a")
    consumer.claim(1)
    let_leases_expire(redis_client, KEYS)
    for number in range(4):
        for key in "abc":
            queue.enqueue(f"{key}{number}", limit_key=key)
    busy: list[Any] = []
    while not (busy and busy[-1].kept):
        busy += consumer.settle((), claim=1, in_hand=1 + len(busy)).claimed.claims
        assert len(busy) <= 4, "its lane has its turn"
    *others, kept = busy
    end(redis_client, others)
    reply = consumer.settle([Settlement(kept, Outcome.RELEASE)], claim=3, in_hand=0)
    assert all(reply.applied)
    (begun,) = reply.claimed.claims
    assert (begun.payload, begun.kept, begun.lost_leases, begun.delivery_count) == (b"lost", False, 1, 2)
    end(redis_client, [begun])
    assert len(one_by_one(redis_client, 13, **options)) == 12 - len(others)
    assert left(redis_client) == set()


LANES: list[dict[str, Any]] = [
    {"priority": "high"},
    {"limit_key": "a"},
    {"limit_key": "a", "priority": "low"},
]


@pytest.mark.parametrize("options", LANES, ids=["high", "a key", "a key, low"])
async def test_what_is_due_takes_every_other_place_of_its_lane(
    face: Face, redis_client: redis.Redis, options: dict[str, Any]
) -> None:
    queue, consumer = face_sync(redis_client), Consumer(redis_client, "{jobs}")
    queue.enqueue_many(["due"] * 12, delay_seconds=60, **options)
    queue.enqueue_many(["fresh"] * 12, **options)
    let_delayed_be_due(redis_client, KEYS)
    found = [claim.payload for claim in consumer.settle((), 2, due=Due.LAST).claimed.claims]
    assert found == [b"fresh"] * 2
    found += [claim.payload for _ in range(3) for claim in consumer.claim(2).claims]
    async with face.process(face.queue()) as first, face.process(face.queue()) as second:
        found += [first, second]
    assert found[2:] == [b"due", b"fresh"] * 3 + found[8:]
    assert {*found[8:]} == {b"due", b"fresh"}
    let_leases_expire(redis_client, KEYS)
    assert Counter(one_by_one(redis_client, 25)) == {"due": 11, "fresh": 11}  # two are done
    assert left(redis_client) == set()


def test_what_is_due_comes_although_all_in_lanes_are_at_their_limit(redis_client: redis.Redis) -> None:
    queue = face_sync(redis_client)
    consumer = Consumer(redis_client, "{jobs}", key_limits=Limits(max_in_flight=1))
    for _ in range(2):  # whatever the number of claims is, by which those that are due have their turns
        queue.enqueue_many(["fresh"] * 2, limit_key="a")
        queue.enqueue("due", delay_seconds=60)
        let_delayed_be_due(redis_client, KEYS)
        found = [claim for _ in range(3) for claim in consumer.claim(1).claims]
        assert sorted(claim.payload for claim in found) == [b"due", b"fresh"]
        end(redis_client, found)
        end(redis_client, consumer.claim(1).claims)
    assert left(redis_client) == set()


@pytest.mark.parametrize("options", LANES, ids=["high", "a key", "a key, low"])
def test_what_is_retried_at_once_goes_behind_those_that_wait(
    redis_client: redis.Redis, options: dict[str, Any]
) -> None:
    queue, consumer = face_sync(redis_client), Consumer(redis_client, "{jobs}")
    for name in "abc":
        queue.enqueue(name, **options)
    ends: list[Settlement] = []
    found = []
    for _ in range(7):
        (claim,) = consumer.settle(ends, 1).claimed.claims
        found.append(claim.payload.decode())
        ends = [Settlement(claim, Outcome.DONE if claim.payload == b"b" else Outcome.RETRY)]
    assert found == [*"abcacac"]
    consumer.settle(ends)
    assert not redis_client.exists(KEYS.delayed)
    assert one_by_one(redis_client, 3) == [*"ac"]
    assert left(redis_client) == set()


@pytest.mark.parametrize("lane", [b"3", b"9k", b"1\xff", b"2\x00k"])
async def test_what_is_no_lane_holds_nothing_up(face: Face, redis_client: redis.Redis, lane: bytes) -> None:
    await face.call(face.queue().enqueue, "laned", limit_key="k")
    redis_client.rpush(KEYS.pending, b'\x1eRMQ1:{"id":"odd","lane":"' + lane + b'","payload":"odd"}')
    consumer = face.consumer("{jobs}", key_limits=Limits(max_in_flight=1))
    claims = (await face.call(consumer.claim, 2)).claims
    assert len(claims) == 2
    ended = [Settlement(claim, Outcome.DEAD) for claim in claims]
    assert (await face.call(consumer.settle, ended)).applied == (True, True)
    queue = face.queue(client=face.client(decode_responses=True))
    assert len(await face.call(queue.dead_letters)) == 2


@pytest.mark.foreign_keys("another type stands under the name of what limits count")
async def test_who_has_no_limits_needs_not_what_they_count_by(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue()
    await face.call(queue.enqueue_many, ["a", "b"], limit_key="k")
    redis_client.sadd(KEYS.lanes.held, "alien")
    for expected in (b"a", b"b"):
        async with face.process(queue) as payload:
            assert payload == expected
    assert redis_client.llen(KEYS.processing) == 0
