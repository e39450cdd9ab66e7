"""Hooks: their order, where they run, and what happens when they fail."""

from __future__ import annotations

import asyncio
import logging
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING

import pytest

from redisqueue_worker.hooks import HookError, Hooks

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_order_and_kinds() -> None:
    seen: list[str] = []
    hooks = Hooks()

    @hooks.on_startup
    def first() -> None:
        seen.append("first")

    @hooks.on_startup
    async def second() -> None:
        await asyncio.sleep(0)
        seen.append("second")

    @hooks.on_shutdown
    def opened_first() -> None:
        seen.append("closed last")

    hooks.on_shutdown(lambda: seen.append("closed first"))
    hooks.start(asyncio.run)
    assert seen == ["first", "second"]
    hooks.stop(asyncio.run)
    assert seen[2:] == ["closed first", "closed last"]


def test_a_failing_start_up_hook_is_named_and_ends_the_start() -> None:
    hooks = Hooks()

    @hooks.on_startup
    async def connect() -> None:
        raise OSError("no route")

    hooks.on_startup(lambda: pytest.fail("called after a failure"))
    with pytest.raises(HookError, match=r"the start-up hook .*connect failed: OSError: no route"):
        hooks.start(asyncio.run)


def test_a_failing_shut_down_hook_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    seen = []
    hooks = Hooks()
    hooks.on_shutdown(lambda: seen.append("other"))

    @hooks.on_shutdown
    def broken() -> None:
        raise OSError("already closed")

    with caplog.at_level(logging.ERROR):
        hooks.stop(asyncio.run)
    assert seen == ["other"]
    (record,) = caplog.records
    assert "broken failed" in record.getMessage()


def test_hooks_set_the_context_that_they_are_given() -> None:
    name: ContextVar[str] = ContextVar("name", default="nobody")
    hooks, base = Hooks(), copy_context()
    hooks.on_startup(lambda: name.set("Ada"))
    hooks.start(asyncio.run, base)
    assert (base[name], name.get()) == ("Ada", "nobody")


def test_a_hook_that_would_never_run_is_told() -> None:
    hooks = Hooks()

    @hooks.on_startup
    def connection() -> Iterator[None]:
        yield

    with pytest.raises(HookError, match=r"connection failed: TypeError: a generator does nothing; put what"):
        hooks.start(asyncio.run)


@pytest.mark.parametrize(
    "error",
    [asyncio.CancelledError(), SystemExit(3), BaseExceptionGroup("g", [SystemExit(3)]), BaseException("x")],
)
def test_whatever_a_hook_raises_is_its_failure(error: BaseException) -> None:
    hooks = Hooks()

    @hooks.on_startup
    @hooks.on_shutdown
    async def cancelled() -> None:
        raise error

    hooks.stop(asyncio.run)
    with pytest.raises(HookError, match="cancelled failed"):
        hooks.start(asyncio.run)
