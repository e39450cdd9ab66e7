"""Keeps the leases of everything in flight alive, on a thread that no user code can hold up."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from redis_message_queue.leases import LeaseKeeper, Leases, Loss
from redis_message_queue.trouble import described
from redisqueue_worker.health import AWAY_GRACE_SECONDS, Pulse

if TYPE_CHECKING:
    from redis_message_queue.consumer import Claim
    from redisqueue_worker.in_flight import InFlightTable
    from redisqueue_worker.metrics import Metrics
    from redisqueue_worker.settings import Settings


log = logging.getLogger(__name__)


class KeeperPulse(Pulse):
    """The pulse of a keeper, which knows itself what it should have done by now."""

    def __init__(self, keeper: LeaseKeeper) -> None:
        super().__init__()
        self._keeper = keeper

    @property
    def late_seconds(self) -> float:
        """How long the keeper is overdue; 0 while it is healthy, and while there is nothing to keep."""
        return max(0.0, self._keeper.overdue_seconds - AWAY_GRACE_SECONDS)


def keep_leases(
    keeper: LeaseKeeper, settings: Settings, in_flight: InFlightTable, metrics: Metrics
) -> Leases:
    """The leases of the worker's queue: counted in its metrics, and told to handlers that lose one."""

    def renewed(count: int) -> None:
        metrics.lease_renewals["ok"] += count

    def lost(claim: Claim, loss: Loss) -> None:
        sure = loss is not Loss.EXPIRED
        if not in_flight.mark_lost(claim, sure=sure):
            return
        if sure:
            metrics.lease_renewals["lost"] += 1
        what = "lease lost" if sure else "lease not renewed in time"
        log.error(f"{what}: another worker may handle this message too", extra={"message_id": claim.id})

    def failed(error: Exception, seconds: float) -> None:
        metrics.lease_renewals["error"] += 1
        log.warning(
            "lease renewal failed, trying again",
            extra={
                "command": "renew (EVALSHA renew)",
                "error": described(error),
                "pause_seconds": seconds,
            },
        )

    return keeper.queue(
        settings.queue,
        key_separator=settings.key_separator,
        visibility_timeout_seconds=settings.visibility_timeout_seconds,
        interval_seconds=settings.heartbeat_seconds,
        on_renewed=renewed,
        on_lost=lost,
        on_failed=failed,
    )
