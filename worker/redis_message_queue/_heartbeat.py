"""Keeps the lease of one message while its handler runs, each renewal a call of its own.

When one is due is told by the thread that all renewals of the process share. For threads it also makes the
call; for asyncio it has the event loop begin a task. A loop that is blocked renews nothing: handlers that may
block it for as long as a lease need a `redis_message_queue.leases.LeaseKeeper`.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import math
from typing import TYPE_CHECKING, Any

from redis_message_queue import _clock
from redis_message_queue._callbacks import report_callback_failure
from redis_message_queue._clock import monotonic
from redis_message_queue._timer import THREAD_NAME, Timer, timers
from redis_message_queue.interrupt_handler import BaseGracefulInterruptHandler

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class _Heartbeat(Timer, BaseGracefulInterruptHandler):
    """Beats every `interval_seconds` until `beat(self)` is False or `stop()` is called.

    It is the stop signal of its own renewals as well. One that is dropped without `stop()`, as by an
    interrupt, has ended too. When a lease of `lease_seconds` ends while a beat is at it, `lapsed(self)` is
    called, and this heartbeat has ended. `beat` and `lapsed` are of the heartbeat's own face.
    """

    def __init__(
        self,
        interval_seconds: float,
        beat: Callable[[Any], Any],
        lease_seconds: float | None,
        lapsed: Callable[[Any], Any],
    ) -> None:
        self._interval = interval_seconds
        self._lease = math.inf if lease_seconds is None else lease_seconds
        self._beat = beat
        self._lapsed = lapsed
        self._ends = math.inf
        self._stopped = False

    def is_interrupted(self) -> bool:
        """True since `stop()`."""
        return self._stopped

    def start(self) -> None:
        """Begin. Raises RuntimeError when the process cannot start another thread."""
        now = monotonic()
        self._ends = now + self._lease
        timers.by(self, now + self._interval)

    @property
    def _stop_seconds(self) -> float:
        return max(2 * self._interval, 0.1)


class LeaseHeartbeat(_Heartbeat):
    """For threads."""

    _beating = False

    def start(self) -> None:
        """Begin. Raises RuntimeError when the process cannot start another thread."""
        self._context = contextvars.Context()
        super().start()

    def stop(self) -> bool:
        """End, waiting for a renewal on its way; False if that took too long. Harmless when repeated."""
        self._stopped = True
        return timers.cancel(self, self._stop_seconds)

    def fire(self) -> float:
        """Beat; if a beat is at it already, its lease has ended."""
        goes_on = False
        if self._beating:
            if not self._stopped:
                self._stopped = True
                self._guarded(contextvars.Context(), self._lapsed)
        elif not self._stopped:
            self._beating, asked_at = True, monotonic()
            if self._ends < math.inf:
                with contextlib.suppress(RuntimeError):  # no other thread can be started: it is told late
                    timers.by(self, max(self._ends, asked_at + self._interval))
            goes_on = self._guarded(self._context, self._beat) is True
            timers.cancel(self)  # the end of the lease
            self._beating, self._ends = False, asked_at + self._lease
        return monotonic() + self._interval if goes_on and not self._stopped else math.inf

    def _guarded(self, context: contextvars.Context, action: Callable[[Any], Any]) -> Any:
        try:
            return context.run(action, self)
        except BaseException as error:  # an exit that a callback raised ends this heartbeat alone
            report_callback_failure("heartbeat", error)


class AsyncLeaseHeartbeat(_Heartbeat):
    """For asyncio; it belongs to the event loop in which it was started, and to the context."""

    may_hang = False  # in the thread; the loop has calls that hang
    _task: asyncio.Task[None] | None = None
    _gives_up_at = math.inf
    _ended = False

    def start(self) -> None:
        """Begin. Raises RuntimeError when the process cannot start another thread."""
        self._loop, self._context = asyncio.get_running_loop(), contextvars.copy_context()
        super().start()

    async def stop(self) -> bool:
        """End, cancelling a renewal on its way; False if that took too long. Harmless when repeated."""
        self._stopped = True
        timers.cancel(self)
        if self._task is None or self._task.done():
            return True
        self._task.cancel()
        with contextlib.suppress(TimeoutError):
            async with _clock.timeout(self._stop_seconds):
                await asyncio.wait({self._task})
        return self._task.done()

    def fire(self) -> float:
        """Have the event loop beat."""
        if self._stopped or self._ended:
            return math.inf
        try:
            self._loop.call_soon_threadsafe(self._tick)
        except RuntimeError:  # the loop was closed meanwhile
            return math.inf
        now = monotonic()
        return min(now + self._interval, self._gives_up_at if self._gives_up_at > now else math.inf)

    def _tick(self) -> None:
        """Beat; if a beat is at it already and the lease has ended, that is over."""
        now = monotonic()
        if self._stopped or self._ended:
            return
        if self._task is None or self._task.done():
            self._gives_up_at = max(self._ends, now + self._interval)
            self._begin(self._renew(now))
        elif now >= self._gives_up_at:
            self._stopped = True
            self._task.cancel()
            self._begin(self._lapsed(self))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = self._loop.create_task(work, name=THREAD_NAME, context=self._context)

    async def _renew(self, asked_at: float) -> None:
        goes_on = False
        try:
            goes_on = await self._beat(self)
        finally:
            self._ended = not goes_on
            self._ends, self._gives_up_at = asked_at + self._lease, math.inf
