"""One way to write a test for both faces of the library: always awaited, whichever does the work."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import redis
import redis.asyncio
import redis.asyncio.retry
import redis.retry
from redis.backoff import NoBackoff

import redis_message_queue
import redis_message_queue.asyncio
import redis_message_queue.asyncio.consumer
import redis_message_queue.consumer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import ModuleType

    from tests.support.servers import Server


class SyncFace:
    """The face for threads."""

    name = "sync"
    package = redis_message_queue

    def __init__(self, server: Server) -> None:
        self.server = server
        self._clients: list[redis.Redis] = []

    def client(self, **options: Any) -> redis.Redis:
        """A client of this face; closed at the end of the test."""
        client = self.server.blocking(**options)
        self._clients.append(client)
        return client

    def retry(self, times: int) -> Any:
        """How a client of this face repeats by itself: so often, at once."""
        return redis.retry.Retry(NoBackoff(), times)

    def queue(self, name: str = "{jobs}", **options: Any) -> Any:
        """A queue over a fresh client, unless a client or gateway is given."""
        if not options.keys() & {"client", "gateway"}:
            options["client"] = self.client()
        return redis_message_queue.RedisMessageQueue(name, **options)

    def gateway(self, **options: Any) -> Any:
        """A built-in gateway over a fresh client, unless one is given."""
        options.setdefault("redis_client", self.client())
        return redis_message_queue.RedisGateway(**options)

    def consumer(self, name: str = "jobs", **options: Any) -> Any:
        """A consumer over a fresh client, unless one is given."""
        options.setdefault("client", self.client())
        return redis_message_queue.consumer.Consumer(options.pop("client"), name, **options)

    def of(self, module: ModuleType, name: str) -> Any:
        """The function of that name for the clients of this face."""
        return getattr(module, name)

    def callback(self, function: Any) -> Any:
        """`function` as a callback of this face."""
        return function

    async def call(self, function: Any, *args: Any, **options: Any) -> Any:
        """Call a method of this face."""
        return function(*args, **options)

    @asynccontextmanager
    async def process(self, queue: Any) -> AsyncIterator[Any]:
        """`queue.process_message()`."""
        with queue.process_message() as payload:
            yield payload

    async def close(self) -> None:
        """Close every client."""
        for client in self._clients:
            client.close()


class AsyncFace:
    """The face for asyncio."""

    name = "async"
    package = redis_message_queue.asyncio

    def __init__(self, server: Server) -> None:
        self.server = server
        self._clients: list[redis.asyncio.Redis] = []

    def client(self, **options: Any) -> redis.asyncio.Redis:
        """A client of this face; closed at the end of the test."""
        client = self.server.asyncio(**options)
        self._clients.append(client)
        return client

    def retry(self, times: int) -> Any:
        """How a client of this face repeats by itself: so often, at once."""
        return redis.asyncio.retry.Retry(NoBackoff(), times)

    def queue(self, name: str = "{jobs}", **options: Any) -> Any:
        """A queue over a fresh client, unless a client or gateway is given."""
        if not options.keys() & {"client", "gateway"}:
            options["client"] = self.client()
        return redis_message_queue.asyncio.RedisMessageQueue(name, **options)

    def gateway(self, **options: Any) -> Any:
        """A built-in gateway over a fresh client, unless one is given."""
        options.setdefault("redis_client", self.client())
        return redis_message_queue.asyncio.RedisGateway(**options)

    def consumer(self, name: str = "jobs", **options: Any) -> Any:
        """A consumer over a fresh client, unless one is given."""
        options.setdefault("client", self.client())
        return redis_message_queue.asyncio.consumer.Consumer(options.pop("client"), name, **options)

    def of(self, module: ModuleType, name: str) -> Any:
        """The function of that name for the clients of this face."""
        return getattr(module, f"{name}_async")

    def callback(self, function: Any) -> Any:
        """`function` as a callback of this face."""

        async def awaited(*args: Any) -> Any:
            return function(*args)

        return awaited

    async def call(self, function: Any, *args: Any, **options: Any) -> Any:
        """Call a method of this face."""
        return await function(*args, **options)

    @asynccontextmanager
    async def process(self, queue: Any) -> AsyncIterator[Any]:
        """`queue.process_message()`."""
        async with queue.process_message() as payload:
            yield payload

    async def close(self) -> None:
        """Close every client."""
        for client in self._clients:
            await client.aclose()


Face = SyncFace | AsyncFace
FACES = {"sync": SyncFace, "async": AsyncFace}
