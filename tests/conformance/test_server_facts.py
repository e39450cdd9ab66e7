"""What a server says of itself: whether it evicts, persists, follows another; and what it will not say."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
import redis
from tests.support.acl import PASSWORD, grant
from tests.support.faces import FACES
from tests.support.servers import Server, reached_by_url

from redis_message_queue import server as server_module
from redis_message_queue.server import ServerFacts
from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.faces import Face

UNTOLD = ("its eviction policy", "its persistence", "whether it is a replica")


async def facts_of(face: Face) -> ServerFacts:
    found: ServerFacts = await face.call(face.of(server_module, "server_facts"), face.client())
    return found


@pytest.fixture(params=sorted(FACES))
def kind(request: pytest.FixtureRequest) -> Any:
    """A face, for a server of the test's own."""
    return FACES[request.param]


@contextlib.contextmanager
def started(server: Server, *arguments: str) -> Iterator[EmbeddedRedis]:
    """Another server of the same kind as that of the run."""
    with EmbeddedRedis(binary=server.binary, arguments=arguments) as own:
        yield own


async def asked(kind: Any, binary: str, url: str) -> ServerFacts:
    face = kind(reached_by_url(binary, url))
    try:
        return await facts_of(face)
    finally:
        await face.close()


@pytest.mark.parametrize("policy", ["noeviction", "allkeys-lru", "volatile-ttl"])
@pytest.mark.parametrize(
    ("options", "persistent"),
    [((), False), (("--appendonly", "yes"), True), (("--save", "3600", "1"), True)],
)
async def test_a_server_tells_its_policy_and_what_it_writes_to_disk(
    kind: Any, server: Server, policy: str, options: tuple[str, ...], persistent: bool
) -> None:
    with started(server, "--maxmemory-policy", policy, *options) as own:
        facts = await asked(kind, own.binary, own.url)
    assert facts == ServerFacts(policy, persistent, replica=False)
    reasons = ["EvictsKeys"] * (policy != "noeviction") + ["NoPersistence"] * (not persistent)
    assert [concern.reason for concern in facts.concerns] == reasons
    assert all(policy in concern.text for concern in facts.concerns if concern.reason == "EvictsKeys")
    assert facts.unknown == ()


async def test_a_replica_is_no_place_for_messages(kind: Any, server: Server) -> None:
    with started(server) as master, started(server, "--replicaof", "127.0.0.1", str(master.port)) as own:
        facts = await asked(kind, own.binary, own.url)
    assert facts.replica is True
    assert [concern.reason for concern in facts.concerns] == ["Replica", "NoPersistence"]


async def test_a_hosted_server_hides_its_configuration_and_tells_its_policy(
    kind: Any, server: Server
) -> None:
    hidden = ("--rename-command", "CONFIG", "")
    with started(server, "--maxmemory-policy", "volatile-lru", *hidden) as own:
        facts = await asked(kind, own.binary, own.url)
    # It may write snapshots: not to know is not to be well, and not to be ill.
    assert facts == ServerFacts("volatile-lru", None, replica=False)
    assert [concern.reason for concern in facts.concerns] == ["EvictsKeys"]
    assert facts.unknown == ("its persistence",)
    with started(server, "--appendonly", "yes", *hidden) as own:
        assert await asked(kind, own.binary, own.url) == ServerFacts("noeviction", True, replica=False)


@pytest.mark.parametrize("role", ["worker", "operator"])
async def test_a_login_that_may_not_ask_knows_nothing(kind: Any, server: Server, role: Any) -> None:
    with started(server, "--maxmemory-policy", "allkeys-random") as own:
        with redis.Redis.from_url(own.url) as admin:
            grant(admin, role, role)
        login = own.url.replace("://", f"://{role}:{PASSWORD}@")
        facts = await asked(kind, own.binary, login)
        assert (facts, facts.concerns, facts.unknown) == (ServerFacts(), (), UNTOLD)
        with redis.Redis.from_url(own.url) as admin:
            admin.execute_command("ACL", "SETUSER", role, "-info", "+config|get")
        told = await asked(kind, own.binary, login)
        assert told == ServerFacts("allkeys-random", persistent=False, replica=None)
        assert told.unknown == ("whether it is a replica",)


async def test_the_server_of_the_run_is_asked_as_its_clients_reach_it(
    face: Face, server: Server, node: redis.Redis
) -> None:
    if server.limited:
        assert await facts_of(face) == ServerFacts()
        return
    assert await facts_of(face) == ServerFacts("noeviction", persistent=False, replica=False)
    node.config_set("maxmemory-policy", "allkeys-lfu")
    try:
        assert (await facts_of(face)).eviction_policy == "allkeys-lfu"
    finally:
        node.config_set("maxmemory-policy", "noeviction")


async def test_a_server_that_is_away_is_not_unknown_but_away(kind: Any, server: Server) -> None:
    with started(server) as own:
        face = kind(reached_by_url(own.binary, own.url))
        own.stop()
        with pytest.raises(redis.ConnectionError):
            await facts_of(face)
        await face.close()
