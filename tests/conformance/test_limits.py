"""Limits of a queue and of its limit keys: never more begins than they allow, by the server's own clock."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.queues import let_delayed_be_due, let_leases_expire
from tests.support.waiting import eventually

from redis_message_queue import ConfigurationError, RedisMessageQueue
from redis_message_queue.consumer import Consumer, Limits, Outcome, Settlement, WorkerIdentity
from redis_message_queue.holders import expire_leases
from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis
    from tests.support.faces import Face
    from tests.support.servers import Server

KEYS = QueueKeys("{jobs}")
LEASE_SECONDS = 3600


def consumer_of(client: redis.Redis, **options: Any) -> Consumer:
    return Consumer(client, "{jobs}", visibility_timeout_seconds=LEASE_SECONDS, **options)


def done(claims: Sequence[Any]) -> list[Settlement]:
    return [Settlement(claim, Outcome.DONE) for claim in claims]


def most_within(moments: Sequence[int], window_ms: int) -> int:
    """The largest number of moments that any window of this length holds."""
    ordered, first, most = sorted(moments), 0, 0
    for last, moment in enumerate(ordered):
        while ordered[first] <= moment - window_ms:
            first += 1
        most = max(most, last - first + 1)
    return most


async def test_a_consumer_of_either_face_is_limited(face: Face, redis_client: redis.Redis) -> None:
    await face.call(face.queue().enqueue_many, ["x"] * 5)
    consumer = face.consumer("{jobs}", limits=Limits(rate_per_second=0.01, rate_burst=2, max_in_flight=9))
    reply = await face.call(consumer.claim, 5)
    assert len(reply.claims) == 2
    assert 90 < reply.limited_seconds <= 100
    settled = await face.call(consumer.settle, done(reply.claims), 5)
    assert (all(settled.applied), settled.claimed.claims) == (True, ())
    assert 90 < settled.claimed.limited_seconds <= 100
    assert 0 < redis_client.pttl(KEYS.lanes.rates) <= 2_678_400_000


def test_all_consumers_of_a_queue_share_its_rate(server: Server, redis_client: redis.Redis) -> None:
    RedisMessageQueue("{jobs}", client=redis_client).enqueue_many(["x"] * 2000)
    begun, stop = [], threading.Event()

    def work() -> None:
        with server.blocking() as client:
            consumer, claims = consumer_of(client, limits=Limits(rate_per_second=50, rate_burst=10)), ()
            while not stop.is_set():
                reply = consumer.settle(done(claims), claim=16).claimed
                claims = reply.claims
                begun.extend(claim.lease_end_ms for claim in claims)
                assert reply.limited_seconds is not None
                stop.wait(max(0.001, reply.limited_seconds))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(begun) >= 150, "three seconds' worth")
    stop.set()
    for thread in threads:
        thread.join()
    # The end of a lease is the server's clock at the claim, and the lease.
    assert most_within(begun, 1000) <= 60
    assert most_within(begun, 200) <= 20


def test_no_more_are_in_flight_than_may_be_and_what_leaves_makes_room(redis_client: redis.Redis) -> None:
    RedisMessageQueue("{jobs}", client=redis_client).enqueue_many(["x"] * 20)
    one, other = (consumer_of(redis_client, limits=Limits(max_in_flight=3)) for _ in range(2))
    claims = one.claim(2).claims
    reply = other.claim(5)
    assert (len(claims), len(reply.claims)) == (2, 1)
    assert reply.limited_seconds is not None
    assert not other.claim(5).claims
    settled = one.settle(done(claims), claim=16)
    assert len(settled.claimed.claims) == 2
    let_leases_expire(redis_client, KEYS)
    assert len(other.claim(16).claims) == 3


def test_messages_of_a_key_at_its_limit_step_aside(redis_client: redis.Redis) -> None:
    queue = RedisMessageQueue("{jobs}", client=redis_client)
    queue.enqueue_many([f"a{n}" for n in range(9)], limit_key="a")
    queue.enqueue_many([f"b{n}" for n in range(2)], limit_key="b")
    queue.enqueue_many(["none"] * 2)
    consumer = consumer_of(
        redis_client, key_limits=Limits(rate_per_second=0.01, rate_burst=1, max_in_flight=2)
    )
    reply = consumer.claim(16)
    assert sorted(claim.payload for claim in reply.claims) == [b"a0", b"b0", b"none", b"none"]
    assert 90 < reply.next_due_seconds <= 100
    assert reply.limited_seconds is None
    assert consumer.settle(done(reply.claims), claim=16).claimed.claims == ()
    # They are there for who knows no limits.
    assert sorted(claim.payload for claim in Consumer(redis_client, "{jobs}").claim(16).claims) == [
        *(b"a%d" % n for n in range(1, 9)),
        b"b1",
    ]


@pytest.mark.parametrize("way", ["done", "dead", "retry", "release", "expiry", "death", "7.0.0"])
def test_what_a_key_has_in_flight_is_given_back(redis_client: redis.Redis, way: str) -> None:
    queue = RedisMessageQueue("{jobs}", client=redis_client)
    for number in range(6):
        queue.enqueue(f"a{number}", limit_key="a", priority=("high", "low")[number % 2])
    identity = WorkerIdentity("w", 4, instance="i")
    consumer = consumer_of(redis_client, key_limits=Limits(max_in_flight=2), worker=identity)
    claims = consumer.claim(5).claims
    assert [claim.payload for claim in claims] == [b"a0", b"a2"]
    assert consumer.claim(5).claims == ()
    again = []
    if way == "expiry":
        let_leases_expire(redis_client, KEYS)
        again = [b"a0", b"a2"]
    elif way == "death":
        assert expire_leases(redis_client, KEYS, "i") == 2
        again = [b"a0", b"a2"]
    elif way == "7.0.0":  # which has taken them back, and settled them
        for claim in claims:
            redis_client.lrem(KEYS.processing, 1, claim.stored)
            redis_client.hdel(KEYS.lease_tokens, claim.stored)
            redis_client.zrem(KEYS.lease_deadlines, claim.stored)
        # As when the time has come at which a key at its limit is looked at again.
        redis_client.zadd(KEYS.lanes.turns, dict.fromkeys(redis_client.zrange(KEYS.lanes.turns, 0, -1), 0))
    else:
        outcome = {
            "done": Outcome.DONE,
            "dead": Outcome.DEAD,
            "retry": Outcome.RETRY,
            "release": Outcome.RELEASE,
        }
        delay = 3600 if way == "retry" else 0
        consumer.settle([Settlement(claim, outcome[way], delay_seconds=delay) for claim in claims])
        again = [b"a0", b"a2"] if way == "release" else []
    found = [claim.payload for claim in consumer.claim(5).claims]
    assert found == (again or [b"a4", b"a1"])
    assert redis_client.zcard(KEYS.lanes.held) == 2


def test_a_key_at_its_limit_leaves_nothing_behind_when_all_is_done(redis_client: redis.Redis) -> None:
    queue = RedisMessageQueue("{jobs}", client=redis_client)
    queue.enqueue_many(["x"] * 30, limit_keys=[f"k{n % 3}" for n in range(30)])
    consumer, begun, claims = consumer_of(redis_client, key_limits=Limits(max_in_flight=2)), 0, ()
    while begun < 30:
        claims = consumer.settle(done(claims), claim=4).claimed.claims
        begun += len(claims)
        assert 1 <= len(claims) <= 4
    consumer.settle(done(claims))
    assert not redis_client.exists(
        KEYS.lanes.waiting, KEYS.lanes.turns, KEYS.lanes.held, KEYS.lanes.rates, KEYS.pending, KEYS.processing
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rate_per_second": 0}, "'rate_per_second' must be positive, got 0"),
        ({"rate_burst": 2}, "'rate_burst' needs 'rate_per_second'"),
        ({"max_in_flight": 0}, "'max_in_flight' must be positive"),
        ({"rate_per_second": 0.00001, "rate_burst": 100}, "must refill within 30 days"),
    ],
)
def test_a_limit_that_cannot_work_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Limits(**options)


def test_a_waiting_consumer_is_woken_by_what_has_a_key(server: Server, redis_client: redis.Redis) -> None:
    queue = RedisMessageQueue("{jobs}", client=redis_client)
    consumer = consumer_of(redis_client, key_limits=Limits(rate_per_second=0.01))
    queue.enqueue_many(["x"] * 3, limit_key="a")
    assert len(consumer.claim(1).claims) == 1
    assert consumer.claim(1).claims == ()  # the rest waits for its key's time
    woken: list[bool] = []

    def wait() -> None:
        with server.blocking() as client:
            woken.append(consumer_of(client).wait(60))

    waiter = threading.Thread(target=wait)
    waiter.start()
    time.sleep(0.2)
    queue.enqueue("y", limit_key="b")
    waiter.join(30)
    assert woken == [True]
    assert [claim.payload for claim in consumer.claim(1).claims] == [b"y"]


@pytest.mark.parametrize("fate", ["cancelled", "a dead letter"])
@pytest.mark.parametrize("many", [1, 4])
def test_what_ends_instead_of_beginning_holds_up_no_other_of_its_key(
    redis_client: redis.Redis, fate: str, many: int
) -> None:
    queue = RedisMessageQueue("{jobs}", client=redis_client)
    receipts = [queue.enqueue(f"a{number}", limit_key="a") for number in range(3)]
    queue.enqueue("other level", limit_key="a", priority="low")
    consumer = consumer_of(redis_client, key_limits=Limits(max_in_flight=1), max_delivery_count=1)
    assert [claim.payload for claim in consumer.claim(many).claims] == [b"a0"]
    assert not consumer.claim(many).claims  # now all of the key wait for the end of what is in flight
    if fate == "cancelled":
        assert queue.cancel(receipts[0].message_id) == "requested"
    let_leases_expire(redis_client, KEYS)  # of a worker that was killed
    found: list[bytes] = []
    for _ in range(8):
        reply = consumer.claim(many)
        assert reply.claims or len(found) == 3 or reply.next_due_seconds == 0
        found += [claim.payload for claim in reply.claims]
        consumer.settle(done(reply.claims))
    assert found == [b"a1", b"a2", b"other level"]
    assert not redis_client.exists(KEYS.lanes.waiting, KEYS.lanes.turns, KEYS.lanes.held)


def test_what_a_worker_without_limits_took_over_is_given_back(redis_client: redis.Redis) -> None:
    queue = RedisMessageQueue("{jobs}", client=redis_client)
    queue.enqueue_many(["a0", "a1"], limit_key="a")
    identity = WorkerIdentity("w", 4, instance="i")
    limited = consumer_of(redis_client, key_limits=Limits(max_in_flight=1), worker=identity)
    unlimited = consumer_of(redis_client)
    assert len(limited.claim(5).claims) == 1
    assert expire_leases(redis_client, KEYS, "i") == 1
    taken = unlimited.claim(1).claims
    assert [claim.payload for claim in taken] == [b"a0"]
    assert not limited.claim(5).claims
    unlimited.settle(done(taken))
    assert [claim.payload for claim in limited.claim(5).claims] == [b"a1"]


@pytest.mark.parametrize("expired", [False, True])
async def test_what_process_message_took_over_counts_no_more(
    face: Face, redis_client: redis.Redis, expired: bool
) -> None:
    queue = face.queue()
    await face.call(queue.enqueue_many, ["a0", "a1"], limit_keys=["a", "a"])
    identity = WorkerIdentity("w", 4, instance="i")
    limited = consumer_of(redis_client, key_limits=Limits(max_in_flight=1), worker=identity)
    (begun,) = limited.claim(5).claims
    if expired:
        redis_client.zadd(KEYS.lease_deadlines, {begun.stored: 1})
    else:
        assert expire_leases(redis_client, KEYS, "i") == 1
    async with face.process(queue) as payload:
        assert payload == b"a0"
        assert not redis_client.exists(KEYS.lanes.held)
        (following,) = limited.claim(5).claims
        assert following.payload == b"a1"
    limited.settle(done([following]))
    assert not redis_client.exists(KEYS.lanes.waiting, KEYS.lanes.turns, KEYS.lanes.held)


@pytest.mark.parametrize("many", [1, 5])
def test_a_limit_that_was_raised_holds_from_the_next_start(redis_client: redis.Redis, many: int) -> None:
    queue = RedisMessageQueue("{jobs}", client=redis_client)
    queue.enqueue_many(["x"] * 4)
    slow, fast = (consumer_of(redis_client, limits=Limits(rate_per_second=rate)) for rate in (0.001, 100_000))
    assert len(slow.claim(2).claims) == 1
    assert slow.claim(many).limited_seconds > 900
    eventually(lambda: fast.claim(many).claims, "a message that the new rate lets begin")


@pytest.mark.parametrize("many", [1, 5])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Limits(rate_per_second=0.001), Limits(rate_per_second=100_000)),
        (Limits(rate_per_second=0.001), Limits(max_in_flight=5)),
        (Limits(max_in_flight=1), Limits(max_in_flight=2)),
    ],
)
def test_a_limit_of_keys_that_was_raised_holds_from_the_next_start(
    redis_client: redis.Redis, before: Limits, after: Limits, many: int
) -> None:
    queue = RedisMessageQueue("{jobs}", client=redis_client)
    for key in ("a", "b"):
        queue.enqueue_many(["x"] * 4, limit_key=key)
    old, new = (consumer_of(redis_client, key_limits=limits) for limits in (before, after))
    assert len(old.claim(5).claims) == 2
    assert old.claim(many).next_due_seconds > 900
    begun: list[Any] = []
    eventually(lambda: begun.extend(new.claim(many).claims) or len(begun) >= 2, "one of each key")


@pytest.mark.parametrize("limits", [Limits(rate_per_second=100, rate_burst=1), Limits(max_in_flight=1)])
@pytest.mark.parametrize("many", [1, 5])
def test_a_clock_that_is_put_back_holds_up_no_key(
    redis_client: redis.Redis, limits: Limits, many: int
) -> None:
    RedisMessageQueue("{jobs}", client=redis_client).enqueue_many(["x"] * 4, limit_key="a")
    consumer = consumer_of(redis_client, key_limits=limits)
    first = consumer.claim(1).claims
    assert len(first) == 1
    assert consumer.settle(done(first)).applied == (True,)
    # To what was written before it, a clock that goes a day back is one that stands still while that goes on.
    for times in (KEYS.lanes.turns, KEYS.lanes.rates):
        for name, at in redis_client.zrange(times, 0, -1, withscores=True):
            redis_client.zadd(times, {name: max(at, 0) + 86_400_000})
    eventually(lambda: consumer.claim(many).claims, "the next of the key")


def test_keys_whose_rate_is_whole_again_are_forgotten_a_part_at_a_time(redis_client: redis.Redis) -> None:
    before = {f"gone-{number}": 1_000_000 + number for number in range(5000)}
    redis_client.zadd(KEYS.lanes.rates, before)
    keys = [f"new-{number}" for number in range(6)]
    RedisMessageQueue("{jobs}", client=redis_client).enqueue_many(keys, limit_keys=keys)
    consumer = consumer_of(redis_client, key_limits=Limits(rate_per_second=0.01))
    left = []
    for _ in keys:
        assert len(consumer.claim(1).claims) == 1
        left.append(redis_client.zcard(KEYS.lanes.rates))
    assert left[0] == 4000
    assert left[-1] == len(keys)


@pytest.mark.parametrize("limits", [Limits(rate_per_second=0.01, rate_burst=1), Limits(max_in_flight=1)])
def test_what_is_due_takes_every_other_place_however_often_a_limit_is_met(
    redis_client: redis.Redis, limits: Limits
) -> None:
    queue = RedisMessageQueue("{jobs}", client=redis_client)
    queue.enqueue_many(["due"] * 9, delay_seconds=60)
    queue.enqueue_many(["fresh"] * 9)
    let_delayed_be_due(redis_client, KEYS)
    consumers = [Consumer(redis_client, "{jobs}", limits=limits) for _ in range(3)]
    found = []
    for number in range(12):
        (claim,) = consumers[number % 3].claim(4).claims
        found.append(claim.payload)
        for consumer in consumers:  # which ask again, while nothing may begin
            assert not consumer.claim(4).claims
        consumers[number % 3].settle([Settlement(claim, Outcome.DONE)])
        redis_client.delete(KEYS.lanes.rates)
    assert Counter(found) == {b"due": 6, b"fresh": 6}
