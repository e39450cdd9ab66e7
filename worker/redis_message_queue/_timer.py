"""What falls due, and the one thread of the process that does it: there only while something is to come.

Such is the heartbeat of one message, which keeps its lease while its handler runs, each renewal a call of
its own. For threads it also makes the call; for asyncio it has the event loop begin a task. A loop that is
blocked renews nothing: handlers that may block it for as long as a lease need a `leases.LeaseKeeper`.

Before a timer that may hang fires the watch over the others is handed to another thread. So it delays no
other, and there are never more threads than timers that hang, and one.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import heapq
import logging
import math
import queue
import sys
import threading
import weakref
from abc import ABC, abstractmethod
from itertools import count
from typing import TYPE_CHECKING, Any

from redis_message_queue import _clock
from redis_message_queue._callbacks import report_callback_failure
from redis_message_queue._clock import monotonic
from redis_message_queue._local_state import ForgottenAtFork
from redis_message_queue.interrupt_handler import BaseGracefulInterruptHandler

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

logger = logging.getLogger(__name__)

THREAD_NAME = "redis-message-queue-lease-heartbeat"
# The thread ends once nothing was set for such a time: starting one for each message would be dear.
_LOOK_SECONDS = 0.1
# So many outdated entries may lie in the heap beyond as many as there are current ones.
_SLACK = 64


class Timer(ABC):
    """Something that falls due, by `monotonic`. One that is dropped never does."""

    due_at: float = math.inf
    may_hang = True

    @abstractmethod
    def fire(self) -> float:
        """Do what is due, in the shared thread; when to fire again, infinity for never.

        While it takes long another thread calls it as well, if it has set itself for that before.
        """


class Timers(ForgottenAtFork):
    """All timers of the process, and their thread. Re-entrant, since a signal handler may set one as well."""

    def forget(self) -> None:
        """There are none, and no thread."""
        self._lock = threading.RLock()
        # Deadlines, first things first. What was set anew, cancelled or dropped since is skipped.
        self._heap: list[tuple[float, int, weakref.ref[Timer]]] = []
        self._most = _SLACK
        self._order = count()  # equal times keep the order of their setting, and timers need no order
        self._firing: dict[threading.Thread, tuple[Timer, threading.Event]] = {}
        self._thread: threading.Thread | None = None  # that has the watch
        self._sleeps_until = -math.inf
        self._set_lately = False
        # Unlike an Event it cannot be left locked by an interrupt.
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()

    def by(self, timer: Timer, when: float) -> None:
        """Have `timer` fire at `when`, or earlier if it was to. Raises RuntimeError when no thread starts."""
        with self._lock:
            self._set_lately = True
            self._set(timer, when)
            if self._thread is None:
                self._start()

    def cancel(self, timer: Timer, wait_seconds: float = 0.0) -> bool:
        """It fires no more; False if it is at it, and still was after so long. Harmless when repeated."""
        with self._lock:
            timer.due_at = math.inf
            if not self._firing:
                return True
            me = threading.current_thread()
            ends = [end for who, (what, end) in self._firing.items() if what is timer and who is not me]
        until = monotonic() + wait_seconds
        return all(end.wait(max(0.0, until - monotonic())) for end in ends)

    def _set(self, timer: Timer, when: float) -> None:
        if when >= timer.due_at:
            return
        if len(self._heap) >= self._most:
            current = list(filter(_is_current, self._heap))
            heapq.heapify(current)
            self._heap, self._most = current, 2 * len(current) + _SLACK
        # In this order: an interrupt between leaves an entry that is outdated, not a timer without one.
        heapq.heappush(self._heap, (when, next(self._order), weakref.ref(timer)))
        timer.due_at = when
        if when < self._sleeps_until:
            self._sleeps_until = -math.inf
            self._bell.put(None)

    def _next_at(self) -> float:
        while self._heap and not _is_current(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf

    def _start(self) -> None:
        self._thread = None  # and stays so if this fails; one that an interrupt left on its own takes over
        thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
        thread.start()
        self._thread = thread

    def _run(self) -> None:
        me = threading.current_thread()
        try:
            while self._sleep(me):
                while timer := self._take(me):
                    self._fire(timer, me)
                    del timer  # or it could not be dropped while this sleeps
        finally:
            with self._lock:
                if self._thread is me:
                    self._thread = None

    def _sleep(self, me: threading.Thread) -> bool:
        """Until something may be due; False when another has the watch, or nothing is to come."""
        with self._lock:
            if self._thread not in (me, None):
                return False
            until = min(self._next_at(), monotonic() + _LOOK_SECONDS)
            # Decided under the lock: whoever sets a timer next finds no thread, and starts one.
            idle = self._next_at() == math.inf and not self._set_lately
            self._thread = None if idle else me
            self._set_lately, self._sleeps_until = False, -math.inf if idle else until
        if not idle:
            with contextlib.suppress(queue.Empty):
                self._bell.get(timeout=max(0.0, until - monotonic()))
        return not idle

    def _take(self, me: threading.Thread) -> Timer | None:
        """What is due, with the watch handed over if that may hang."""
        with self._lock:
            if self._thread not in (me, None):
                return None
            self._sleeps_until = -math.inf
            while self._next_at() <= monotonic():
                timer = heapq.heappop(self._heap)[2]()
                if timer is None:  # dropped at this very moment
                    continue
                timer.due_at = math.inf
                self._firing[me] = timer, threading.Event()
                if timer.may_hang:
                    self._hand_over()
                return timer
        return None

    def _hand_over(self) -> None:
        self._thread = None
        if self._next_at() < math.inf:
            try:
                self._start()
            except RuntimeError:
                logger.warning("No thread can be started: what falls due has to wait for this one")

    def _fire(self, timer: Timer, me: threading.Thread) -> None:
        when = math.inf
        try:
            when = timer.fire()
        except BaseException:  # the thread is needed by others
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), me)))
        finally:
            with self._lock:
                self._firing.pop(me)[1].set()
                self._set(timer, when)


def _is_current(entry: tuple[float, int, weakref.ref[Timer]]) -> bool:
    timer = entry[2]()
    return timer is not None and timer.due_at == entry[0]


timers = Timers()


# -- the heartbeat of one message --


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
