"""A status is written when that is worth it, and a spec that says nothing usable is told, with an Event."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.redisqueue_cases import redrive
from tests.support.waiting import until

from redisqueue_operator.apply import status_writer
from redisqueue_operator.apply.status_writer import REFUSED_SECONDS, Gone, StatusWriter
from redisqueue_operator.kubernetes_api import ApiError
from redisqueue_operator.observe.cache import key_of
from redisqueue_operator.observe.follow import Follower
from redisqueue_operator.redrive.resource import REDRIVES
from redisqueue_operator.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redisqueue_operator.decide.status import EventRecord

SECONDS = 10.0
Json = dict[str, Any]


def unusable(generation: int, problem: str, previous: Mapping[str, Any], now: float) -> Json:
    ready = {"type": "Ready", "status": "False", "reason": "InvalidSpec", "message": problem}
    return {"phase": "Pending", "observedGeneration": generation, "conditions": [ready]}


class World:
    """An API server with one object, and all that is said to it."""

    def __init__(self, **metadata: Any) -> None:
        self.object: Json = redrive()
        self.object["metadata"] |= {"uid": "u", "generation": 1, "resourceVersion": "1", **metadata}
        self.key = key_of(self.object)
        self.failures: list[Exception] = []
        self.tries: list[Json] = []
        self.events: list[EventRecord] = []
        self.kept: Json | None = None
        """What is kept of a status, where that is not all of it."""
        self.now = 100.0
        api: Any = self
        self.followed = Follower(api, REDRIVES, "RedisQueueRedrive", Scope(), lambda _: None, lambda _: None)
        self.followed.objects[self.key] = self.object
        self.statuses = StatusWriter(
            api,
            self.followed,
            news=lambda status: (status.get("phase"), status.get("observedGeneration")),
            unusable=unusable,
            seconds=SECONDS,
            now=lambda: 1_000_000.0,
            clock=lambda: self.now,
        )

    async def get(self, path: str) -> Json | None:
        return self.object

    async def status_of(self, resource: object, key: object, raw: Json, status: Json) -> Json:
        self.tries.append(status)
        if self.failures:
            raise self.failures.pop()
        metadata = {**raw["metadata"], "resourceVersion": str(int(raw["metadata"]["resourceVersion"]) + 1)}
        self.object = {**raw, "metadata": metadata, "status": status if self.kept is None else self.kept}
        return self.object

    async def event(self, obj: Json, event: EventRecord) -> None:
        self.events.append(event)

    async def tell(self, **status: Any) -> bool:
        return await self.statuses.tell(self.key, "u", status)


async def test_news_are_written_at_once_and_numbers_in_time() -> None:
    world = World()
    assert await world.tell(phase="Running", moved=1)
    assert await world.tell(phase="Running", moved=1), "it says so already"
    assert len(world.tries) == 1
    assert not await world.tell(phase="Running", moved=2), "there is something left to be told"
    assert await world.tell(phase="Succeeded", moved=2)
    assert len(world.tries) == 2
    world.now += SECONDS
    assert await world.tell(phase="Succeeded", moved=3)
    assert world.followed.objects[world.key]["status"]["moved"] == 3


async def test_what_was_refused_is_tried_again_after_a_moment() -> None:
    world = World()
    world.failures = [ApiError(403, "no", "PATCH")]
    assert not await world.tell(phase="Running")
    assert not await world.tell(phase="Running"), "nor is it tried at once"
    assert len(world.tries) == 1
    world.now += REFUSED_SECONDS
    assert await world.tell(phase="Running")


async def test_after_a_conflict_it_is_written_to_the_newest_version_at_once() -> None:
    world = World()
    world.object = {
        **world.object,
        "metadata": {**world.object["metadata"], "resourceVersion": "7"},
        "status": {"moved": 5},
    }
    world.failures = [ApiError(409, "conflict", "PATCH")]
    assert not await world.tell(phase="Running")
    assert world.followed.objects[world.key]["status"] == {"moved": 5}
    assert await world.tell(phase="Running")
    assert world.object["metadata"]["resourceVersion"] == "8"


async def test_nothing_is_told_of_an_object_that_is_gone() -> None:
    world = World()
    world.failures = [ApiError(404, "not found", "PATCH")]
    world.object = {**world.object, "metadata": {**world.object["metadata"], "uid": "another"}}
    with pytest.raises(Gone):
        await world.tell(phase="Running")
    leaving = World(deletionTimestamp="2026-01-01T00:00:00Z")
    with pytest.raises(Gone):
        await leaving.tell(phase="Running")
    assert leaving.tries == []


async def test_what_an_older_definition_does_not_keep_is_not_written_again_and_again() -> None:
    world = World()
    world.kept = {"phase": "Running"}
    assert await world.tell(phase="Running", newer=1)
    world.now += SECONDS
    assert await world.tell(phase="Running", newer=2)
    assert len(world.tries) == 1


async def test_an_unusable_spec_is_told_once_with_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_writer, "AGAIN_SECONDS", 0.0)
    world = World()
    world.failures = [ApiError(409, "conflict", "PATCH")]
    world.statuses.tell_unusable(world.object, "spec.from: no")
    await until(lambda: world.events, "it is told")
    (event,) = world.events
    assert (event.type, event.reason, event.message) == ("Warning", "InvalidSpec", "spec.from: no")
    assert len(world.tries) == 2, "tried until it was written"
    world.statuses.tell_unusable(world.object, "spec.from: no")
    await world.statuses.close()
    assert len(world.events) == 1


async def test_the_echo_of_its_own_write_does_not_break_it_off() -> None:
    """Before the Event is written the watch tells of the new status."""

    class Echoing(World):
        async def status_of(self, resource: object, key: object, raw: Json, status: Json) -> Json:
            written = await super().status_of(resource, key, raw, status)
            self.followed.remember(written)
            self.statuses.tell_unusable(written, "spec.from: no")
            await asyncio.sleep(0)
            return written

    world = Echoing()
    world.statuses.tell_unusable(world.object, "spec.from: no")
    await until(lambda: world.events, "it is told")
    await world.statuses.close()


async def test_a_spec_that_was_mended_meanwhile_is_not_told_of() -> None:
    world = World()
    world.statuses.tell_unusable(world.object, "spec.from: no")
    world.followed.objects[world.key] = {
        **world.object,
        "metadata": {**world.object["metadata"], "generation": 2},
    }
    await asyncio.sleep(0)
    await world.statuses.close()
    assert world.tries == []
