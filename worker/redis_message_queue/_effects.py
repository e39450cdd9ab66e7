"""Protocols are generators: they yield effects to be called, and are sent the results or thrown the errors.

So every loop, deadline and "which error may be repeated" exists once, whichever way the I/O is done.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import inspect
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

from redis_message_queue import _clock
from redis_message_queue._clock import Moment

T = TypeVar("T")
_STEP_SECONDS = 0.05


class Sleep:
    """Do nothing for that long."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self) -> None:
        """In a thread."""
        time.sleep(self.seconds)

    def on_loop(self) -> Awaitable[None]:
        """In a task."""
        return _clock.sleep(self.seconds)


class Now:
    """Read the clocks that `Sleep` follows."""

    __slots__ = ()

    def __call__(self) -> Moment:
        """In a thread."""
        return _clock.moment()

    def on_loop(self) -> Moment:
        """In a task."""
        return Moment(_clock.monotonic(), asyncio.get_running_loop().time())


# What to call; under asyncio an awaitable result is awaited.
Effect = Callable[[], Any]
Flow = Generator[Effect, Any, T]


def run(flow: Flow[T]) -> T:
    """Run a flow in the calling thread."""
    try:
        effect = next(flow)
        while True:
            try:
                result = effect()
            except BaseException as error:
                effect = flow.throw(error)
            else:
                effect = flow.send(result)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


async def run_async(flow: Flow[T]) -> T:
    """Run a flow in the current task."""
    try:
        effect = next(flow)
        while True:
            try:
                if isinstance(effect, Now):
                    result: Any = effect.on_loop()
                else:
                    result = effect.on_loop() if isinstance(effect, Sleep) else effect()
                    if inspect.isawaitable(result):
                        result = await result
            except BaseException as error:
                effect = flow.throw(error)
            else:
                effect = flow.send(result)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


def within_thread(seconds: float | None, action: Callable[[], T]) -> T | None:
    """Call `action`; None if it takes longer than that, and then it goes on in a thread of its own."""
    if seconds is None or seconds <= 0:
        return action()
    outcome: concurrent.futures.Future[T] = concurrent.futures.Future()

    def work() -> None:
        try:
            outcome.set_result(action())
        except BaseException as error:
            outcome.set_exception(error)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(work,), name="redis-message-queue-drain", daemon=True).start()
    concurrent.futures.wait((outcome,), seconds)
    return outcome.result() if outcome.done() else None


async def within_task(seconds: float | None, action: Callable[[], Any]) -> Any:
    """Await what `action` gives; None if it takes longer than that, and then it is cancelled."""
    result = action()
    if not inspect.isawaitable(result):
        return result
    if seconds is None or seconds <= 0:
        return await result
    try:
        async with _clock.timeout(seconds) as limit:
            return await result
    except TimeoutError:
        if limit.expired():
            return None
        raise


def pause(seconds: float, stopped: Callable[[], bool] | None) -> Flow[None]:
    """Sleep, but wake within 50 ms once `stopped` says so."""
    if stopped is None:
        yield Sleep(seconds)
        return
    while seconds > 0 and not stopped():
        step = min(_STEP_SECONDS, seconds)
        yield Sleep(step)
        seconds -= step
