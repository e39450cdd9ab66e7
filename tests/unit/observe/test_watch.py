"""kopf's end is the end of the watches, whatever becomes of its watchers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from redisqueue_operator.observe import watch
from redisqueue_operator.observe.cache import Store
from redisqueue_operator.observe.coverage import Coverage
from redisqueue_operator.scope import Scope


async def test_a_watcher_that_goes_on_when_it_is_cancelled_does_not_keep_a_dead_operator_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As one of kopf does whose request is under way when another one fails."""

    async def watcher() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    async def operator(*, stop_flag: asyncio.Event, ready_flag: asyncio.Event, **_: Any) -> None:
        task = asyncio.create_task(watcher(), name="watcher for pods.v1@shop")
        ready_flag.set()
        await stop_flag.wait()
        task.cancel()
        await asyncio.wait([task])
        raise ConnectionError("why it has ended")

    monkeypatch.setattr("redisqueue_operator.observe.watch.kopf.operator", operator)
    monkeypatch.setattr(watch, "END_SECONDS", 0.05)
    stop, ready, scope = asyncio.Event(), asyncio.Event(), Scope()
    watches = asyncio.create_task(
        watch.watch(Store(), lambda _: None, lambda: None, scope, stop, ready, Coverage(scope))
    )
    await ready.wait()
    assert not watches.done()
    stop.set()
    done, _ = await asyncio.wait([watches], timeout=60)
    assert done, "it waits for ever"
    with pytest.raises(ConnectionError, match="why it has ended"):
        watches.result()
