"""A failover behind one name: the old master lives on as a replica and keeps its connections."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import redis
from tests.support import server_binaries as binaries
from tests.support.faces import FACES
from tests.support.one_name import Pair, one_name
from tests.support.required import missing
from tests.support.server_binaries import Missing
from tests.support.servers import reached_by_url
from tests.support.waiting import until

from redis_message_queue.consumer import Outcome, Settlement, WorkerIdentity
from redis_message_queue.keys import QueueKeys
from redis_message_queue.leases import LeaseKeeper

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.faces import Face

KEYS = QueueKeys("jobs")
# Redis 6.2 tells a script's client of a replica only inside another error.
KINDS = {"valkey": binaries.valkey, "redis-6.2": binaries.redis_6_2}


@pytest.fixture(params=sorted(KINDS))
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    find = KINDS[request.param]
    try:
        find()
    except Missing as error:
        missing(str(error))
    with one_name(find) as found:
        yield found


@pytest.fixture(params=sorted(FACES))
async def face(request: pytest.FixtureRequest, pair: Pair) -> AsyncIterator[Face]:
    face = FACES[request.param](reached_by_url(pair.master.binary, pair.name.url))
    yield face
    await face.close()


async def test_a_publish_goes_to_the_new_master_at_once(face: Face, pair: Pair) -> None:
    deduplicated, plain = face.queue("jobs"), face.queue("jobs", deduplication=False)
    for queue in (deduplicated, plain):
        await face.call(queue.publish, "before")
    new = pair.fail_over()
    # No budget: what is repeated is repeated because the server did nothing.
    impatient = face.gateway(redis_client=face.client(), retry_budget_seconds=0)
    assert await face.call(deduplicated.publish, "after") is True
    assert await face.call(plain.publish, "after") is True
    assert await face.call(face.queue("jobs", gateway=impatient).publish_many, ["a", "b"]) == [True, True]
    assert new.llen(KEYS.pending) == 2 + 4


@pytest.mark.parametrize("blocking", [False, True], ids=["pool", "blocking pool"])
async def test_every_idle_connection_is_left(face: Face, pair: Pair, blocking: bool) -> None:
    client = face.client()
    if blocking:
        package = redis if face.name == "sync" else redis.asyncio
        arguments = {**client.connection_pool.connection_kwargs}
        client = type(client).from_pool(package.BlockingConnectionPool(max_connections=8, **arguments))
    idle = [await face.call(client.connection_pool.get_connection) for _ in range(5)]
    for each in idle:
        await face.call(client.connection_pool.release, each)
    new = pair.fail_over()
    assert await face.call(face.queue("jobs", client=client).publish, "after") is True
    assert new.llen(KEYS.pending) == 1
    await until(lambda: not clients_of(pair.old))
    if blocking:
        await face.call(client.aclose if face.name == "async" else client.close)


def clients_of(server: redis.Redis) -> list[Any]:
    """Other clients than this one and the servers' own."""
    own = server.client_id()
    return [each for each in server.client_list(_type="normal") if int(each["id"]) != own]


async def test_what_is_in_hand_is_settled_at_the_new_master(face: Face, pair: Pair) -> None:
    queue = face.queue("jobs", visibility_timeout_seconds=30)
    await face.call(queue.publish, "a")
    async with face.process(queue) as payload:
        assert payload == b"a"
        new = pair.fail_over()
    assert [key for key in (KEYS.pending, KEYS.processing, KEYS.lease_deadlines) if new.exists(key)] == []


async def test_a_consumer_goes_on_with_the_new_master(face: Face, pair: Pair) -> None:
    consumer = face.consumer("jobs", worker=WorkerIdentity("w", 4))
    pair.old.lpush(KEYS.pending, "a", "b")
    held = (await face.call(consumer.claim, 1)).claims
    new = pair.fail_over()
    assert await face.call(consumer.wait, 60) is True
    assert await face.call(consumer.renew, held) == (True,)
    await face.call(consumer.report, busy=1, oldest_start_age_seconds=None, draining=False)
    ends = [Settlement(claim, Outcome.DONE) for claim in held]
    reply = await face.call(consumer.settle, ends, claim=1)
    assert (reply.applied, [claim.payload for claim in reply.claimed.claims]) == ((True,), [b"b"])
    await face.call(consumer.deregister)
    assert not new.exists(KEYS.workers)


async def test_a_wait_that_is_cut_by_the_failover_goes_on(face: Face, pair: Pair) -> None:
    consumer = face.consumer("jobs")
    if face.name == "sync":
        waiting = asyncio.create_task(asyncio.to_thread(consumer.wait, 60))
    else:
        waiting = asyncio.create_task(consumer.wait(60))
    await until(lambda: any(each["cmd"] == "blmove" for each in pair.old.client_list()))
    new = pair.fail_over()
    new.lpush(KEYS.pending, "a")
    assert await waiting is True


async def test_letters_are_redriven_at_the_new_master(face: Face, pair: Pair) -> None:
    queue = face.queue("jobs")
    pair.old.lpush(KEYS.dead_letter, "a", "b")
    assert (await face.call(queue.stats)).dead_letter == 2
    new = pair.fail_over()
    await face.call(queue.redrive_dead_letters)
    assert new.llen(KEYS.pending) == 2


async def test_leases_are_kept_at_the_new_master(pair: Pair) -> None:
    renewed: list[int] = []
    lost: list[Any] = []
    keeper = LeaseKeeper(lambda: redis.Redis.from_url(pair.name.url))
    leases = keeper.queue(
        "jobs",
        visibility_timeout_seconds=60,
        interval_seconds=0.2,
        on_renewed=renewed.append,
        on_lost=lambda *told: lost.append(told),
    )
    consumer = FACES["sync"](reached_by_url(pair.master.binary, pair.name.url)).consumer(
        "jobs", visibility_timeout_seconds=60
    )
    pair.old.lpush(KEYS.pending, "a")
    leases.add(*consumer.claim(1).claims)
    await until(lambda: renewed)
    new = pair.fail_over()
    deadline = new.zrange(KEYS.lease_deadlines, 0, -1, withscores=True)[0][1]
    await until(lambda: new.zrange(KEYS.lease_deadlines, 0, -1, withscores=True)[0][1] > deadline)
    assert lost == []
    keeper.close()
