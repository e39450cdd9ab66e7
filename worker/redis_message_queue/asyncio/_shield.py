"""Finishing what Redis has begun, whatever happens to the task that asked for it."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine


async def finish(coroutine: Coroutine[Any, Any, None], *, swallowed_cancellations: int | None = None) -> None:
    """Run `coroutine` to its end in a task of its own; its error wins over a cancellation of the caller.

    By default a cancellation waits for the end and is raised then. With `swallowed_cancellations` that many
    are ignored, and the next one stops the waiting at once (the work goes on) by raising CancelledError.
    """
    work = _Work(coroutine)
    cancellations = 0
    while not work.is_done:
        try:
            await work.until_done()
        except asyncio.CancelledError:
            cancellations += 1
            if swallowed_cancellations is not None and cancellations > swallowed_cancellations:
                raise
    if work.error is not None:
        raise work.error
    if cancellations and swallowed_cancellations is None:
        raise asyncio.CancelledError


class _Work:
    """A task that nobody cancels by waiting for it; `asyncio.shield` takes more turns of the event loop."""

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self.error: BaseException | None = None
        self.is_done = False
        self._waiter: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        carried = self._carried(coroutine)
        if sys.version_info >= (3, 12):
            # Begin now: a turn of the event loop less.
            self._task = asyncio.Task(carried, loop=self._loop, eager_start=True)
        else:
            self._task = self._loop.create_task(carried)

    async def until_done(self) -> None:
        """Raises CancelledError when the caller is cancelled; the work goes on."""
        self._waiter = self._loop.create_future()
        await self._waiter

    async def _carried(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Keep even an exit as a value: raised inside a task it would tear the event loop down first."""
        try:
            await coroutine
        except BaseException as error:
            self.error = error
        self.is_done = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
