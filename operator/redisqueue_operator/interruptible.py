"""Cancelling what runs: by Ctrl-C, SIGTERM and a closed terminal, so that its clean-up runs, and in time."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

T = TypeVar("T")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AGAIN_SECONDS = 1.0
"""For its clean-up, which a second cancellation would break off."""


def run(main: Coroutine[Any, Any, int]) -> int:
    """Run `main` to its end and return its result, or 128 + the signal's number when a signal cancelled it.

    A second signal cancels the clean-up as well, so `main` must then end at once by other means.
    """
    return asyncio.run(cancelled_by_signals(main))


async def cancelled_by_signals(main: Coroutine[Any, Any, int]) -> int:
    """Await `main`; each signal cancels what it is waiting for at that moment."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(main)
    seen: list[int] = []

    def received(number: int) -> None:
        seen.append(number)
        task.cancel()

    for number in SIGNALS:
        loop.add_signal_handler(number, received, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not seen:
            raise
        return 128 + seen[0]
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)


def cancelled() -> bool:
    """Whether somebody asked this task to end: a Redis call may swallow the cancellation itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel these tasks until the last of them has ended, however: one that swallowed it is asked again."""
    tasks = set(tasks)
    left = tasks
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN_SECONDS)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # which is no news


async def finished(clean_up: Coroutine[Any, Any, object]) -> None:
    """Await a clean-up to its end, for a moment also where this is cancelled; that is raised afterwards."""
    task = asyncio.create_task(clean_up)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,), timeout=_AGAIN_SECONDS)
        raise


async def first_ended(*parts: Coroutine[Any, Any, object]) -> None:
    """Run these side by side until any of them ends; then cancel the others. Raises what that one raised."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


_left: set[asyncio.Task[Any]] = set()


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """The outcome of `work`. Raises TimeoutError after that time, also where it swallows its cancellation."""
    task = asyncio.create_task(work)
    _left.add(task)
    task.add_done_callback(_forget)
    try:
        await asyncio.wait((task,), timeout=seconds)
        if task.done():
            return task.result()
        raise TimeoutError(f"no answer after {seconds:g} s")
    finally:
        task.cancel()


def _forget(task: asyncio.Task[Any]) -> None:
    """An error that nobody waits for any more is no news."""
    _left.discard(task)
    if not task.cancelled():
        task.exception()
