"""Watches over handlers: stops those that overrun their deadline, abandons those that cannot be stopped."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from redis_message_queue._clock import monotonic

if TYPE_CHECKING:
    from redisqueue_worker.in_flight import InFlight, InFlightTable
    from redisqueue_worker.metrics import Metrics


log = logging.getLogger(__name__)

# How long a cancelled handler may take to end before it counts as one that never will.
CANCEL_SECONDS = 5.0


class HandlerTimeouts:
    """Looks after what runs; `look` is to be called a few times a second.

    Args:
        max_in_flight_seconds: a handler without a deadline is reported as hung after this.

    Attributes:
        can_cancel: whether handlers run where they can be stopped; then they get a moment for it.
    """

    def __init__(self, in_flight: InFlightTable, metrics: Metrics, max_in_flight_seconds: float) -> None:
        self._in_flight = in_flight
        self._metrics = metrics
        self._max_in_flight_seconds = max_in_flight_seconds
        self._warned: set[InFlight] = set()
        self.can_cancel = False

    @property
    def has_abandoned(self) -> bool:
        """Whether some handler will not end, so that only a fresh process is rid of it."""
        return any(message.abandoned for message in self._in_flight.running())

    def look(self) -> None:
        """Stop, abandon and report what is due for it."""
        now = monotonic()
        patience = CANCEL_SECONDS if self.can_cancel else 0.0
        for message in self._in_flight.running():
            remaining = message.context.remaining_seconds
            if remaining is None:
                self._report_hung(message)
            elif not message.queued and message.timed_out_at is None and remaining <= 0:
                self._stop(message, now)
            overrun = message.timed_out_at is not None and now >= message.timed_out_at + patience
            if overrun and not message.abandoned:
                message.abandoned = True
                self._metrics.abandoned.inc()
                _tell("handler cannot be stopped: replacing the process when the others are done", message)
        self._warned.intersection_update(self._in_flight.all())

    def _stop(self, message: InFlight, now: float) -> None:
        message.timed_out_at = now
        self._metrics.timeouts.inc()
        _tell("handler timed out", message)
        if message.cancel:
            message.cancel()

    def _report_hung(self, message: InFlight) -> None:
        if message.age_seconds > self._max_in_flight_seconds and message not in self._warned:
            self._warned.add(message)
            _tell("handler seems to hang; consider a handler timeout", message)


def _tell(text: str, message: InFlight) -> None:
    log.error(text, extra={"message_id": message.claim.id, "age_seconds": round(message.age_seconds, 1)})
