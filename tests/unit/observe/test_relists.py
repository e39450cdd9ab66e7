"""A list that is refused for a moment says nothing new of what is known and watched; one that lasts does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from redisqueue_operator.apply.writer import Writer
from redisqueue_operator.kubernetes_api import ApiError
from redisqueue_operator.kubernetes_platform import KubernetesPlatform
from redisqueue_operator.observe.cache import PODS, Store
from redisqueue_operator.observe.coverage import PASSING_SECONDS, Coverage
from redisqueue_operator.scope import Scope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PASSING: list[Exception] = [
    *(ApiError(status, "Busy", "not now") for status in (429, 500, 503, 504)),
    TimeoutError(),
    ConnectionError("reset"),
]
LASTING = [
    ApiError(403, "Forbidden", "no right"),
    ApiError(404, "NotFound", "not served"),
    ApiError(500, "InternalError", "failed calling webhook"),
]
PATH = PODS.path("shop")
NOBODY: Any = None
"""What lists do not ask."""


class World:
    """An API server that lists nothing in two namespaces, or refuses the pods of one, and its platform."""

    def __init__(self) -> None:
        self.refusal: Exception | None = None
        self.now = 0.0
        scope = Scope(("shop", "other"))
        self.coverage = Coverage(scope, lambda: self.now)
        self.platform = KubernetesPlatform(
            self,  # type: ignore[arg-type]
            Store(),
            Writer(NOBODY, instance=""),
            NOBODY,
            NOBODY,
            worker_image="",
            version="1",
            scope=scope,
            coverage=self.coverage,
        )

    async def pages(
        self, path: str, selector: str = "", **_: object
    ) -> AsyncIterator[tuple[list[dict[str, Any]], int]]:
        if path == PATH and self.refusal is not None:
            raise self.refusal
        yield [], 9

    @property
    def blind(self) -> list[str]:
        """The namespaces of which nothing is known."""
        return [name for name in ("shop", "other") if self.coverage.blind_spot(name)]


@pytest.fixture
async def known() -> World:
    """All was listed whole, and is watched."""
    world = World()
    await world.platform.keys()
    world.coverage.answered(PATH, 200, watch=True)
    return world


@pytest.mark.parametrize("refusal", PASSING, ids=str)
async def test_a_moment_makes_nothing_unknown(known: World, refusal: Exception) -> None:
    known.refusal = refusal
    await known.platform.keys()
    assert (known.blind, known.coverage.unseen_count) == ([], 0)
    assert known.coverage.unlisted == [(PODS, "shop")], "it is asked again soon"
    known.refusal = None
    assert not await known.platform.fill_gaps(), "nobody needs to look again"
    assert known.coverage.unlisted == []


async def test_what_goes_on_is_unknown_until_it_is_listed_again(known: World) -> None:
    known.refusal = PASSING[0]
    await known.platform.keys()
    known.now = PASSING_SECONDS - 1
    assert not await known.platform.fill_gaps()
    known.now = PASSING_SECONDS
    assert await known.platform.fill_gaps(), "all are looked at: that is to be told"
    assert (known.blind, known.coverage.unseen_count) == (["shop"], 1)
    assert not await known.platform.fill_gaps(), "once"
    known.refusal = None
    assert await known.platform.fill_gaps()
    assert known.blind == []
    known.refusal = PASSING[0]
    await known.platform.keys()
    assert known.blind == [], "another moment, after all was well"


@pytest.mark.parametrize("refusal", LASTING, ids=str)
async def test_what_lasts_is_unknown_at_once(known: World, refusal: Exception) -> None:
    known.refusal = PASSING[0]
    await known.platform.keys()
    known.refusal = refusal
    assert await known.platform.fill_gaps()
    assert known.blind == ["shop"]
    known.refusal = PASSING[0]
    assert not await known.platform.fill_gaps()
    assert known.blind == ["shop"], "and stays so: it was not listed since"


async def test_nothing_is_known_of_what_was_never_listed() -> None:
    world = World()
    world.refusal = PASSING[0]
    world.coverage.answered(PATH, 200, watch=True)
    await world.platform.keys()
    assert world.blind == ["shop"]


async def test_nothing_is_known_for_long_of_what_is_not_watched(known: World) -> None:
    known.coverage.answered(PATH, 403, watch=True)
    known.refusal = PASSING[0]
    await known.platform.keys()
    assert known.blind == ["shop"]
