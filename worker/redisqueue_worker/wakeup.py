"""Tells the consumer loop that messages have come, so that an idle worker costs Redis next to nothing."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from redis_message_queue.trouble import AWAY

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis_message_queue.consumer import Consumer
    from redisqueue_worker.health import Pulse


log = logging.getLogger(__name__)

SLICE_SECONDS = 1.0


class WakeUp(threading.Thread):
    """One thread that blocks on the queue while it is armed; one for all slots of the process.

    It disarms itself when it calls `wake`: the consumer loop looks, and arms it again if it wants to.
    """

    def __init__(self, connect: Callable[[], Consumer], wake: Callable[[], None], pulse: Pulse) -> None:
        super().__init__(name="redisqueue-wakeup", daemon=True)
        self._connect = connect
        self._wake = wake
        self._pulse = pulse
        self._armed = threading.Event()
        self._ended = threading.Event()

    def arm(self) -> None:
        self._armed.set()

    def disarm(self) -> None:
        self._armed.clear()

    def end(self) -> None:
        self._ended.set()
        self._armed.set()

    def run(self) -> None:
        consumer: Consumer | None = None
        while not self._ended.is_set():
            self._pulse.beat()
            if not self._armed.wait(SLICE_SECONDS) or self._ended.is_set():
                continue
            try:
                with self._pulse.away():
                    consumer = consumer or self._connect()
                    came = consumer.wait(SLICE_SECONDS)
            except AWAY as error:
                # The consumer loop meets the same trouble and tells about it.
                log.debug("waiting failed", extra={"error": str(error)})
                self._ended.wait(SLICE_SECONDS)
                continue
            if came and self._armed.is_set():
                self._armed.clear()
                self._wake()
