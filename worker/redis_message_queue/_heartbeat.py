"""Keeps the leases of messages while their handlers run, each by calls of its own, from a shared thread.

A thread for each message would cost more than the rest of a short message. So one thread of the process
watches over all heartbeats, and for each renewal it first hands the watch over: a renewal that hangs delays
no other one, and there are never more threads than messages in hand.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
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
    dropped without `stop()`, as by an interrupt, has ended too. When a lease of `lease_seconds` ends while a
    beat is at it, `lapsed(self)` is called, and this heartbeat has ended.
    """

    def __init__(
        self,
        interval_seconds: float | None,
        beat: Callable[[LeaseHeartbeat], bool],
        lease_seconds: float | None = None,
        lapsed: Callable[[LeaseHeartbeat], object] = lambda _: None,
    ) -> None:
        self._interval = interval_seconds
        self._beat = beat
        self._lease = math.inf if lease_seconds is None else lease_seconds
        self._ends = math.inf
        self._lapsed = lapsed
        self._lapse = _Lapse(self)
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
            self._ends = monotonic() + self._lease
            _heartbeats.add(self, self._interval)

    def stop(self) -> bool:
        """End, waiting for a renewal on its way; False if that took too long. Harmless when repeated."""
        self._stopped = True
        return self._interval is None or _heartbeats.remove(self, max(2 * self._interval, 0.1))

    def renew(self) -> float | None:
        """Beat once; the seconds until the next time, or None. For the thread that all heartbeats share."""
        self._context = self._context or contextvars.Context()
        goes_on, asked_at = False, monotonic()
        try:
            if self._ends < math.inf:
                with contextlib.suppress(RuntimeError):  # no thread can be started: then it is told late
                    _heartbeats.add(self._lapse, max(self._ends - asked_at, self._interval or 0.0))
            goes_on = self._context.run(self._beat, self)
            self._ends = asked_at + self._lease
        except BaseException:  # an exit that a callback raised ends this heartbeat alone
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
        finally:
            _heartbeats.discard(self._lapse)
        return self._interval if goes_on and not self._stopped else None

    def lapse(self) -> None:
        """The lease has ended, and nobody knows whether it was renewed."""
        if not self._stopped:
            self._stopped = True
            contextvars.Context().run(self._lapsed, self)


class _Lapse:
    """The end of a lease as something that falls due: told by one thread while another one still renews."""

    def __init__(self, heartbeat: LeaseHeartbeat) -> None:
        self._heartbeat = weakref.ref(heartbeat)

    def is_interrupted(self) -> bool:
        heartbeat = self._heartbeat()
        return heartbeat is None or heartbeat.is_interrupted()

    def renew(self) -> None:
        if heartbeat := self._heartbeat():
            heartbeat.lapse()


class _Heartbeats:
    """All heartbeats of the process, and their thread."""

    def __init__(self) -> None:
        self._watch = Watch(HEARTBEAT_NAME, self._look, self._forget)
        self._forget()

    def _forget(self) -> None:
        self._due: Schedule[weakref.ref[LeaseHeartbeat | _Lapse]] = Schedule()
        self._renewing: dict[LeaseHeartbeat | _Lapse, threading.Event] = {}
        self._came = False

    def add(self, heartbeat: LeaseHeartbeat | _Lapse, interval_seconds: float) -> None:
        """Raises RuntimeError when the process cannot start another thread."""
        now = monotonic()
        when = now + interval_seconds
        with self._watch.lock:
            self._came = True
            self._due.set(weakref.ref(heartbeat), when)
            # Never asked for a far time, which would keep the thread when nothing is left to wait for.
            self._watch.by(min(when, now + _LOOK_SECONDS))

    def remove(self, heartbeat: LeaseHeartbeat, patience_seconds: float) -> bool:
        """Wait for a renewal on its way; False if that took too long."""
        with self._watch.lock:
            self._due.discard(weakref.ref(heartbeat))
            renewed = self._renewing.get(heartbeat)
        return renewed is None or renewed.wait(patience_seconds)

    def discard(self, lapse: _Lapse) -> None:
        """It does not fall due any more."""
        with self._watch.lock:
            self._due.discard(weakref.ref(lapse))

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

    def _take(self) -> LeaseHeartbeat | _Lapse | None:
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
