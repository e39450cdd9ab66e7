"""A thread that waits for what falls due, and that is there only while there is something to wait for."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import queue
import threading
import weakref
from typing import TYPE_CHECKING

from redis_message_queue._clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)


class Watch:
    """At most one daemon thread calls `look` whenever something may be due.

    Args:
        name: the thread's name.
        look: does what is due, and answers when to look again (`time.monotonic()`); None ends the thread.
        forget: called in a forked child, which has neither the thread nor what it watched over.

    `lock` is re-entrant and may guard what `look` looks at as well.
    """

    def __init__(self, name: str, look: Callable[[], float | None], forget: Callable[[], None]) -> None:
        self._name = name
        self._look = look
        self._forget = forget
        self._reset()
        _watches.add(self)

    def _reset(self) -> None:
        self.lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._asked = math.inf
        self._sleeps_until = -math.inf
        # Unlike an Event it cannot be left locked by an interrupt.
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()

    def after_fork(self) -> None:
        """Begin afresh: the lock may have been held by a thread that this process does not have."""
        self._reset()
        self._forget()

    def by(self, when: float) -> None:
        """Have the thread look at `when` at the latest. Raises RuntimeError when none can be started."""
        with self.lock:
            self._asked = min(self._asked, when)
            if self._thread is None:
                self._start()
            elif when < self._sleeps_until:
                self._sleeps_until = -math.inf
                self._bell.put(None)

    def wake(self) -> bool:
        """Have the thread look now; False when there is none."""
        with self.lock:
            if self._thread is None:
                return False
            self.by(-math.inf)
            return True

    def hand_over(self, when: float | None) -> None:
        """For `look`, before it does what may take long: another thread looks at `when`, unless None."""
        with self.lock:
            self._thread = None
            if when is not None:
                try:
                    self.by(when)
                except RuntimeError:
                    logger.warning("No thread can be started: what falls due has to wait for this one")

    def join(self, timeout_seconds: float) -> bool:
        """Wait for the thread to end; False if it did not within the timeout."""
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(timeout_seconds)
        return not thread.is_alive()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        try:
            self._thread.start()
        except BaseException:  # also an interrupt, with the thread running: then it is not the one, and ends
            self._thread = None
            raise

    def _run(self) -> None:
        me = threading.current_thread()
        with self.lock:
            if self._thread is not me:
                return
        try:
            while self._sleep(me, self._look()):
                self._sleeps_until = -math.inf
        finally:
            with self.lock:
                if self._thread is me:
                    self._thread = None

    def _sleep(self, me: threading.Thread, when: float | None) -> bool:
        """Sleep until `when`, or earlier if asked to; False when this thread should end."""
        with self.lock:
            if self._thread not in (me, None):
                return False
            until = min(math.inf if when is None else when, self._asked)
            self._asked = math.inf
            # Decided under the lock: whoever asks next finds no thread, and starts one.
            self._thread = None if until == math.inf else me
            if self._thread is None:
                return False
            self._sleeps_until = until
        seconds = until - monotonic()
        if seconds > 0:
            with contextlib.suppress(queue.Empty):
                self._bell.get(timeout=seconds)
        return True


_watches: weakref.WeakSet[Watch] = weakref.WeakSet()


def _after_fork() -> None:
    for watch in list(_watches):
        watch.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
