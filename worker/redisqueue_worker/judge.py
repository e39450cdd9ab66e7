"""What the circuit breaker makes of how handlers end, and its turns in the log and in the metrics."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from redis_message_queue._clock import monotonic
from redis_message_queue.consumer import Outcome

if TYPE_CHECKING:
    from redis_message_queue.consumer import Settlement
    from redisqueue_worker.breaker import Breaker
    from redisqueue_worker.flights import Flight
    from redisqueue_worker.metrics import Metrics
    from redisqueue_worker.pace import Pace

log = logging.getLogger(__name__)


class Judge:
    """Keeps the breaker of one claim loop.

    Attributes:
        breaker: where it stands.
    """

    def __init__(self, breaker: Breaker, metrics: Metrics, pace: Pace) -> None:
        self.breaker = breaker
        self._metrics = metrics
        self._pace = pace

    def verdict(self, flight: Flight, settlement: Settlement) -> Settlement:
        """What becomes of `flight` in the end; what a handler asked for says nothing about the worker."""
        before, now = self.breaker, monotonic()
        if settlement.failed:
            if before.excuses(flight.epoch):
                return replace(settlement, outcome=Outcome.RELEASE, delay_seconds=0.0)
            self.breaker = before.failed(flight.epoch, now, again=flight.claim.failures > 0)
        elif settlement.outcome is Outcome.DONE:
            self.breaker = before.succeeded()
        self._tell(before, now)
        return settlement

    def _tell(self, before: Breaker, now: float) -> None:
        after = self.breaker
        if after.epoch != before.epoch:
            self._metrics.circuit_openings.inc()
            log.warning(
                "failures in a row: claiming nothing for a while, then one message",
                extra={"failures": after.failures, "pause_seconds": round(after.resume_at - now, 3)},
            )
        if after.tripped != before.tripped:
            self._metrics.circuit_open.set(after.tripped)
            self._pace.report_soon()
            if before.tripped:
                log.info("a message was handled: claiming as before", extra={"failures": before.failures})
