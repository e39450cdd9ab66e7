"""A server that is not the one to talk to any more: its connections are closed, and the call is sent anew.

Behind one name stands now this server, now that one, and a connection stays with the one it was made to. So
the next call has to dial again, which resolves the name (or asks the Sentinel) again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import redis
import redis.asyncio

from redis_message_queue._line import kept_line
from redis_message_queue.trouble import AWAY, explain, is_elsewhere

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

T = TypeVar("T")
_ASYNCIO = (redis.asyncio.Redis, redis.asyncio.RedisCluster)
_CLIENTS = (redis.Redis, redis.RedisCluster, *_ASYNCIO)


def over_fresh(client: Any, action: Callable[[], T]) -> T:
    """The outcome of `action`; of a second one, over new connections, where the first met such a server."""
    try:
        return action()
    except AWAY as error:
        if not is_elsewhere(error) or not isinstance(client, _CLIENTS):
            explain(error)
            raise
    drop_idle(client)
    return action()


async def over_fresh_async(client: Any, action: Callable[[], Awaitable[T]]) -> T:
    """As `over_fresh`, for asyncio."""
    try:
        return await action()
    except AWAY as error:
        if not is_elsewhere(error) or not isinstance(client, _CLIENTS):
            explain(error)
            raise
    await drop_idle(client)
    return await action()


def drop_idle(client: Any) -> Any:
    """Close the connections of a client that nobody uses now; those in use are their users' to close.

    Gives an awaitable for a client of asyncio. Any other object than redis-py's clients is left alone.
    """
    if isinstance(client, _ASYNCIO):
        return _drop_idle_async(client)
    if isinstance(client, _CLIENTS):
        for pool in _pools(client):
            if line := kept_line(pool):
                connection, _ = line.take()
                if connection is not None:
                    connection.disconnect()
                    pool.release(connection)
            _disconnect_idle(pool)
    return None


async def _drop_idle_async(client: Any) -> None:
    if isinstance(client, redis.asyncio.RedisCluster):
        resting = [each for node in client.get_nodes() for each in tuple(getattr(node, "_free", ()))]
        await asyncio.gather(*(each.disconnect() for each in resting), return_exceptions=True)
        return
    pool = client.connection_pool
    if line := kept_line(pool):
        connection, _ = line.take()
        if connection is not None:
            await connection.disconnect(nowait=True)
            await pool.release(connection)
    await pool.disconnect(inuse_connections=False)


def _pools(client: Any) -> Iterator[Any]:
    if isinstance(client, redis.Redis):
        yield client.connection_pool
        return
    for node in client.get_nodes():
        if node.redis_connection is not None:
            yield node.redis_connection.connection_pool


def _disconnect_idle(pool: Any) -> None:
    try:
        pool.disconnect(inuse_connections=False)
    except TypeError:  # a BlockingConnectionPool before redis-py 7 can only close all: look into its queue
        with pool.pool.mutex:
            for connection in pool.pool.queue:
                if connection is not None:
                    connection.disconnect()
