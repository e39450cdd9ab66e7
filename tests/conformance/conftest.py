"""The server of the run, and the parametrized face: such tests run for threads and for asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis
from tests.support.faces import FACES, Face
from tests.support.required import missing
from tests.support.server_binaries import Missing
from tests.support.servers import SERVERS, Server, chosen
from tests.support.waiting import all_hung_up

from redis_message_queue.leases import LeaseKeeper

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


def pytest_configure(config: pytest.Config) -> None:
    # redis-py 6.0 warns of itself when its cluster client makes a pipeline.
    config.addinivalue_line("filterwarnings", "ignore:.*'cluster_error_retry_attempts':DeprecationWarning")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a cluster, leave out what plain clients alone can do."""
    if "cluster" in chosen():
        left_out = [item for item in items if item.get_closest_marker("one_node")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def server(record_testsuite_property: Callable[[str, object], None]) -> Iterator[Server]:
    """The server that REDISQUEUE_TEST_SERVER names; the report of the run says what it was."""
    try:
        with SERVERS[chosen()].start() as server:
            record_testsuite_property("server", server.version)
            record_testsuite_property("redis-py", redis.__version__)
            record_testsuite_property("resp", resp_version(server))
            yield server
    except Missing as error:
        missing(str(error))


def resp_version(server: Server) -> int:
    """What clients of this run really speak."""
    with redis.Redis.from_url(server.url) as client:
        told = client.execute_command("HELLO")
    if isinstance(told, list):
        told = dict(zip(told[::2], told[1::2], strict=True))
    return int(told.get(b"proto") or told["proto"])


@pytest.fixture(scope="session")
def redis_server(server: Server) -> Server:
    """The server under the name it has elsewhere."""
    return server


@pytest.fixture(scope="session")
def shared_client(server: Server) -> Iterator[redis.Redis]:
    with server.admin() as client:
        yield client


@pytest.fixture
def redis_url(server: Server, shared_client: redis.Redis) -> str:
    """The URL of the node that holds the queue `{jobs}`, emptied before the test."""
    shared_client.flushall()
    return server.url


@pytest.fixture
def redis_client(redis_url: str, shared_client: redis.Redis) -> redis.Redis:
    """A bytes-mode client on the emptied server."""
    return shared_client


@pytest.fixture
def node(redis_url: str) -> Iterator[redis.Redis]:
    """A plain client of the node that holds the queue `{jobs}`, for what a node tells of itself."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def keep() -> Iterator[Callable[[Callable[[], redis.Redis]], LeaseKeeper]]:
    """Makes lease keepers, and closes them however the test ends: one left over would fail those after it."""
    made: list[LeaseKeeper] = []

    def make(connect: Callable[[], redis.Redis]) -> LeaseKeeper:
        made.append(LeaseKeeper(connect))
        return made[-1]

    yield make
    closed = [keeper.close() for keeper in made]
    assert all(closed)


@pytest.fixture(params=sorted(FACES))
async def face(request: pytest.FixtureRequest, server: Server, redis_url: str) -> AsyncIterator[Face]:
    """One face over the emptied server."""
    face = FACES[request.param](server)
    yield face
    await face.close()
    await all_hung_up()
