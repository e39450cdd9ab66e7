"""How connections are made where redis-py has no argument for it.

A host name is looked up in a domain of its own, not where this process runs; a certificate is expected for
another name; a Sentinel's connections end with their client; a cluster is found again under its first name;
a connection says whose it is.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

import redis.asyncio.sentinel
import redis.sentinel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    ConnectionClass = Any


# -- host names without a dot --


def full_name(host: str, domain: str) -> str:
    """`redis` in `shop.svc` is `redis.shop.svc`; addresses, names with a dot and `localhost` stay.

    A client's settings, its certificates and a cluster's names of nodes keep the name as it was given.
    """
    bare = host and "." not in host and ":" not in host and host.lower() != "localhost"
    return f"{host}.{domain}" if domain and bare and not _is_number(host) else host


def _is_number(host: str) -> bool:
    """Whether that is an IPv4 address in one number, such as 2130706433 or 0x7f000001."""
    try:
        socket.inet_aton(host)
    except (OSError, ValueError):
        return False
    return True


def change_connections(client: Any, change: Callable[[ConnectionClass], ConnectionClass]) -> None:
    """Have a client make its connections of another class from now on, those to Sentinels included.

    Not for a blocking client of a cluster, which has made some in its constructor.
    """
    if hasattr(client, "nodes_manager"):
        # It takes no class as an argument. The nodes that it learns of are made with these.
        changed = change(client.connection_kwargs["connection_class"])
        client.connection_kwargs["connection_class"] = changed
        client.nodes_manager.connection_kwargs["connection_class"] = changed
        for node in client.nodes_manager.startup_nodes.values():
            node.connection_class = changed
        return
    pools = [client.connection_pool]
    if manager := getattr(client.connection_pool, "sentinel_manager", None):
        pools += [sentinel.connection_pool for sentinel in manager.sentinels]
    for pool in pools:
        pool.connection_class = change(pool.connection_class)


def blocking_in(domain: str) -> Callable[[ConnectionClass], ConnectionClass]:
    """Changes a class of blocking connections to look up its host in `domain`."""

    def change(base: ConnectionClass) -> ConnectionClass:
        class Connection(base):  # type: ignore[misc]
            host: str
            port: int
            _given: str

            # redis-py dials `host`, and expects it in the certificate: it has no argument for either.
            def _connect(self) -> Any:
                self._given, self.host = self.host, full_name(self.host, domain)
                try:
                    return super()._connect()
                finally:
                    self.host = self._given

            def _wrap_socket_with_ssl(self, sock: Any) -> Any:
                self.host = self._given
                return super()._wrap_socket_with_ssl(sock)

            def _host_error(self) -> str:
                return f"{full_name(self.host, domain)}:{self.port}"

        return Connection

    return change


def asyncio_in(domain: str) -> Callable[[ConnectionClass], ConnectionClass]:
    """As `blocking_in`, for asyncio."""

    def change(base: ConnectionClass) -> ConnectionClass:
        class Connection(base):  # type: ignore[misc]
            def _connection_arguments(self) -> Any:
                arguments = dict(super()._connection_arguments())
                if "ssl" in arguments:
                    arguments.setdefault("server_hostname", arguments["host"])
                return arguments | {"host": full_name(arguments["host"], domain)}

            def _host_error(self) -> str:
                return f"{full_name(self.host, domain)}:{self.port}"

        return Connection

    return change


# -- certificates for another name than the host that is dialled --


def expecting(server_name: str, base: ConnectionClass) -> ConnectionClass:
    """The class `base` of TLS connections, blocking or asyncio, checking certificates against that name."""

    class NamedConnection(base):  # type: ignore[misc]
        def _wrap_socket_with_ssl(self, sock: Any) -> Any:
            # A blocking one takes the expected name from `host`, and has no argument of its own for it.
            connection: Any = self
            dialled, connection.host = connection.host, server_name
            try:
                return super()._wrap_socket_with_ssl(sock)
            finally:
                connection.host = dialled

        def _connection_arguments(self) -> Any:
            return {**super()._connection_arguments(), "server_hostname": server_name}

    return NamedConnection


# -- a Sentinel's master --


def master_of(
    package: Any, addresses: list[tuple[str, int]], name: str, sentinel: dict[str, Any], options: Any
) -> Any:
    """A client of the current master, of `redis` or `redis.asyncio`.

    `sentinel` are the arguments of connections to the Sentinels, `options` of those to the master.
    """
    manager = package.sentinel.Sentinel(addresses, sentinel_kwargs=sentinel, **options)
    return manager.master_for(name, connection_pool_class=_POOLS[package])


# redis-py keeps the Sentinels' clients to itself: only the pool is told of the end. It is also
# disconnected after a failover, but then only the idle connections are, and the Sentinels are still needed.
class _BlockingPool(redis.sentinel.SentinelConnectionPool):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)  # type: ignore[no-untyped-call]
        self.connection_class = type("Connection", (_ClosedWhenInterrupted, self.connection_class), {})

    def disconnect(self, inuse_connections: bool = True) -> None:
        super().disconnect(inuse_connections)
        if inuse_connections:
            manager: Any = self.sentinel_manager
            for sentinel in manager.sentinels:
                sentinel.close()


class _AsyncioPool(redis.asyncio.sentinel.SentinelConnectionPool):
    async def disconnect(self, inuse_connections: bool = True) -> None:
        await super().disconnect(inuse_connections)
        if inuse_connections:
            manager: Any = self.sentinel_manager
            for sentinel in manager.sentinels:
                await sentinel.aclose()


_POOLS: dict[Any, type] = {redis: _BlockingPool, redis.asyncio: _AsyncioPool}


class _ClosedWhenInterrupted:
    """redis-py's other connections close when an exception ends the wait for a reply.

    These would go back to the pool, and give that reply to the next command.
    """

    def read_response(self, *args: Any, disconnect_on_error: bool = True, **options: Any) -> Any:
        return super().read_response(*args, disconnect_on_error=disconnect_on_error, **options)  # type: ignore[misc]


# -- a cluster --


def keep_looking_at(client: Any, *nodes: Any) -> None:
    """Have a cluster client ask these nodes too, whenever it looks for the cluster.

    redis-py forgets the address that it was given for those that it found there: after a restart of the whole
    cluster none of them may exist any more, while the name leads to the new ones.
    """
    manager = client.nodes_manager
    base: Any = type(manager)

    class NodesManager(base):  # type: ignore[misc]
        __slots__ = ()

        def initialize(self, *args: Any, **options: Any) -> Any:
            for node in nodes:
                self.startup_nodes.setdefault(node.name, node)
            return super().initialize(*args, **options)

    manager.__class__ = NodesManager  # neither client takes one as an argument


# -- whose connection it is --


def say_name(name: str, connection: Any) -> None:
    """Tell the server who this is. Only people read it: a server or proxy without CLIENT is as good."""
    connection.send_command("CLIENT", "SETNAME", name)
    with contextlib.suppress(redis.ResponseError):
        connection.read_response()


def introduction(name: str) -> Callable[[Any], None]:
    """What a connection does first."""

    def introduce(connection: Any) -> None:
        connection.on_connect()
        say_name(name, connection)

    return introduce


def asyncio_introduction(name: str) -> Callable[[Any], Awaitable[None]]:
    """As `introduction`, for asyncio."""

    async def introduce(connection: Any) -> None:
        await connection.on_connect()
        await connection.send_command("CLIENT", "SETNAME", name)
        with contextlib.suppress(redis.ResponseError):
            await connection.read_response()

    return introduce
