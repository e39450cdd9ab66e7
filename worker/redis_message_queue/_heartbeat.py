"""Keeps the lease of one message while its handler runs, from a thread."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from redis_message_queue.interrupt_handler import BaseGracefulInterruptHandler

if TYPE_CHECKING:
    from collections.abc import Callable

HEARTBEAT_NAME = "redis-message-queue-lease-heartbeat"


class LeaseHeartbeat(BaseGracefulInterruptHandler):
    """Calls `beat(self)` every `interval_seconds` until it returns False or `stop()` is called.

    It is the stop signal of its own renewals as well. Without an interval it does nothing.
    """

    def __init__(self, interval_seconds: float | None, beat: Callable[[LeaseHeartbeat], bool]) -> None:
        self._interval = interval_seconds
        self._beat = beat
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.suppressed = False
        """Set once the handler has ended: losing the lease is then reported by the settlement."""

    def is_interrupted(self) -> bool:
        """True since `stop()`."""
        return self._stop.is_set()

    def start(self) -> None:
        """Begin. Raises RuntimeError when the process cannot start another thread."""
        if self._interval is not None:
            self._thread = threading.Thread(target=self._run, name=HEARTBEAT_NAME, daemon=True)
            self._thread.start()

    def stop(self) -> bool:
        """End, waiting for a renewal on its way; False if that took too long. Harmless when repeated."""
        self._stop.set()
        if self._thread is None or self._interval is None or not self._thread.ident:
            return True
        self._thread.join(max(2 * self._interval, 0.1))
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            if not self._beat(self):
                return
