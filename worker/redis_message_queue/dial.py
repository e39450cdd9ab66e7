"""Where a client looks up host names without a dot: in a domain of its own, not where this process runs.

Its settings, its certificates and a cluster's names of nodes keep the name as it was given.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    ConnectionClass = Any


def full_name(host: str, domain: str) -> str:
    """`redis` in `shop.svc` is `redis.shop.svc`; addresses, names with a dot and `localhost` stay."""
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
