"""A RedisQueue that another object names is found, however it came to be known."""

from __future__ import annotations

import asyncio
from typing import Any

from redisqueue_operator.api.model import Key
from redisqueue_operator.observe.cache import REDISQUEUES, Store
from redisqueue_operator.observe.follow import NamedQueues

QUEUE = {"metadata": {"name": "jobs", "namespace": "shop", "uid": "u", "resourceVersion": "7"}, "spec": {}}


class Server:
    """An API server that has the RedisQueue, of which no watch has told yet."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def get(self, path: str) -> dict[str, Any]:
        asyncio.get_running_loop().call_later(0.05, self.store.put, REDISQUEUES, QUEUE)
        return QUEUE


async def test_one_that_a_list_brought_without_a_word_is_found() -> None:
    store = Store()
    named = NamedQueues(Server(store), store)  # type: ignore[arg-type]
    async with asyncio.timeout(60):
        assert await named.get(Key("shop", "jobs")) == QUEUE
