"""Hooks: their order, where they run, and what happens when they fail."""

from __future__ import annotations

import asyncio
import logging

import pytest

from redisqueue_worker.hooks import HookError, Hooks


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
