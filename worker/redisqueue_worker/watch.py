"""Watches over handlers: stops those that overrun their deadline, abandons those that cannot be stopped."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from redis_message_queue._clock import monotonic

if TYPE_CHECKING:
    from redisqueue_worker.flights import Flight, Flights
    from redisqueue_worker.metrics import Metrics

log = logging.getLogger(__name__)

# How long a cancelled handler may take to end before it counts as one that never will.
CANCEL_SECONDS = 5.0


class Watch:
    """Looks after what runs; `look` is to be called a few times a second.

    Args:
        max_in_flight_seconds: a handler without a deadline is reported as hung after this.

    Attributes:
        can_cancel: whether handlers run where they can be stopped; then they get a moment for it.
    """

    def __init__(self, flights: Flights, metrics: Metrics, max_in_flight_seconds: float) -> None:
        self._flights = flights
        self._metrics = metrics
        self._max_in_flight_seconds = max_in_flight_seconds
        self._warned: set[Flight] = set()
        self.can_cancel = False

    @property
    def has_abandoned(self) -> bool:
        """Whether some handler will not end, so that only a fresh process is rid of it."""
        return any(flight.abandoned for flight in self._flights.running())

    def look(self) -> None:
        """Stop, abandon and report what is due for it."""
        now = monotonic()
        patience = CANCEL_SECONDS if self.can_cancel else 0.0
        for flight in self._flights.running():
            remaining = flight.context.remaining_seconds
            if remaining is None:
                self._report_hung(flight)
            elif not flight.queued and flight.timed_out_at is None and remaining <= 0:
                self._stop(flight, now)
            overrun = flight.timed_out_at is not None and now >= flight.timed_out_at + patience
            if overrun and not flight.abandoned:
                flight.abandoned = True
                self._metrics.abandoned.inc()
                _tell("handler cannot be stopped: replacing the process when the others are done", flight)
        self._warned.intersection_update(self._flights.all())

    def _stop(self, flight: Flight, now: float) -> None:
        flight.timed_out_at = now
        self._metrics.timeouts.inc()
        _tell("handler timed out", flight)
        if flight.cancel:
            flight.cancel()

    def _report_hung(self, flight: Flight) -> None:
        if flight.age_seconds > self._max_in_flight_seconds and flight not in self._warned:
            self._warned.add(flight)
            _tell("handler seems to hang; consider a handler timeout", flight)


def _tell(message: str, flight: Flight) -> None:
    log.error(message, extra={"message_id": flight.claim.id, "age_seconds": round(flight.age_seconds, 1)})
