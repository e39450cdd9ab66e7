"""Cancelling: what waits is never started, who has it in hand is told, and it is known what it did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.support.queues import let_leases_expire

from redis_message_queue import ConfigurationError, _cancelling, envelope, results
from redis_message_queue.asyncio import _cancelling as asyncio_cancelling
from redis_message_queue.consumer import Consumer, Outcome, Settlement, WorkerIdentity
from redis_message_queue.holders import expire_leases
from redis_message_queue.keys import QueueKeys
from redis_message_queue.looking import locate_stored
from redis_message_queue.results import Result

if TYPE_CHECKING:
    import redis
    from tests.support.faces import Face

KEYS = QueueKeys("{jobs}")
AGAIN = Result("cancelled", None, "cancelled before it came again")
NEVER = Result("cancelled", None, "cancelled before it was started")
STARTED = Result("cancelled", None, "cancelled while it was handled")


def worker(client: redis.Redis, name: str = "w1", **options: Any) -> Consumer:
    return Consumer(client, "{jobs}", worker=WorkerIdentity(name, 4, instance=f"i-{name}"), **options)


def report(consumer: Consumer) -> frozenset[str]:
    return consumer.report(busy=1, oldest_start_age_seconds=None, draining=False)


async def enqueued(face: Face, *ids: str, **options: Any) -> Any:
    queue = face.queue(**options)
    for one in ids:
        await face.call(queue.enqueue, one, message_id=one, deduplication_key=f"key-{one}")
    return queue


def ids(consumer: Consumer, count: int = 10) -> list[str | None]:
    return [claim.id for claim in consumer.claim(count).claims]


async def test_one_that_waits_is_removed(face: Face, redis_client: redis.Redis) -> None:
    queue = await enqueued(face, "a", "b", "c")
    assert await face.call(queue.cancel, "b") == "removed"
    assert (await face.call(queue.find, "b")).state == "unknown"
    assert await face.call(queue.result, "b") == NEVER
    assert 0 < redis_client.pttl(KEYS.result("b")) <= 3_600_000
    assert await face.call(queue.enqueue, "again", deduplication_key="key-b")
    assert not await face.call(queue.enqueue, "again", deduplication_key="key-a")
    assert ids(worker(redis_client))[:2] == ["a", "c"]
    assert not redis_client.exists(KEYS.cancelled)


@pytest.mark.parametrize("count", [3, 2500])
async def test_each_of_many_is_removed_wherever_it_is(
    face: Face, redis_client: redis.Redis, count: int
) -> None:
    names = [f"m{number}" for number in range(count)]
    redis_client.lpush(KEYS.pending, *[envelope.encode("x", name) for name in names])
    queue = face.queue()
    for name in (names[0], names[count // 2], names[-1]):
        assert await face.call(queue.cancel, name) == "removed"
    assert redis_client.llen(KEYS.pending) == count - 3


async def test_a_delayed_one_is_removed(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue()
    await face.call(queue.enqueue, "a", message_id="a", delay_seconds=60)
    assert await face.call(queue.cancel, "a") == "removed"
    assert not redis_client.exists(KEYS.delayed)
    assert await face.call(queue.result, "a") == NEVER


@pytest.mark.parametrize("options", [{"priority": "high"}, {"priority": "low"}, {"limit_key": "tenant"}])
async def test_one_that_waits_in_a_lane_is_removed_or_does_not_come_again(
    face: Face, redis_client: redis.Redis, options: dict[str, Any]
) -> None:
    queue = face.queue()
    for one in ("a", "b", "c", "d"):
        await face.call(queue.enqueue, one, message_id=one, **options)
    assert await face.call(queue.cancel, "b") == "removed"
    assert await face.call(queue.result, "b") == NEVER
    consumer = worker(redis_client)
    assert ids(consumer, 1) == ["a"]
    assert await face.call(queue.cancel, "a") == "requested"
    assert await face.call(queue.cancel, "d") == "removed"
    let_leases_expire(redis_client, KEYS)
    assert ids(consumer) == ["c"]
    assert await face.call(queue.result, "a") == AGAIN
    assert (await face.call(queue.stats)).pending == 0


async def test_what_has_ended_or_never_was_says_so(face: Face, redis_client: redis.Redis) -> None:
    queue = await enqueued(face, "a", "b")
    consumer = worker(redis_client, keep_completed=10)
    a, b = consumer.claim(2).claims
    consumer.settle([Settlement(a, Outcome.DONE), Settlement(b, Outcome.DEAD)])
    told = [await face.call(queue.cancel, one) for one in ("a", "b", "nowhere")]
    assert told == ["finished", "finished", "unknown"]
    assert not redis_client.exists(KEYS.cancelled)


async def test_one_of_which_nothing_but_the_result_is_kept_has_finished(
    face: Face, redis_client: redis.Redis
) -> None:
    queue = await enqueued(face, "a")
    consumer = worker(redis_client, results_ttl_seconds=60)
    (claim,) = consumer.claim(1).claims
    consumer.settle([Settlement(claim, Outcome.DONE, result=results.completed(1))])
    assert await face.call(queue.cancel, "a") == "finished"


async def test_cancelled_again_it_answers_as_before(face: Face, redis_client: redis.Redis) -> None:
    queue = await enqueued(face, "a", "b")
    consumer = worker(redis_client)
    report(consumer)
    (a,) = consumer.claim(1).claims
    assert [await face.call(queue.cancel, "a") for _ in range(2)] == ["requested"] * 2
    assert [await face.call(queue.cancel, "b") for _ in range(2)] == ["removed"] * 2
    assert report(consumer) == {a.token}


async def test_the_worker_that_has_it_in_hand_hears_of_it(face: Face, redis_client: redis.Redis) -> None:
    queue = await enqueued(face, "a", "b")
    first, second = worker(redis_client, "w1"), worker(redis_client, "w2")
    report(first)
    report(second)
    (a,), (_b,) = first.claim(1).claims, second.claim(1).claims
    assert report(first) == frozenset()
    assert await face.call(queue.cancel, "a") == "requested"
    assert (report(first), report(second)) == ({a.token}, frozenset())
    assert report(first) == {a.token}  # its reply may have been lost
    assert first.settle([Settlement(a, Outcome.CANCELLED)]).applied == (True,)
    assert report(first) == frozenset()
    assert await face.call(queue.result, "a") == STARTED
    assert await face.call(queue.enqueue, "again", deduplication_key="key-a")
    assert not redis_client.exists(KEYS.cancelled)
    assert await face.call(queue.cancel, "a") == "finished"


@pytest.mark.parametrize("outcome", [Outcome.RETRY, Outcome.RELEASE])
@pytest.mark.parametrize("delay", [0, 60])
async def test_it_does_not_come_again(
    face: Face, redis_client: redis.Redis, outcome: Outcome, delay: float
) -> None:
    queue = await enqueued(face, "a", "b")
    consumer = worker(redis_client)
    (a,) = consumer.claim(1).claims
    await face.call(queue.cancel, "a")
    reply = consumer.settle([Settlement(a, outcome, delay_seconds=delay)], claim=10)
    assert [claim.id for claim in reply.claimed.claims] == ["b"]
    assert reply.claimed.dead_lettered == 0
    assert not redis_client.exists(KEYS.delayed, KEYS.pending, KEYS.cancelled)
    assert await face.call(queue.result, "a") == STARTED
    assert await face.call(queue.enqueue, "again", deduplication_key="key-a")


@pytest.mark.parametrize("outcome", [Outcome.DONE, Outcome.DEAD, Outcome.FAILED])
async def test_what_ends_before_its_worker_has_heard_ends_as_it_does(
    face: Face, redis_client: redis.Redis, outcome: Outcome
) -> None:
    queue = await enqueued(face, "a")
    consumer = worker(redis_client, keep_completed=10)
    (a,) = consumer.claim(1).claims
    await face.call(queue.cancel, "a")
    consumer.settle([Settlement(a, outcome)])
    assert (await face.call(queue.find, "a")).state in ("completed", "dead", "failed")
    assert not redis_client.exists(KEYS.cancelled)


@pytest.mark.parametrize("by", ["a worker", "a queue"])
async def test_one_whose_worker_died_is_never_started_again(
    face: Face, redis_client: redis.Redis, by: str
) -> None:
    queue = await enqueued(face, "a", "b")
    worker(redis_client).claim(1)
    assert await face.call(queue.cancel, "a") == "requested"
    let_leases_expire(redis_client, KEYS)
    if by == "a worker":
        assert ids(worker(redis_client, "w2")) == ["b"]
        assert await face.call(queue.enqueue, "again", deduplication_key="key-a")
    else:
        async with face.process(queue) as payload:
            assert payload in (b"b", "b")
    assert await face.call(queue.result, "a") == AGAIN
    assert await face.call(queue.cancel, "a") == "removed"
    assert not redis_client.exists(KEYS.cancelled)


async def test_many_that_are_cancelled_while_their_worker_dies(face: Face, redis_client: redis.Redis) -> None:
    names = [f"m{number}" for number in range(30)]
    queue = await enqueued(face, *names, "last")
    worker(redis_client).claim(30)
    for name in names:
        assert await face.call(queue.cancel, name) == "requested"
    let_leases_expire(redis_client, KEYS)
    assert ids(worker(redis_client, "w2")) == ["last"]
    assert (await face.call(queue.stats)).processing == 1


@pytest.mark.parametrize("again", [Outcome.RETRY, Outcome.RELEASE, None])
async def test_what_takes_its_place_under_the_same_id_is_started(
    face: Face, redis_client: redis.Redis, again: Outcome | None
) -> None:
    queue = face.queue()
    await face.call(queue.enqueue, "old", message_id="a")
    first, second = worker(redis_client, "w1"), worker(redis_client, "w2")
    (old,) = first.claim(1).claims
    assert await face.call(queue.cancel, "a") == "requested"
    await face.call(queue.enqueue, "new", message_id="a")
    (new,) = second.claim(1).claims
    assert new.payload == b"new"
    if again:
        first.settle([Settlement(old, again)])
    else:
        redis_client.zadd(KEYS.lease_deadlines, {old.stored: 1})
    assert not second.claim(1).claims
    assert not redis_client.exists(KEYS.cancelled)
    assert second.settle([Settlement(new, Outcome.DONE)]).applied == (True,)


async def test_one_that_came_back_meanwhile_leaves_nothing_behind(
    face: Face, redis_client: redis.Redis
) -> None:
    queue = await enqueued(face, "a")
    worker(redis_client, "w1").claim(1)
    assert await face.call(queue.cancel, "a") == "requested"
    assert expire_leases(redis_client, KEYS, "i-w1") == 1
    assert await face.call(queue.cancel, "a") == "removed"
    assert await face.call(queue.result, "a") == AGAIN
    assert not redis_client.exists(KEYS.cancelled)


async def test_what_takes_the_place_of_one_that_nobody_could_end_is_started(
    face: Face, redis_client: redis.Redis
) -> None:
    queue = face.queue()
    await face.call(queue.enqueue, "old", message_id="a")
    async with face.process(queue):
        assert await face.call(queue.cancel, "a") == "requested"
    await face.call(queue.enqueue, "new", message_id="a")
    async with face.process(queue) as payload:
        assert payload == b"new"


@pytest.mark.parametrize("again", [Outcome.RETRY, Outcome.RELEASE])
async def test_one_that_comes_back_while_it_is_looked_for_is_in_somebodys_hands(
    face: Face, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch, again: Outcome
) -> None:
    queue = await enqueued(face, "a")
    consumer = worker(redis_client)
    (a,) = consumer.claim(1).claims

    def search(*arguments: Any) -> Any:
        consumer.settle([Settlement(a, again)])
        return locate_stored(*arguments)

    for module in (_cancelling, asyncio_cancelling):
        monkeypatch.setattr(module, "locate_stored", search)
    assert await face.call(queue.cancel, "a") == "requested"
    assert await face.call(queue.result, "a") == STARTED
    assert await face.call(queue.cancel, "a") == "finished"
    assert not redis_client.exists(KEYS.cancelled)


async def test_a_mark_of_another_type_is_named(face: Face, redis_client: redis.Redis) -> None:
    queue = await enqueued(face, "a")
    redis_client.set(KEYS.cancelled, "x", ex=60)
    assert ids(worker(redis_client)) == ["a"]  # no message suffers for it
    with pytest.raises(Exception, match="expected a hash"):
        await face.call(queue.cancel, "a")
    redis_client.delete(KEYS.cancelled)


async def test_marks_that_nobody_took_away_go(face: Face, redis_client: redis.Redis) -> None:
    queue = await enqueued(face, "a")
    worker(redis_client).claim(1)
    redis_client.hset(KEYS.cancelled, "old", f"1 {KEYS.result('old')}")
    await face.call(queue.cancel, "a")
    assert redis_client.hlen(KEYS.cancelled) == 1
    assert not redis_client.hexists(KEYS.cancelled, "old")
    assert 0 < redis_client.ttl(KEYS.cancelled) <= 604_800


async def test_who_listens_is_told(face: Face, redis_client: redis.Redis) -> None:
    events: list[tuple[str, str, str | None]] = []
    told = face.callback(lambda event: events.append((event.operation, event.outcome, event.message_id)))
    queue = await enqueued(face, "a", on_event=told)
    events.clear()
    await face.call(queue.cancel, "a")
    await face.call(queue.cancel, "nowhere")
    assert events == [("cancel", "success", "a"), ("cancel", "skipped", "nowhere")]
    with pytest.raises(ConfigurationError, match="'message_id' must be a non-empty string"):
        await face.call(queue.cancel, "")
