"""Which hosts the operator may connect to, asked at each dial.

A spec names its hosts, but Sentinel and Cluster announce others, and so may a server that moves its clients:
whoever may write a RedisQueue must not make the operator connect to what they like.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

import redis.asyncio
from redis.asyncio.sentinel import SentinelConnectionPool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis_message_queue.connection import ConnectionSettings


class HostNotAllowedError(Exception):
    """A connection would lead to a host that is not allowed."""


class AllowedHosts:
    """Names, `*.domains`, addresses and networks such as `10.0.0.0/8`; none at all allows every host.

    A name is allowed whatever it resolves to. Raises ValueError for a network that is none.
    """

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        self._names = tuple(pattern.lower() for pattern in patterns if "/" not in pattern)
        self._networks = tuple(_network(pattern) for pattern in patterns if "/" in pattern)

    def allow(self, host: str) -> bool:
        """Whether this host may be dialled."""
        if not (self._names or self._networks):
            return True
        name = host.lower()
        return any(_matches(name, pattern) for pattern in self._names) or self._in_network(name)

    def connect(self, settings: ConnectionSettings) -> Any:
        """An asyncio client as `settings` make it, whose every dial is checked.

        A dial to another host fails with redis.ConnectionError, caused by HostNotAllowedError.
        """
        client: Any = settings.connect_async()
        if not (self._names or self._networks):
            return client
        if isinstance(client, redis.asyncio.RedisCluster):
            self._guard_cluster(client)
            return client
        pool = client.connection_pool
        pool.connection_class = self._guarded(pool.connection_class)
        if isinstance(pool, SentinelConnectionPool):
            manager: Any = pool.sentinel_manager
            for sentinel in manager.sentinels:
                of_sentinel = sentinel.connection_pool
                of_sentinel.connection_class = self._guarded(of_sentinel.connection_class)
        return client

    def _guard_cluster(self, client: Any) -> None:
        # It takes no class of connections as an argument. The nodes it learns of are made with these.
        guarded = self._guarded(client.connection_kwargs["connection_class"])
        client.connection_kwargs["connection_class"] = guarded
        client.nodes_manager.connection_kwargs["connection_class"] = guarded
        for node in client.nodes_manager.startup_nodes.values():
            node.connection_class = guarded

    def _guarded(self, base: Any) -> Any:
        allow = self.allow

        class GuardedConnection(base):  # type: ignore[misc]
            async def _connect(self) -> None:
                host = str(getattr(self, "host", ""))
                if not allow(host):
                    raise HostNotAllowedError(f"host {host!r} is not among the allowed Redis hosts")
                await super()._connect()

        return GuardedConnection

    def _in_network(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self._networks)


def _network(pattern: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(pattern)
    except ValueError as error:
        raise ValueError(
            f"allowed Redis host {pattern!r} is no network ({error}): write 10.0.0.0/8"
        ) from None


def _matches(host: str, pattern: str) -> bool:
    return host == pattern or (pattern.startswith("*.") and host.endswith(pattern[1:]))
