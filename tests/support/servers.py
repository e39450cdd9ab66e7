"""The servers that the conformance tests run on: each a name, and a context manager that starts it.

`REDISQUEUE_TEST_SERVER` names one (default `valkey-9`), `REDISQUEUE_TEST_RESP` the protocol (2 or 3; default:
the client's own choice).
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import redis
import redis.asyncio
from redis.crc import key_slot
from tests.support import server_binaries as binaries
from tests.support.acl import PASSWORD, ROLES, grant
from tests.support.certificates import make_certificates
from tests.support.waiting import PATIENCE_SECONDS

from redis_message_queue.dial import master_of
from redisqueue_worker.embedded_redis import EmbeddedRedis, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

QUEUE = "{jobs}"
MASTER = "main"
# For how long a server may be silent before a Sentinel, or the other nodes of a cluster, give it up. Some
# tests, and busy machines, hold one up for a moment: nobody takes that for its end but where that is tested.
STEADY_MS, QUICK_MS = 60_000, 2000
_SLOTS = 16384


@dataclass(frozen=True)
class Server:
    """A running server, or several that act as one.

    `blocking` and `asyncio` make a client as users of such a server do, from redis-py's arguments.
    `url` leads straight to the node that holds the queue `{jobs}`, with all rights.
    """

    binary: str
    url: str
    blocking: Callable[..., Any]
    asyncio: Callable[..., Any]
    limited: bool = False

    def admin(self) -> Any:
        """A client with all rights."""
        return redis.Redis.from_url(self.url) if self.limited else self.blocking()

    def as_user(self, name: str) -> Server:
        """The same node for clients that log in as one of the documented users."""
        login = self.url.replace("://", f"://{name}:{PASSWORD}@")
        return reached_by_url(self.binary, login, admin_url=self.url)

    @property
    def version(self) -> str:
        return binaries.version_of(self.binary) or "unknown"


def with_protocol(url: str) -> str:
    """The URL, with the version of RESP that the run asks for."""
    protocol = os.environ.get("REDISQUEUE_TEST_RESP")
    return f"{url}{'&' if '?' in url else '?'}protocol={protocol}" if protocol else url


def reached_by_url(binary: str, url: str, *, admin_url: str = "") -> Server:
    """A server that plain clients reach by `url`; with `admin_url`, where they have all rights."""
    return Server(
        binary,
        with_protocol(admin_url or url),
        partial(redis.Redis.from_url, with_protocol(url)),
        partial(redis.asyncio.Redis.from_url, with_protocol(url)),
        limited=bool(admin_url),
    )


@contextlib.contextmanager
def standalone(find: Callable[[], str]) -> Iterator[Server]:
    """One server."""
    with EmbeddedRedis(binary=find()) as server:
        yield reached_by_url(server.binary, server.url)


@contextlib.contextmanager
def cluster(find: Callable[[], str]) -> Iterator[Server]:
    """Three masters that share the slots."""
    with cluster_nodes(find, patience_ms=STEADY_MS) as (server, _):
        yield server


@contextlib.contextmanager
def cluster_nodes(
    find: Callable[[], str], *, patience_ms: int = QUICK_MS
) -> Iterator[tuple[Server, list[EmbeddedRedis]]]:
    """As `cluster`, and its nodes, which call the cluster down when one of them is silent for so long."""
    with contextlib.ExitStack() as stack:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(patience_ms))
        nodes = [stack.enter_context(EmbeddedRedis(binary=find(), arguments=options)) for _ in range(3)]
        clients = [stack.enter_context(redis.Redis.from_url(node.url)) for node in nodes]
        bounds = [_SLOTS * position // len(nodes) for position in range(len(nodes) + 1)]
        for position, client in enumerate(clients):
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", bounds[position], bounds[position + 1] - 1)
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", position + 1)
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[0].port)
        for client in clients:
            _until(lambda client=client: client.cluster("INFO")["cluster_state"] == "ok")
            _until(lambda client=client: client.cluster("INFO")["cluster_known_nodes"] == "3")
        owner = max(position for position, bound in enumerate(bounds) if bound <= key_slot(QUEUE.encode()))
        url = with_protocol(nodes[0].url.removesuffix("/0"))
        server = Server(
            nodes[0].binary,
            with_protocol(nodes[owner].url),
            partial(redis.RedisCluster.from_url, url),
            partial(redis.asyncio.RedisCluster.from_url, url),
        )
        yield server, nodes


@contextlib.contextmanager
def watched(binary: str, master: EmbeddedRedis, *, patience_ms: int = STEADY_MS) -> Iterator[tuple[str, int]]:
    """The address of a Sentinel that watches `master` as `main`, and replaces it after so long a silence."""
    with tempfile.TemporaryDirectory(prefix="redisqueue-sentinel-") as folder:
        port, config = free_port(), Path(folder) / "sentinel.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor {MASTER} 127.0.0.1 {master.port} 1\n"
            f"sentinel down-after-milliseconds {MASTER} {patience_ms}\n"
            f"sentinel failover-timeout {MASTER} 5000\n"
        )
        process = subprocess.Popen([binary, config, "--sentinel"], stdout=subprocess.DEVNULL)
        try:
            with redis.Redis(port=port, retry=None) as client:
                _until(lambda: process.poll() is None and client.execute_command("SENTINEL", "MASTERS"))
            yield "127.0.0.1", port
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)


@contextlib.contextmanager
def sentinel_pair(
    find: Callable[[], str], *, patience_ms: int = STEADY_MS
) -> Iterator[tuple[EmbeddedRedis, EmbeddedRedis, tuple[str, int]]]:
    """A master, its replica (in step), and the address of the Sentinel that watches them."""
    with contextlib.ExitStack() as stack:
        master = stack.enter_context(
            EmbeddedRedis(binary=find(), arguments=("--repl-diskless-sync-delay", "0", "--appendonly", "no"))
        )
        follow = ("--replicaof", "127.0.0.1", str(master.port))
        replica = stack.enter_context(EmbeddedRedis(binary=find(), arguments=follow))
        with redis.Redis.from_url(replica.url) as client:
            _until(lambda: client.info("replication")["master_link_status"] == "up")
        address = stack.enter_context(watched(find(), master, patience_ms=patience_ms))
        with redis.Redis(port=address[1]) as client:
            _until(lambda: client.execute_command("SENTINEL", "REPLICAS", MASTER))
        yield master, replica, address


@contextlib.contextmanager
def sentinel(find: Callable[[], str]) -> Iterator[Server]:
    """A master with a replica and a Sentinel; clients ask the Sentinel for the master."""
    with sentinel_pair(find) as (master, _, address):
        yield behind_sentinel(master, address)


def behind_sentinel(master: EmbeddedRedis, address: tuple[str, int]) -> Server:
    """Clients ask the Sentinel at this address for the master; `url` stays with this one."""
    protocol = os.environ.get("REDISQUEUE_TEST_RESP")
    given: dict[str, Any] = {"protocol": int(protocol)} if protocol else {}
    return Server(
        master.binary,
        with_protocol(master.url),
        lambda **options: master_of(redis, [address], MASTER, {}, given | options),
        lambda **options: master_of(redis.asyncio, [address], MASTER, {}, given | options),
    )


def switch_master(replica: EmbeddedRedis, address: tuple[str, int]) -> None:
    """Have the Sentinel name the replica. The old master takes writes until it is told, ten seconds later."""
    with redis.Redis(port=address[1], decode_responses=True) as watcher:
        _until(lambda: _switches(watcher))
        # Where redis-py looks; GET-MASTER-ADDR-BY-NAME names the new one sooner.
        _until(lambda: watcher.sentinel_masters()[MASTER]["port"] == replica.port)


def _switches(watcher: Any) -> bool:
    """Ask for the switch. A Sentinel that has not heard of the replica for a moment promotes nobody."""
    try:
        watcher.execute_command("SENTINEL", "FAILOVER", MASTER)
    except redis.ResponseError as refusal:
        if "NOGOODSLAVE" not in str(refusal):
            raise
        return False
    return True


@contextlib.contextmanager
def tls(find: Callable[[], str]) -> Iterator[Server]:
    """One server that wants a certificate of its clients."""
    with tempfile.TemporaryDirectory(prefix="redisqueue-tls-") as folder:
        files, port = make_certificates(Path(folder)), free_port()
        options = {
            "tls-port": str(port),
            "tls-auth-clients": "yes",
            "tls-ca-cert-file": str(files.authority),
            "tls-cert-file": str(files.server),
            "tls-key-file": str(files.server_key),
        }
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        # redis-py reads the machine's authorities for each connection (20 ms), beside those that it is told.
        no_others = patch.dict(os.environ, SSL_CERT_FILE=os.devnull, SSL_CERT_DIR=os.devnull)
        with EmbeddedRedis(binary=find(), arguments=arguments) as server, no_others:
            query = (
                f"ssl_ca_certs={files.authority}&ssl_certfile={files.client}&ssl_keyfile={files.client_key}"
            )
            yield reached_by_url(server.binary, f"rediss://localhost:{port}/0?{query}")


@contextlib.contextmanager
def acl(find: Callable[[], str]) -> Iterator[Server]:
    """One server; clients log in as a user that has the documented rights of all roles, and no others."""
    with EmbeddedRedis(binary=find()) as server:
        with redis.Redis.from_url(server.url) as client:
            grant(client, "everything", *ROLES, queue="{*}")
        login = server.url.replace("redis://", f"redis://everything:{PASSWORD}@")
        yield reached_by_url(server.binary, login, admin_url=server.url)


def _until(fact: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(redis.ConnectionError):
            if fact():
                return
        if time.monotonic() > deadline:
            raise TimeoutError("the servers did not become ready")
        time.sleep(0.02)


@dataclass(frozen=True)
class Kind:
    """A kind of server: where its binary comes from (Missing if from nowhere), and how it is started."""

    find: Callable[[], str]
    run: Callable[[Callable[[], str]], contextlib.AbstractContextManager[Server]] = standalone

    def start(self) -> contextlib.AbstractContextManager[Server]:
        """Start it for the time of a `with`. Raises Missing."""
        return self.run(self.find)


SERVERS = {
    "valkey-9": Kind(binaries.valkey),
    "redis-8": Kind(partial(binaries.redis_of, "8")),
    "redis-7": Kind(partial(binaries.redis_of, "7")),
    "redis-6.2": Kind(binaries.redis_6_2),
    "valkey-9-cluster": Kind(binaries.valkey, cluster),
    "valkey-9-sentinel": Kind(binaries.valkey, sentinel),
    "redis-tls": Kind(binaries.redis_with_tls, tls),
    "valkey-9-acl": Kind(binaries.valkey, acl),
}


def chosen() -> str:
    """The server of this run. Raises ValueError for a name that is none."""
    name = os.environ.get("REDISQUEUE_TEST_SERVER", "valkey-9")
    if name not in SERVERS:
        raise ValueError(f"REDISQUEUE_TEST_SERVER={name}: choose one of {', '.join(SERVERS)}")
    return name
