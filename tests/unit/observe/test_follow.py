"""A kind that is followed: what one of its objects makes of its reader keeps no other from being seen."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.support.redisqueue_cases import redrive
from tests.support.waiting import until

from redisqueue_operator.observe.follow import Follower
from redisqueue_operator.redrive.resource import REDRIVES
from redisqueue_operator.scope import Scope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def named(name: str) -> dict[str, Any]:
    obj = redrive()
    obj["metadata"] |= {"name": name, "uid": name, "resourceVersion": "1"}
    return obj


class Server:
    """An API server with two objects, and a third one that comes later."""

    async def list(self, path: str) -> tuple[list[dict[str, Any]], str]:
        return [named("odd"), named("good")], "1"

    async def watch(self, path: str, version: str) -> AsyncIterator[dict[str, Any]]:
        yield {"type": "ADDED", "object": named("late")}
        await asyncio.Event().wait()


async def test_one_that_cannot_be_taken_keeps_no_other_from_being_seen() -> None:
    seen: list[str] = []

    def put(obj: dict[str, Any]) -> None:
        if obj["metadata"]["name"] == "odd":
            raise TypeError("no such shape was thought of")
        seen.append(obj["metadata"]["name"])

    server: Any = Server()
    followed = Follower(server, REDRIVES, "RedisQueueRedrive", Scope(), put, lambda _: None)
    running = asyncio.create_task(followed.run())
    try:
        await until(lambda: seen == ["good", "late"], "the others are seen")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
