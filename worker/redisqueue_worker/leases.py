"""Keeps the leases of everything in flight alive, on a thread that no user code can hold up."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from redis import RedisError

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis_message_queue.consumer import Consumer
    from redisqueue_worker.flights import Flights
    from redisqueue_worker.health import Pulse
    from redisqueue_worker.metrics import Metrics

log = logging.getLogger(__name__)

# After a failure the next try comes sooner: most of the lease is left, but not for ever.
RETRY_SECONDS = 1.0
TICK_SECONDS = 5.0


class LeaseKeeper(threading.Thread):
    """Renews all leases in one round trip every `heartbeat_seconds`, over a connection of its own."""

    def __init__(
        self,
        connect: Callable[[], Consumer],
        flights: Flights,
        *,
        heartbeat_seconds: float,
        metrics: Metrics,
        pulse: Pulse,
    ) -> None:
        super().__init__(name="leases", daemon=True)
        self._connect = connect
        self._flights = flights
        self._heartbeat_seconds = heartbeat_seconds
        self._metrics = metrics
        self._pulse = pulse
        self._ended = threading.Event()
        self._consumer: Consumer | None = None

    def end(self) -> None:
        """Renew nothing any more."""
        self._ended.set()

    def run(self) -> None:
        pause = self._heartbeat_seconds
        while not self._rest(pause):
            try:
                self.renew()
                pause = self._heartbeat_seconds
            except (RedisError, OSError) as error:
                pause = min(RETRY_SECONDS, self._heartbeat_seconds)
                self._metrics.lease_renewals.labels("error").inc()
                log.warning(
                    "lease renewal failed, trying again", extra={"error": str(error), "pause_seconds": pause}
                )

    def renew(self) -> None:
        """Renew everything in flight now. Raises redis.RedisError."""
        claims = self._flights.leased()
        if not claims:
            return
        with self._pulse.away():
            self._consumer = self._consumer or self._connect()
            kept = self._consumer.renew(claims)
        for claim, ok in zip(claims, kept, strict=True):
            if ok:
                self._metrics.lease_renewals.labels("ok").inc()
            elif self._flights.mark_lost(claim):
                self._metrics.lease_renewals.labels("lost").inc()
                log.error(
                    "lease lost: another worker may handle this message too", extra={"message_id": claim.id}
                )

    def _rest(self, seconds: float) -> bool:
        """Sleep in slices that keep the pulse; True when it is time to end."""
        while seconds > 0:
            self._pulse.beat()
            if self._ended.wait(min(seconds, TICK_SECONDS)):
                return True
            seconds -= TICK_SECONDS
        return self._ended.is_set()
