"""Keeps the leases of messages while their handlers run, each by calls of its own, from a shared thread.

A thread for each message would cost more than the rest of a short message. So one thread of the process
watches over all heartbeats, and for each renewal it first hands the watch over: a renewal that hangs delays
no other one, and there are never more threads than messages in hand.
"""

from __future__ import annotations

import contextvars
import sys
import threading
import weakref
from typing import TYPE_CHECKING

from redis_message_queue._clock import monotonic
from redis_message_queue._schedule import Schedule
from redis_message_queue._watch import Watch
from redis_message_queue.interrupt_handler import BaseGracefulInterruptHandler

if TYPE_CHECKING:
    from collections.abc import Callable

HEARTBEAT_NAME = "redis-message-queue-lease-heartbeat"
# The thread ends once no heartbeat came within such a time: starting one for each message would be dear.
_LOOK_SECONDS = 0.1


class LeaseHeartbeat(BaseGracefulInterruptHandler):
    """Calls `beat(self)` every `interval_seconds` until it returns False or `stop()` is called.

    It is the stop signal of its own renewals as well. Without an interval it does nothing. One that is
    dropped without `stop()`, as by an interrupt, has ended too.
    """

    def __init__(self, interval_seconds: float | None, beat: Callable[[LeaseHeartbeat], bool]) -> None:
        self._interval = interval_seconds
        self._beat = beat
        self._stopped = False
        self._context: contextvars.Context | None = None
        self.suppressed = False
        """Set once the handler has ended: losing the lease is then reported by the settlement."""

    def is_interrupted(self) -> bool:
        """True since `stop()`."""
        return self._stopped

    def start(self) -> None:
        """Begin. Raises RuntimeError when the process cannot start another thread."""
        if self._interval is not None and not self._stopped:
            _heartbeats.add(self, self._interval)

    def stop(self) -> bool:
        """End, waiting for a renewal on its way; False if that took too long. Harmless when repeated."""
        self._stopped = True
        return self._interval is None or _heartbeats.remove(self, max(2 * self._interval, 0.1))

    def renew(self) -> float | None:
        """Beat once; the seconds until the next time, or None. For the thread that all heartbeats share."""
        self._context = self._context or contextvars.Context()
        goes_on = False
        try:
            goes_on = self._context.run(self._beat, self)
        except BaseException:  # an exit that a callback raised ends this heartbeat alone
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
        return self._interval if goes_on and not self._stopped else None


class _Heartbeats:
    """All heartbeats of the process, and their thread."""

    def __init__(self) -> None:
        self._watch = Watch(HEARTBEAT_NAME, self._look, self._forget)
        self._forget()

    def _forget(self) -> None:
        self._due: Schedule[weakref.ref[LeaseHeartbeat]] = Schedule()
        self._renewing: dict[LeaseHeartbeat, threading.Event] = {}
        self._came = False

    def add(self, heartbeat: LeaseHeartbeat, interval_seconds: float) -> None:
        """Raises RuntimeError when the process cannot start another thread."""
        when = monotonic() + interval_seconds
        with self._watch.lock:
            self._came = True
            self._due.set(weakref.ref(heartbeat), when)
            self._watch.by(when)

    def remove(self, heartbeat: LeaseHeartbeat, patience_seconds: float) -> bool:
        """Wait for a renewal on its way; False if that took too long."""
        with self._watch.lock:
            self._due.discard(weakref.ref(heartbeat))
            renewed = self._renewing.get(heartbeat)
        return renewed is None or renewed.wait(patience_seconds)

    def _look(self) -> float | None:
        while heartbeat := self._take():
            seconds = heartbeat.renew()
            with self._watch.lock:
                self._renewing.pop(heartbeat).set()
                if seconds is not None:
                    self._due.set(weakref.ref(heartbeat), monotonic() + seconds)
            del heartbeat  # or it could not be dropped while this sleeps
        with self._watch.lock:
            came, self._came = self._came, False
            first = self._due.next_at
            if first is None and not came:
                return None
            soon = monotonic() + _LOOK_SECONDS
            return soon if first is None else min(first, soon)

    def _take(self) -> LeaseHeartbeat | None:
        """The next heartbeat that is due; the watch over the others is handed over."""
        with self._watch.lock:
            while reference := self._due.pop(monotonic()):
                heartbeat = reference()
                if heartbeat and not heartbeat.is_interrupted():
                    self._renewing[heartbeat] = threading.Event()
                    self._watch.hand_over(self._due.next_at)
                    return heartbeat
        return None


_heartbeats = _Heartbeats()
