"""The clock that bounds every wait: one that tools which freeze time in tests leave alone.

freezegun stops `time.monotonic` for the whole process, and with it the timers of an event loop. A wait
measured by that clock never ends, and a lease seems to last for ever, or to have ended long ago.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from contextlib import asynccontextmanager, contextmanager
from types import BuiltinFunctionType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

# So far apart the two clocks are only when a tool has replaced one, below the level of Python.
_FROZEN_SECONDS = 1.0

monotonic: Callable[[], float]
"""Seconds on a clock that only goes forward; the same as `time.monotonic()` where nobody replaced that."""
if hasattr(time, "clock_gettime"):
    # On macOS CLOCK_MONOTONIC goes on while the machine sleeps, unlike time.monotonic.
    monotonic = functools.partial(time.clock_gettime, getattr(time, "CLOCK_UPTIME_RAW", time.CLOCK_MONOTONIC))
else:
    monotonic = functools.partial(time.monotonic)


class Moment(NamedTuple):
    """A moment on two clocks: the one nobody freezes, and the one that tests may move by a patch."""

    real: float
    told: float

    def since(self, earlier: Moment) -> float:
        """Seconds since an earlier moment, by the clock that went on further."""
        return max(self.real - earlier.real, self.told - earlier.told)


def moment() -> Moment:
    """The moment as `time.monotonic` tells it."""
    return Moment(monotonic(), time.monotonic())


def since_told(told: float) -> float:
    """The time on this clock of a reading of `time.monotonic` that somebody else took."""
    return monotonic() - max(0.0, time.monotonic() - told)


def _loop_stands_still() -> bool:
    """Whether the timers of the event loop may never fire; not when a test has them fire by a patch."""
    if asyncio.sleep is not asyncio.tasks.sleep:
        return False
    replaced = not isinstance(time.monotonic, BuiltinFunctionType)
    return replaced or abs(time.monotonic() - monotonic()) > _FROZEN_SECONDS


@contextmanager
def _alarm(seconds: float, ring: Callable[[], object]) -> Iterator[None]:
    """Have the event loop call `ring` after that time, whatever its own clock says, unless left before."""
    loop = asyncio.get_running_loop()
    waiting = True

    def ring_if_waiting() -> None:
        if waiting:
            ring()

    def tell() -> None:
        try:
            loop.call_soon_threadsafe(ring_if_waiting)
        except RuntimeError:  # the loop was closed meanwhile
            return

    timer = threading.Timer(seconds, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        waiting = False
        timer.cancel()


async def sleep(seconds: float) -> None:
    """As `asyncio.sleep`, also where the clock of the event loop stands still."""
    if seconds <= 0 or not _loop_stands_still():
        await asyncio.sleep(seconds)
        return
    over = asyncio.Event()
    with _alarm(seconds, over.set):
        await over.wait()


@asynccontextmanager
async def timeout(seconds: float) -> AsyncIterator[asyncio.Timeout]:
    """As `asyncio.timeout`, also where the clock of the event loop stands still."""
    async with asyncio.timeout(seconds) as limit:
        if not _loop_stands_still():
            yield limit
            return
        with _alarm(seconds, lambda: limit.reschedule(asyncio.get_running_loop().time())):
            yield limit
