"""Which hosts the operator may connect to, asked at each dial.

A spec names its hosts, but Sentinel and Cluster announce others, and so may a server that moves its clients:
whoever may write a RedisQueue must not make the operator connect to what they like.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from redis_message_queue.dial import change_connections, full_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis_message_queue.connection import ConnectionSettings


class HostNotAllowedError(Exception):
    """A connection would lead to a host that is not allowed."""


class AllowedHosts:
    """Names, `*.domains`, addresses and networks such as `10.0.0.0/8`; none at all allows every host.

    A name is allowed whatever it resolves to, and is a full one: `redis.shop.svc` where a RedisQueue of the
    namespace `shop` says `redis`. Raises ValueError for a network that is none.
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
        if self._names or self._networks:
            change_connections(client, lambda base: self._guarded(base, settings.host_domain))
        return client

    def _guarded(self, base: Any, domain: str) -> Any:
        allow = self.allow

        class GuardedConnection(base):  # type: ignore[misc]
            async def _connect(self) -> None:
                host = full_name(str(getattr(self, "host", "")), domain)
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
