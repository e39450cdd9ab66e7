"""The operator's connections to Redis: one for each endpoint and user, and only where they are allowed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import pytest
import redis
from tests.support import server_binaries as binaries
from tests.support.fault_proxy import Answer, FaultProxy
from tests.support.one_name import one_name
from tests.support.resharding import move_slot
from tests.support.servers import MASTER, QUEUE, QUICK_MS, cluster, cluster_nodes, sentinel_pair
from tests.support.waiting import until

from redis_message_queue.connection import ConnectionSettings
from redis_message_queue.keys import QueueKeys
from redisqueue_operator.observe.redis.dial_guard import AllowedHosts
from redisqueue_operator.observe.redis.endpoint import Watched
from redisqueue_operator.observe.redis.errors import classify
from redisqueue_operator.observe.redis.sampler import Sampler
from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from tests.support.fault_proxy import Rule
    from tests.support.servers import Server

    from redis_message_queue.stats import QueueSample

KEYS = QueueKeys(QUEUE)
OPERATOR = "redisqueue-operator"


class Watcher:
    """A sampler, and every failed sample that it told of."""

    def __init__(self, *allowed: str) -> None:
        self.sampler: Sampler[str] = Sampler(self._changed, connect=AllowedHosts(allowed).connect)
        self.failures: list[Exception] = []

    def _changed(self, key: str) -> None:
        seen = self.sampler.last(key)
        if isinstance(seen, Exception):
            self.failures.append(seen)

    def watch(
        self, settings: ConnectionSettings, key: str = "jobs", *, keys: QueueKeys = KEYS, wake: bool = False
    ) -> None:
        self.sampler.watch(key, Watched(keys, settings, wake))

    def sees(self, fact: Callable[[QueueSample], object], key: str = "jobs") -> bool:
        seen = self.sampler.last(key)
        return seen is not None and not isinstance(seen, Exception) and bool(fact(seen))

    async def reason(self) -> str:
        """Why the queue cannot be read."""
        await until(lambda: self.failures, "a failed sample")
        return classify(self.failures[0])[0]


@pytest.fixture
async def watcher() -> AsyncIterator[Watcher]:
    watcher = Watcher()
    yield watcher
    await watcher.sampler.close()


def add_user(client: redis.Redis, name: str, *passwords: str) -> None:
    words = (f">{password}" for password in passwords)
    client.execute_command("ACL", "SETUSER", name, "reset", "on", *words, "~*", "+@all")


@pytest.fixture
def users(redis_client: redis.Redis) -> Iterator[redis.Redis]:
    """A client that may make users; those are gone afterwards."""
    yield redis_client
    redis_client.execute_command("ACL", "DELUSER", "ann", "bob")


def connections(client: redis.Redis, user: str) -> int:
    return sum(each["user"] == user and each["name"] == OPERATOR for each in client.client_list())


def login(url: str, user: str, password: str) -> ConnectionSettings:
    return ConnectionSettings(url=url, username=user, password=password, client_name=OPERATOR)


async def test_another_password_is_taken_up_without_a_failed_sample(
    users: redis.Redis, redis_url: str, watcher: Watcher
) -> None:
    add_user(users, "ann", "old", "new")
    watcher.watch(login(redis_url, "ann", "old"))
    await until(lambda: watcher.sees(lambda seen: seen.pending == 0), "the first sample")

    watcher.watch(login(redis_url, "ann", "new"))
    assert watcher.sees(lambda seen: seen.pending == 0), "what was seen is forgotten"
    add_user(users, "ann", "new")
    users.execute_command("CLIENT", "KILL", "USER", "ann")  # an old login that goes on would show now
    users.lpush(KEYS.pending, "m")
    await until(lambda: watcher.sees(lambda seen: seen.pending == 1), "a sample with the new password")
    assert [str(each) for each in watcher.failures if "WRONGPASS" in str(each)] == []
    await until(lambda: connections(users, "ann") == 1, "the old connection is closed")


async def test_another_redis_is_unknown_until_it_is_read(redis_url: str, watcher: Watcher) -> None:
    watcher.watch(ConnectionSettings(url=redis_url))
    await until(lambda: watcher.sees(lambda seen: seen.pending == 0), "the first sample")
    watcher.watch(ConnectionSettings(url=redis_url, database=1))
    assert watcher.sampler.last("jobs") is None


async def test_one_connection_for_each_endpoint_and_user_and_one_for_all_that_sleep(
    users: redis.Redis, redis_url: str, watcher: Watcher
) -> None:
    add_user(users, "ann", "a")
    add_user(users, "bob", "b")
    for number in range(30):
        keys = QueueKeys(f"q{number}")
        watcher.watch(login(redis_url, "ann", "a"), f"ann {number}", keys=keys)
        watcher.watch(login(redis_url, "bob", "b"), f"bob {number}", keys=keys, wake=number < 3)
    for user in ("ann", "bob"):
        await until(lambda user=user: watcher.sees(lambda _: True, f"{user} 29"), f"{user}'s last queue")
    await until(lambda: watcher.sampler.told == 3, "three queues of bob's rest")
    await asyncio.sleep(0.5)  # a few samples more
    assert (connections(users, "ann"), connections(users, "bob")) == (1, 1 + 1)


@pytest.fixture
def pair() -> Iterator[tuple[EmbeddedRedis, EmbeddedRedis, tuple[str, int]]]:
    with sentinel_pair(binaries.valkey) as found:
        yield found


def of_master(address: tuple[str, int], host: str = "127.0.0.1") -> ConnectionSettings:
    return ConnectionSettings(
        mode="Sentinel", sentinel_master=MASTER, sentinel_addresses=(f"{host}:{address[1]}",)
    )


async def test_an_address_that_sentinel_announces_is_dialled_only_where_it_is_allowed(
    pair: tuple[EmbeddedRedis, EmbeddedRedis, tuple[str, int]],
) -> None:
    settings = of_master(pair[2], "localhost")
    narrow, wide = Watcher("localhost"), Watcher("localhost", "127.0.0.0/8")
    for each in (narrow, wide):
        each.watch(settings)
    await until(lambda: wide.sees(lambda seen: seen.pending == 0), "the allowed one reads")
    assert await narrow.reason() == "HostNotAllowed"
    with redis.Redis.from_url(pair[0].url) as client:
        ours = [each for each in client.client_list() if each["cmd"] == "evalsha"]
    assert len(ours) == 1, "the other one connected"
    for each in (narrow, wide):
        await each.sampler.close()


async def test_a_failover_is_followed(watcher: Watcher) -> None:
    with sentinel_pair(binaries.valkey, patience_ms=QUICK_MS) as (master, replica, address):
        watcher.watch(of_master(address), wake=True)
        await until(lambda: watcher.sees(lambda seen: seen.pending == 0), "the first sample")
        master.stop(kill=True)
        with redis.Redis.from_url(replica.url) as client:
            await until(lambda: leads(client), "the replica leads")
            client.lpush(KEYS.pending, "m")
            await until(lambda: watcher.sees(lambda seen: seen.pending == 1), "a sample of the new master")


def leads(client: redis.Redis) -> bool:
    with contextlib.suppress(redis.ConnectionError):  # a promotion ends connections
        return bool(client.role()[0] == b"master")
    return False


@pytest.fixture(scope="module")
def three() -> Iterator[Server]:
    """A cluster of three masters."""
    with cluster(binaries.valkey) as server:
        yield server


def of_cluster(server: Server) -> ConnectionSettings:
    return ConnectionSettings(url=server.url.partition("?")[0].removesuffix("/0"), mode="Cluster")


async def test_an_address_that_a_cluster_announces_is_dialled_only_where_it_is_allowed(
    redis_server: EmbeddedRedis,
) -> None:
    with socket.create_server(("127.0.0.9", 0)) as elsewhere:
        elsewhere.setblocking(False)
        slots = announcing("127.0.0.9", elsewhere.getsockname()[1])
        rule: Rule = lambda request: slots if request[:2] == [b"CLUSTER", b"SLOTS"] else None  # noqa: E731
        with FaultProxy(redis_server.port, rule) as proxy:
            settings = ConnectionSettings(url=f"redis://127.0.0.1:{proxy.port}", mode="Cluster")
            narrow, wide = Watcher("127.0.0.1"), Watcher("127.0.0.1", "127.0.0.9")
            narrow.watch(settings)
            assert await narrow.reason() == "HostNotAllowed"
            with pytest.raises(BlockingIOError):
                elsewhere.accept()
            wide.watch(settings)
            await until(lambda: dialled(elsewhere), "the allowed one dials")
            for each in (narrow, wide):
                await each.sampler.close()


def announcing(host: str, port: int) -> Answer:
    """The reply of a node that says: all slots are there."""
    name = host.encode()
    node = b"*3\r\n$%d\r\n%s\r\n:%d\r\n$4\r\nnode\r\n" % (len(name), name, port)
    return Answer(b"*1\r\n*3\r\n:0\r\n:16383\r\n" + node)


def dialled(listener: socket.socket) -> bool:
    with contextlib.suppress(BlockingIOError):
        listener.accept()[0].close()
        return True
    return False


async def test_a_slot_that_moves_to_another_node_is_followed(three: Server, watcher: Watcher) -> None:
    client = three.blocking()
    client.lpush(KEYS.pending, *(f"m{number}" for number in range(50)))
    watcher.watch(of_cluster(three), wake=True)
    await until(lambda: watcher.sees(lambda seen: seen.pending == 50), "the first sample")
    await asyncio.to_thread(move_slot, client)
    client.lpush(KEYS.pending, "one more")
    await until(lambda: watcher.sees(lambda seen: seen.pending == 51), "a sample of the slot's new node")
    client.delete(KEYS.pending)


async def test_the_new_master_behind_the_name_is_sampled(watcher: Watcher) -> None:
    with one_name(binaries.valkey) as pair:
        pair.old.lpush(KEYS.pending, "a")
        watcher.watch(ConnectionSettings(url=pair.name.url), wake=True)
        await until(lambda: watcher.sees(lambda seen: seen.pending == 1), "the first sample")
        pair.fail_over().lpush(KEYS.pending, "b", "c")
        pair.old.replicaof("127.0.0.1", 1)  # what the old master has is old for ever
        await until(lambda: watcher.sees(lambda seen: seen.pending == 3), "what the new master has")


async def test_a_replica_is_told_and_left_as_soon_as_the_name_leads_elsewhere(watcher: Watcher) -> None:
    with one_name(binaries.valkey) as pair:
        pair.old.lpush(KEYS.pending, "a")
        pair.name.target = pair.replica.port
        watcher.watch(ConnectionSettings(url=pair.name.url))
        assert await watcher.reason() == "ReadOnly"
        pair.name.target = pair.master.port
        await until(lambda: watcher.sees(lambda seen: seen.pending == 1), "what the master has")


async def test_a_cluster_that_is_away_is_waited_for(watcher: Watcher) -> None:
    with cluster_nodes(binaries.valkey) as (server, nodes):
        server.blocking().lpush(KEYS.pending, "a")
        watcher.watch(of_cluster(server), wake=True)
        await until(lambda: watcher.sees(lambda seen: seen.pending == 1), "the first sample")
        for node in nodes:
            node.stop(kill=True)
        assert await watcher.reason() in ("ConnectionRefused", "ClusterDown", "ConnectionLost", "Timeout")
        for node in nodes:
            node.start()
        await until(lambda: watcher.sees(lambda seen: seen.pending == 0), "the cluster, back and empty")


async def test_nobody_sleeps_at_a_server_that_is_no_master_any_more(watcher: Watcher) -> None:
    """A replica that may be written to would let them for a minute, over connections that samples take."""
    names = [f"q{number}" for number in range(8)]
    with EmbeddedRedis() as server, redis.Redis.from_url(server.url) as admin:
        admin.config_set("replica-read-only", "no")
        admin.execute_command("ACL", "SETUSER", "default", "-client|tracking")  # so they are waited for
        blocked = lambda: admin.info("clients")["blocked_clients"]  # noqa: E731
        for name in names:
            watcher.watch(ConnectionSettings(url=server.url), name, keys=QueueKeys(name), wake=True)
        await until(lambda: blocked() == len(names), "all sleep")
        admin.replicaof("127.0.0.1", "1")
        await until(lambda: watcher.failures, "it is a replica now")
        await until(lambda: blocked() == 0, "all have left")
        admin.replicaof("NO", "ONE")
        await until(lambda: all(watcher.sees(lambda _: True, name) for name in names), "it is read again")
        await until(lambda: blocked() == len(names), "and waited at")
        await watcher.sampler.close()
