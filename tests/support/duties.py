"""What each role does with a queue, with every call that it has: for tests of clients and of their rights.

Each duty takes the face and the client to do it with. `{jobs}` is empty before `produce`, and each duty finds
what the one before it left.
"""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from redis_message_queue import envelope, holders, results, stats
from redis_message_queue.consumer import Outcome, Settlement, WorkerIdentity
from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.faces import Face

    from redis_message_queue.acl import Role

    Duty = Callable[[Face, Any], Awaitable[None]]

KEYS = QueueKeys("{jobs}")


class Failure(Exception):
    """What a handler raises here."""


async def produce(face: Face, client: Any) -> None:
    """Publish messages in all ways there are: seven, of them two duplicates, and one for later."""
    queue = face.queue(client=client)
    assert await face.call(queue.publish, "one") is True
    assert await face.call(queue.publish, "one") is False
    assert await face.call(queue.publish, "later", delay_seconds=0.001) is True
    assert await face.call(queue.publish_many, ["two", "three", "two"]) == [True, True, False]
    assert not await face.call(queue.enqueue, "one", deduplication_key=sha256(b"one").hexdigest())
    plain = face.queue(client=client, deduplication=False)
    assert await face.call(plain.publish, "four") is True
    bounded = face.queue(client=client, max_pending_length=100)
    assert await face.call(bounded.enqueue, "five", at_front=True)
    dropping = face.queue(
        client=client,
        max_pending_length=100,
        pending_overload_policy="drop_oldest",
        deduplication=False,
        max_delivery_count=None,
    )
    assert await face.call(dropping.publish, "six") is True
    for seconds in (0, 0.05):
        assert await face.call(queue.result, "nowhere", timeout_seconds=seconds) is None


async def handle(face: Face, client: Any) -> None:
    """Handle them with a queue, then with a consumer, in every way to end: one of them fails, one is dead."""
    queue = face.queue(
        client=client,
        heartbeat_interval_seconds=0.1,
        visibility_timeout_seconds=1,
        enable_completed_queue=True,
        enable_failed_queue=True,
    )
    async with face.process(queue) as payload:
        await asyncio.sleep(0.15)
        assert payload is not None
    with pytest.raises(Failure):
        async with face.process(queue):
            raise Failure
    at_most_once = face.queue(client=client, visibility_timeout_seconds=None, max_delivery_count=None)
    async with face.process(at_most_once) as payload:
        assert payload is not None
    identity = WorkerIdentity("w1", 4, config_hash="v1")
    consumer = face.consumer(
        "{jobs}", client=client, worker=identity, keep_completed=5, results_ttl_seconds=60
    )
    await face.call(consumer.report, busy=0, oldest_start_age_seconds=None, draining=False)
    assert await face.call(consumer.wait, 1) is True
    claims = (await face.call(consumer.claim, 5)).claims
    assert [type(claim.payload) for claim in claims] == [type(payload)] * 4
    assert await face.call(consumer.renew, claims) == (True,) * 4
    outcomes = (Outcome.DONE, Outcome.RELEASE, Outcome.RETRY, Outcome.DEAD)
    settlements = [
        Settlement(claim, outcome, result=results.ended("completed", outcome))
        for claim, outcome in zip(claims, outcomes, strict=True)
    ]
    assert (await face.call(consumer.settle, settlements)).applied == (True,) * 4
    assert await face.call(consumer.wait, 0.01) is True
    await face.call(consumer.deregister)
    for instance in ("before", "after"):
        mortal = face.consumer("{jobs}", client=client, worker=WorkerIdentity("w1", 4, instance=instance))
        assert len((await face.call(mortal.claim, 1)).claims) == 1
        if instance == "before":
            assert await face.call(face.of(holders, "expire_leases"), client, KEYS, instance) == 1
    await face.call(consumer.report, busy=0, oldest_start_age_seconds=None, draining=False)


async def observe(face: Face, client: Any) -> None:
    """Give back what an ended process held, read the counters, retire the idle worker and take that back."""
    assert await face.call(face.of(holders, "expire_leases"), client, KEYS, "after") == 1
    (found,) = await face.call(face.of(stats, "sample"), client, [KEYS])
    assert (found.pending + found.delayed, found.failed, found.dead_letter, found.completed) == (2, 1, 1, 2)
    assert [worker.id for worker in found.workers] == ["w1"]
    assert await face.call(face.of(stats, "retire"), client, KEYS, ["w1"]) == ("w1",)
    assert await face.call(face.of(stats, "unretire"), client, KEYS, ["w1"]) == ("w1",)


async def mend(face: Face, client: Any) -> None:
    """Look at the lists, give the dead letter another life, make leases whole, throw the rest away."""
    queue = face.queue(client=client)
    assert (await face.call(queue.stats)).dead_letter == 1
    (letter,) = await face.call(queue.peek, 5, source="dead_letter")
    assert _text(letter)
    assert [_text(each.payload) for each in await face.call(queue.dead_letters)] == [_text(letter)]
    assert (await face.call(queue.find, "nowhere")).state == "unknown"
    assert await face.call(queue.result, "nowhere", timeout_seconds=0.05) is None
    await face.call(client.lpush, KEYS.processing, envelope.encode("in hand", "in-hand"))
    assert (await face.call(queue.find, "in-hand")).state == "in_flight"
    assert await face.call(queue.cancel, "in-hand") == "requested"
    assert await face.call(queue.cancel, "nowhere") == "unknown"
    held = envelope.encode("held", "held")
    await face.call(client.lpush, KEYS.processing, held)
    await face.call(client.hset, KEYS.lease_tokens, held, "7")
    state = {"held:i": "9999999999999 7", "w9": '{"v":1,"instance":"i"}'}
    await face.call(client.hset, KEYS.workers, mapping=state)
    assert await face.call(queue.cancel, "held") == "requested"
    for place in ("pending", "delayed"):
        unwanted = envelope.encode(place, place)
        if place == "pending":
            await face.call(client.lpush, KEYS.pending, unwanted)
        else:
            await face.call(client.zadd, KEYS.delayed, {unwanted: 9e12})
        await face.call(client.set, KEYS.deduplication(sha256(place.encode()).hexdigest()), place, ex=60)
        assert await face.call(queue.cancel, place) == "removed"
    await face.call(client.hdel, KEYS.workers, *state)
    await face.call(client.lrem, KEYS.processing, 1, held)
    await face.call(client.hdel, KEYS.lease_tokens, held)
    assert await face.call(queue.delete_letters, ["nowhere"]) == []
    assert await face.call(queue.redrive_dead_letters) == 1
    await face.call(client.hset, KEYS.lease_tokens, "lost", "1")
    assert (await face.call(queue.repair)).without_message == 1
    assert await face.call(queue.purge, target="failed") == 1
    assert await face.call(queue.purge, target="pending") > 0
    assert (await face.call(queue.stats)).pending == 0


def _text(payload: Any) -> str:
    return payload.decode() if isinstance(payload, bytes) else str(payload)


DUTIES: dict[Role, Duty] = {"producer": produce, "worker": handle, "operator": observe, "caretaker": mend}
