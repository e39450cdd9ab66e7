"""Keeps the lease of one message while its handler runs, from a task.

A loop that is blocked runs no task: handlers that may block it for as long as a lease need a
`redis_message_queue.lease_keeper.LeaseKeeper`, whose thread goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from redis_message_queue import _clock
from redis_message_queue._heartbeat import HEARTBEAT_NAME
from redis_message_queue.interrupt_handler import BaseGracefulInterruptHandler

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class LeaseHeartbeat(BaseGracefulInterruptHandler):
    """Awaits `beat(self)` every `interval_seconds` until it returns False or `stop()` is called.

    It is the stop signal of its own renewals as well. Without an interval it does nothing. When a lease of
    `lease_seconds` ends while a beat is at it, the beat is cancelled, `lapsed(self)` awaited, and this ends.
    """

    def __init__(
        self,
        interval_seconds: float | None,
        beat: Callable[[LeaseHeartbeat], Awaitable[bool]],
        lease_seconds: float | None = None,
        lapsed: Callable[[LeaseHeartbeat], Awaitable[object]] | None = None,
    ) -> None:
        self._interval = interval_seconds
        self._beat = beat
        self._lease = lease_seconds
        self._lapsed = lapsed
        self._stopped = False
        self._task: asyncio.Task[None] | None = None
        self.suppressed = False
        """Set once the handler has ended: losing the lease is then reported by the settlement."""

    def is_interrupted(self) -> bool:
        """True since `stop()`."""
        return self._stopped

    def start(self) -> None:
        """Begin."""
        if self._interval is not None:
            self._task = asyncio.create_task(self._run(self._interval), name=HEARTBEAT_NAME)

    async def stop(self) -> bool:
        """End, cancelling a renewal on its way; False if that took too long. Harmless when repeated."""
        self._stopped = True
        if self._task is None or self._interval is None:
            return True
        self._task.cancel()
        await asyncio.sleep(0)  # all it takes between two renewals, and much cheaper than to wait
        if self._task.done():
            return True
        with contextlib.suppress(TimeoutError):
            async with _clock.timeout(max(2 * self._interval, 0.1)):
                await asyncio.wait({self._task})
        return self._task.done()

    async def _run(self, interval: float) -> None:
        ends = _clock.monotonic() + (self._lease or 0.0)
        while not self._stopped:
            await _clock.sleep(interval)
            asked_at = _clock.monotonic()
            if not await self._beat_within(max(ends - asked_at, interval)):
                return
            ends = asked_at + (self._lease or 0.0)

    async def _beat_within(self, seconds: float) -> bool:
        if self._lease is None or self._lapsed is None:
            return await self._beat(self)
        try:
            async with _clock.timeout(seconds) as limit:
                return await self._beat(self)
        except TimeoutError:
            if not limit.expired():
                raise
        if not self._stopped:
            self._stopped = True
            await self._lapsed(self)
        return False
