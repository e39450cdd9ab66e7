"""Connection pools of a Sentinel's master that close the connections to the Sentinels too."""

from __future__ import annotations

from typing import Any

import redis.asyncio.sentinel
import redis.sentinel


def blocking_master(
    addresses: list[tuple[str, int]], master: str, sentinel: Any, options: Any
) -> redis.Redis:
    """A client of the current master; `sentinel` are the arguments of connections to the Sentinels."""
    manager: Any = redis.sentinel.Sentinel
    client: redis.Redis = manager(addresses, sentinel_kwargs=sentinel, **options).master_for(
        master, connection_pool_class=_BlockingPool
    )
    return client


def asyncio_master(
    addresses: list[tuple[str, int]], master: str, sentinel: Any, options: Any
) -> redis.asyncio.Redis:
    """As `blocking_master`, for asyncio."""
    manager: Any = redis.asyncio.sentinel.Sentinel
    client: redis.asyncio.Redis = manager(addresses, sentinel_kwargs=sentinel, **options).master_for(
        master, connection_pool_class=_AsyncioPool
    )
    return client


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


class _ClosedWhenInterrupted:
    """redis-py's other connections close when an exception ends the wait for a reply.

    These would go back to the pool, and give that reply to the next command.
    """

    def read_response(self, *args: Any, disconnect_on_error: bool = True, **options: Any) -> Any:
        return super().read_response(*args, disconnect_on_error=disconnect_on_error, **options)  # type: ignore[misc]
