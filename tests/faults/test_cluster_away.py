"""No node of a cluster answers: that is waited out like any other Redis that is away."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
import redis
from tests.support import server_binaries as binaries
from tests.support.faces import FACES
from tests.support.one_name import OneName
from tests.support.servers import QUEUE, cluster_nodes
from tests.support.waiting import PATIENCE_SECONDS, until

from redis_message_queue import RetryBudgetExhaustedError
from redis_message_queue.connection import ConnectionSettings
from redis_message_queue.leases import LeaseKeeper
from redis_message_queue.trouble import AWAY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.faces import Face
    from tests.support.servers import Server

    from redisqueue_worker.embedded_redis import EmbeddedRedis

Nodes = list["EmbeddedRedis"]


@pytest.fixture
def nodes() -> Iterator[tuple[Server, Nodes]]:
    with cluster_nodes(binaries.valkey) as found:
        yield found


@pytest.fixture(params=sorted(FACES))
async def face(request: pytest.FixtureRequest, nodes: tuple[Server, Nodes]) -> AsyncIterator[Face]:
    face = FACES[request.param](nodes[0])
    yield face
    await face.close()


def stop(nodes: Nodes) -> None:
    for node in nodes:
        node.stop(kill=True)


def start(nodes: Nodes) -> None:
    for node in nodes:
        node.start()


async def test_a_publish_waits_for_the_cluster(face: Face, nodes: tuple[Server, Nodes]) -> None:
    queue = face.queue()
    await face.call(queue.publish, "before")
    stop(nodes[1])
    timer = threading.Timer(1.5, start, (nodes[1],))
    timer.start()
    try:
        assert await face.call(queue.publish, "after") is True
    finally:
        timer.join()


async def test_a_publish_gives_up_when_its_budget_is_spent(face: Face, nodes: tuple[Server, Nodes]) -> None:
    queue = face.queue(gateway=face.gateway(retry_budget_seconds=1))
    await face.call(queue.publish, "before")
    stop(nodes[1])
    with pytest.raises(RetryBudgetExhaustedError, match=r"gave up after \d+ attempts"):
        await face.call(queue.publish, "after")


async def test_a_consumer_may_try_again(face: Face, nodes: tuple[Server, Nodes]) -> None:
    consumer = face.consumer(QUEUE)
    await face.call(face.queue().publish, "a")
    stop(nodes[1])
    for _ in range(3):
        with pytest.raises(AWAY):
            await face.call(consumer.claim, 1)
        with pytest.raises(AWAY):
            await face.call(consumer.wait, 1)
    start(nodes[1])
    # A cluster without persistence: the message went with it.
    assert (await answered(face, consumer)).claims == ()


async def answered(face: Face, consumer: Any) -> Any:
    """What a claim brings, once the cluster is back."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                return await face.call(consumer.claim, 1)
            except AWAY:
                await asyncio.sleep(0.05)


def of(name: OneName) -> ConnectionSettings:
    return ConnectionSettings(url=name.url.removesuffix("/0"), mode="Cluster", client_name="tests")


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
async def test_a_cluster_that_moved_is_found_under_its_name(
    nodes: tuple[Server, Nodes], asynchronous: bool
) -> None:
    name = "async" if asynchronous else "sync"
    with OneName(nodes[1][0].port) as address:
        face = FACES[name](nodes[0])
        settings = of(address)
        client: Any = settings.connect_async() if asynchronous else settings.connect()
        queue = face.queue(client=client)
        await face.call(queue.publish, "before")
        stop(nodes[1])
        with cluster_nodes(binaries.valkey) as (other, elsewhere):
            address.target = elsewhere[0].port
            assert await face.call(queue.publish, "after") is True
            with other.blocking() as direct:
                assert direct.llen(f"{QUEUE}::pending") == 1
        await face.call(client.aclose if asynchronous else client.close)
        await face.close()


def test_no_cluster_at_the_start_is_a_trouble_of_the_connection() -> None:
    with OneName(1) as nowhere, pytest.raises(redis.ConnectionError, match="cannot be connected"):
        of(nowhere).connect()


async def test_leases_outlast_a_cluster_that_is_away(nodes: tuple[Server, Nodes]) -> None:
    server, all_nodes = nodes
    failures: list[Exception] = []
    renewed: list[int] = []
    keeper = LeaseKeeper(server.blocking)
    leases = keeper.queue(
        QUEUE,
        visibility_timeout_seconds=60,
        interval_seconds=0.1,
        on_renewed=renewed.append,
        on_failed=lambda error, _: failures.append(error),
    )
    face = FACES["sync"](server)
    face.queue().publish("a")
    leases.add(*face.consumer(QUEUE).claim(1).claims)
    await until(lambda: renewed)
    stop(all_nodes)
    await until(lambda: failures)
    start(all_nodes)
    # Its memory is gone, so no lease is renewed; but it answers again.
    await until(lambda: len(leases) == 0)
    keeper.close()
    await face.close()
