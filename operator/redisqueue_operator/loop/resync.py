"""Every RedisQueue is looked at now and then, whether or not a watch told anything."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from redisqueue_operator.api.model import Key
    from redisqueue_operator.platform import Platform

log = logging.getLogger(__name__)

# Between two that were asked for: a broken watch is followed by the lists of all kinds.
LEAST_SECONDS = 2.0
GAP_SECONDS = 5.0


class Resync:
    """Lists what there is, and has all of it looked at: what is gone too.

    Args:
        look: told of every key that a list showed.
        every_seconds: from one list to the next, give or take a tenth.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        platform: Platform,
        look: Callable[[Iterable[Key]], None],
        every_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._platform = platform
        self._look = look
        self._every_seconds = every_seconds
        self._clock = clock
        self._wanted = asyncio.Event()
        self._tried = asyncio.Event()
        self.tried_at = clock()

    async def first(self) -> None:
        """Wait until the first list was tried: what it shows need not be written."""
        await self._tried.wait()

    def soon(self) -> None:
        """Do not wait for the next time: something may have been missed."""
        self._wanted.set()

    async def run(self) -> None:
        """Until cancelled. A list that fails is tried again within seconds."""
        self.tried_at = self._clock()
        while True:
            self._wanted.clear()
            try:
                self._look(await self._platform.keys())
                pause = self._every_seconds * random.uniform(0.9, 1.1)  # noqa: S311
            except Exception as error:
                log.warning("resync failed: %s", error)
                pause = random.uniform(1.0, 5.0)  # noqa: S311
            self.tried_at = self._clock()
            self._tried.set()
            least = min(pause, LEAST_SECONDS)
            await asyncio.sleep(least)
            await self._wait(pause - least)

    async def _wait(self, seconds: float) -> None:
        """That long, or until a list is wanted; what could not be seen is asked for meanwhile."""
        until = self._clock() + seconds
        while (left := until - self._clock()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, GAP_SECONDS)):
                    await self._wanted.wait()
                    return
            with contextlib.suppress(OSError, TimeoutError):
                if await self._platform.fill_gaps():
                    self._wanted.set()
