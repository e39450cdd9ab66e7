"""A RedisQueue that another object names is found, however it came to be known."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.resources import manifest

from redisqueue_operator.api.model import Key
from redisqueue_operator.errors import QueueUnusable
from redisqueue_operator.observe.cache import REDISQUEUES, Store
from redisqueue_operator.observe.coverage import Coverage, Listing
from redisqueue_operator.observe.follow import NamedQueues, usable
from redisqueue_operator.scope import Scope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY = Key("shop", "jobs")
QUEUE = {"metadata": {"name": "jobs", "namespace": "shop", "uid": "u", "resourceVersion": "7"}, "spec": {}}


def leaving() -> dict[str, Any]:
    obj = manifest("jobs", deletionPolicy="Drain")
    obj["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return obj


class Server:
    """An API server that has the RedisQueue or not, of which no watch tells."""

    def __init__(self) -> None:
        self.queues: list[dict[str, Any]] = [QUEUE]
        self.asked = asyncio.Event()

    async def get(self, path: str) -> dict[str, Any] | None:
        self.asked.set()
        return next(iter(self.queues), None)

    async def pages(self, path: str, selector: str) -> AsyncIterator[tuple[list[dict[str, Any]], int]]:
        yield self.queues if path.endswith(REDISQUEUES.plural) else [], 9


def surroundings() -> tuple[Server, Store, NamedQueues, Listing]:
    server, store, scope = Server(), Store(), Scope()
    named = NamedQueues(server, store, scope)  # type: ignore[arg-type]
    listing = Listing(server, store, scope, Coverage(scope), named.notify)  # type: ignore[arg-type]
    return server, store, named, listing


async def test_one_that_a_list_brings_before_the_watch_does_is_found() -> None:
    server, _, named, listing = surroundings()
    waits = asyncio.create_task(named.get(KEY))
    await server.asked.wait()
    await listing.everything()
    async with asyncio.timeout(60):
        assert await waits == QUEUE


async def test_one_that_a_list_does_not_have_any_more_is_told() -> None:
    server, store, named, listing = surroundings()
    await listing.everything()
    changed = asyncio.create_task(named.change_of(KEY, 600))
    server.queues.clear()
    await asyncio.sleep(0)  # it waits
    await listing.everything()
    async with asyncio.timeout(60):
        await changed
        assert store.get(REDISQUEUES, KEY) is await named.get(KEY) is None


async def test_of_names_that_nobody_waits_for_any_more_nothing_is_kept() -> None:
    _, _, named, _ = surroundings()
    for number in range(5):
        await named.change_of(Key("shop", f"preview-{number}"), 0)
    assert not named._waiting


@pytest.mark.parametrize(
    ("obj", "reason", "acts"),
    [
        (None, "QueueMissing", True),
        (
            {
                **QUEUE,
                "status": {
                    "conditions": [
                        {"type": "Ready", "status": "False", "reason": "Conflict", "message": "not yours"}
                    ]
                },
            },
            "QueueConflict",
            False,
        ),
        (QUEUE, "QueueInvalid", True),
        (leaving(), "QueueDeleting", False),
    ],
)
def test_what_may_not_be_used_says_why(obj: dict[str, Any] | None, reason: str, acts: bool) -> None:
    with pytest.raises(QueueUnusable, match="RedisQueue 'jobs'") as told:
        usable(obj, KEY)
    assert (told.value.reason, told.value.acts) == (reason, acts)
