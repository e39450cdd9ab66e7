"""One queue behind a proxy that can fail, in both faces."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import redis
import redis.asyncio
from tests.support.faces import FACES
from tests.support.fault_bench import USER, Bench
from tests.support.fault_proxy import FaultProxy
from tests.support.servers import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redisqueue_worker.embedded_redis import EmbeddedRedis

OpenBench = Callable[..., AbstractAsyncContextManager[Bench]]


@pytest.fixture(params=sorted(FACES))
def open_bench(
    request: pytest.FixtureRequest, redis_server: EmbeddedRedis, redis_client: redis.Redis
) -> OpenBench:
    """Opens a bench on the emptied server, as often as a test wants, with options for its client."""
    redis_client.execute_command("ACL", "SETUSER", USER, "on", "nopass", "~*", "&*", "+@all")

    @asynccontextmanager
    async def fresh(**options: Any) -> AsyncIterator[Bench]:
        redis_client.flushall()
        with FaultProxy(redis_server.port) as proxy:
            url = proxy.url.replace("//", f"//{USER}:any@")
            server = Server(
                redis_server.binary,
                url,
                partial(redis.Redis.from_url, url),
                partial(redis.asyncio.Redis.from_url, url),
            )
            face = FACES[request.param](server)
            try:
                yield Bench(face, proxy, redis_client, **options)
            finally:
                await face.close()

    return fresh
