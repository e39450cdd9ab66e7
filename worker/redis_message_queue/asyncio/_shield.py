"""Finishing what Redis has begun, whatever happens to the task that asked for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine


async def finish(coroutine: Coroutine[Any, Any, None], *, swallowed_cancellations: int | None = None) -> None:
    """Run `coroutine` to its end in a task of its own; its error wins over a cancellation of the caller.

    By default a cancellation waits for the end and is raised then. With `swallowed_cancellations` that many
    are ignored, and the next one stops the waiting at once (the work goes on) by raising CancelledError.
    """
    task = asyncio.create_task(_carried(coroutine))
    cancellations = 0
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancellations += 1
            if swallowed_cancellations is not None and cancellations > swallowed_cancellations:
                raise
    error = task.result()
    if error is not None:
        raise error
    if cancellations and swallowed_cancellations is None:
        raise asyncio.CancelledError


async def _carried(coroutine: Coroutine[Any, Any, None]) -> BaseException | None:
    """Carry even an exit out as a value: raised inside a task it would tear the event loop down first."""
    try:
        await coroutine
    except BaseException as error:
        return error
    return None
