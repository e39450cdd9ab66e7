"""What the loop tells the world: the status, when it is worth a write, and the Events that come with it."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, Any

from redisqueue_operator.apply.attempt import RETRY_SECONDS
from redisqueue_operator.decide.status import (
    EventRecord,
    build_status,
    events_between,
    remarks,
    worth_writing,
)
from redisqueue_operator.loop.memory import stand_in
from redisqueue_operator.observe.facts import REMARKS
from redisqueue_operator.platform import Conflict, PlatformError

if TYPE_CHECKING:
    from collections.abc import Callable

    from redisqueue_operator.api.model import Key, RedisQueue
    from redisqueue_operator.loop.memory import Tracked
    from redisqueue_operator.loop.workqueue import WorkQueue
    from redisqueue_operator.platform import Platform
    from redisqueue_operator.serve.metrics import OperatorMetrics

log = logging.getLogger(__name__)

AT_ONCE = 8
"""Reports wait for the rate limiter. The other half of the workers is free for what somebody waits for."""
SPREAD_SECONDS = 10.0
"""Queues that began together shall not write their counters together for ever."""
LOOK_SECONDS = 1.0
"""A busy queue is looked at this often."""


class Reports:
    """Writes statuses; `queue` is told when to come back. Clocks as in `Engine`."""

    def __init__(
        self,
        platform: Platform,
        queue: WorkQueue[Key],
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        metrics: OperatorMetrics | None,
    ) -> None:
        self._platform = platform
        self._queue = queue
        self._clock = clock
        self._wall = wall
        self._metrics = metrics
        self._under_way = 0

    async def report(self, key: Key, tracked: Tracked, raw: dict[str, Any]) -> None:
        """Status and Events, when they are worth a write."""
        unread = tracked.observation is not None and not tracked.observation.redis_reason
        if unread and tracked.outcome.ok:
            return  # the first sample, or why there is none, is here in a moment: one status tells all
        now = self._clock()
        if now - tracked.status_looked_at < LOOK_SECONDS:
            self._queue.add(key, after_seconds=LOOK_SECONDS)
            return
        tracked.status_looked_at = now
        previous = raw.get("status") or {}
        status = build_status(
            tracked.rq or raw,
            tracked.observation,
            tracked.scaled or tracked.decision,
            tracked.outcome,
            previous,
            self._wall(),
            tracked.rollout,
            tracked.hindrance,
        )
        if self._metrics is not None:
            self._metrics.observe(key, tracked.observation, tracked.decision, status["conditions"])
        await self._remark(tracked, raw)
        if not worth_writing(previous, status, now - tracked.status_written_at):
            return
        if now < tracked.report.until:
            self._queue.add(key, after_seconds=tracked.report.until - now)
            return
        if self._under_way >= AT_ONCE:
            self._queue.add(key, after_seconds=random.uniform(1.0, 2.0) * LOOK_SECONDS)  # noqa: S311
            return
        self._under_way += 1
        try:
            rq = tracked.rq or stand_in(raw)
            if not await self._write(key, tracked, rq, status):
                return
            spread = random.uniform(0.0, SPREAD_SECONDS)  # noqa: S311
            tracked.status_written_at, tracked.scaled = now + spread, None
            tracked.precedence = tracked.precedence.told(tracked.outcome, now)
            for event in events_between(previous, status):
                await self.tell(rq, event)
        finally:
            self._under_way -= 1

    async def _remark(self, tracked: Tracked, raw: dict[str, Any]) -> None:
        """Tell what is not right although all was applied: once, also where the operator has started anew."""
        applied = tracked.outcome
        if tracked.rq is None or not applied.ok or applied.reason not in ("Applied", *REMARKS):
            return
        before = tracked.remark
        if before is None:
            reasons = {each["reason"] for each in (raw.get("status") or {}).get("conditions") or ()}
            before = next((reason for reason in REMARKS if reason in reasons), "")
        tracked.remark = applied.reason if applied.reason in REMARKS else ""
        for event in remarks(before, applied):
            await self.tell(tracked.rq, event)

    async def tell(self, rq: RedisQueue, event: EventRecord) -> None:
        """Write an Event. It is for people alone: where it is refused the work goes on."""
        try:
            await self._platform.emit(rq, event)
        except PlatformError as error:
            log.warning("%s: the Event %s was refused: %s", rq.key, event.reason, error)

    async def _write(self, key: Key, tracked: Tracked, rq: RedisQueue, status: dict[str, Any]) -> bool:
        """Whether the status was written. If that fails for good an Event says so, and the work goes on."""
        known = tracked.report.error is not None
        try:
            await self._platform.write_status(rq, status)
        except PlatformError as error:
            if not tracked.report.lasts(error, self._clock()):
                raise
            self._queue.add(key, after_seconds=RETRY_SECONDS)
            if not known:
                log.warning("%s: the status cannot be written: %s", key, error)
                reason = "StatusConflict" if isinstance(error, Conflict) else "StatusRefused"
                text = f"The status is not what is the case, it cannot be written: {error}"
                await self.tell(rq, EventRecord("Warning", reason, text, "Report"))
            return False
        tracked.report.succeeded()
        return True
