"""One schedule for as long as it exists: look what is due, enqueue it, tell where it stands, wait."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from redis_message_queue.asyncio import RedisGateway, RedisMessageQueue
from redis_message_queue.exceptions import RedisMessageQueueError
from redis_message_queue.trouble import AWAY
from redisqueue_operator.decide.due import Progress, due, message_id, progress_of
from redisqueue_operator.errors import PlatformError, QueueUnusable, SettingsUnavailable
from redisqueue_operator.interruptible import cancelled, finished
from redisqueue_operator.observe.redis.bulkhead import server_at
from redisqueue_operator.observe.redis.reading import unreadable
from redisqueue_operator.outage_log import OutageLog
from redisqueue_operator.schedule.status import IN_FORCE, SUSPENDED, Readiness, build_status

if TYPE_CHECKING:
    from redis_message_queue.connection import ConnectionSettings
    from redisqueue_operator.decide.due import Timing
    from redisqueue_operator.observe.redis.bulkhead import Bulkhead
    from redisqueue_operator.observe.redis.endpoint import Connect
    from redisqueue_operator.schedule.resource import Schedule

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
# A clock that was set is noticed then.
LONGEST_WAIT_SECONDS = 60.0
AGAIN_SECONDS = 5.0
# A status that could not be written, or was not worth it yet.
TELL_AGAIN_SECONDS = 5.0
# A key outlives the last moment at which its tick may be enqueued, also where clocks differ.
KEY_MARGIN_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Destination:
    """Where messages go."""

    settings: ConnectionSettings
    name: str
    key_separator: str


class ScheduleContext(Protocol):
    """What one schedule needs of whoever keeps it, in a cluster or on this machine."""

    connect: Connect
    slots: Bulkhead[str]
    """One for each message that is being enqueued, by server."""

    def now(self) -> float:
        """Seconds since the epoch, by the clock that dates objects."""
        ...

    async def target(self, schedule: Schedule) -> Destination:
        """Where its messages go. Raises QueueUnusable, SettingsUnavailable, PlatformError, ValueError."""
        ...

    async def report(self, schedule: Schedule, status: dict[str, Any]) -> bool:
        """Write the status if that is worth it; whether nothing is left to be told."""
        ...

    def counted(self, schedule: Schedule, outcome: str, ticks: int) -> None:
        """So many ticks came to this."""
        ...


class NotOurs(Exception):
    """Another operator serves its RedisQueue: it keeps it, and tells of it."""


class ScheduleRunner:
    """What is known of one schedule between two looks."""

    def __init__(self, schedule: Schedule, context: ScheduleContext) -> None:
        self.schedule = schedule
        """Replace it when its spec changes, and wake this."""
        self._context = context
        self._progress, self._is_ours = self._told(), True
        self._queue = ""
        self._failures = 0
        self._readiness = IN_FORCE
        self._kept_by = ""
        """What keeps the ticks that are due now: a reason of conditions."""
        self._outage = OutageLog(log, f"schedule {schedule.key}")
        self._woken = asyncio.Event()

    def _told(self) -> Progress:
        """How far it is, as its status says."""
        schedule, spec = self.schedule, self.schedule.spec
        status = schedule.raw.get("status") or {}
        return progress_of(status, (spec.schedule, spec.time_zone, spec.suspend), schedule.created)

    @property
    def waits(self) -> bool:
        """Whether something keeps it, as far as is known."""
        return not self._readiness.ready

    def wake(self) -> None:
        """Have `run` look now."""
        self._woken.set()

    async def run(self) -> None:
        """Look whenever it is time, or woken. Ends only by cancellation."""
        while not cancelled():  # redis-py loses some cancellations
            self._woken.clear()
            try:
                seconds = await self.look()
            except Exception:
                log.exception("schedule %s: again in %.0f s", self.schedule.key, AGAIN_SECONDS)
                seconds = AGAIN_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._woken.wait()

    async def look(self) -> float:
        """Do what is due; seconds until the next look is worth it."""
        schedule, spec, now = self.schedule, self.schedule.spec, self._now()
        try:
            timing = schedule.timing()
        except ValueError as error:
            return await self._tell(Readiness(False, "InvalidSchedule", str(error), acts=True), None, now)
        if not self._is_ours:
            self._progress, self._is_ours = self._told(), True
        self._progress = self._progress.under(spec.schedule, spec.time_zone, suspend=spec.suspend, now=now)
        if spec.suspend:
            return await self._tell(SUSPENDED, None, now)
        found, reason = due(timing, self._progress.since, now), self._kept_by
        if found.late is not None:
            self._progress = self._progress.left_out(found.late, found.missed, reason, now)
        try:
            readiness = await self._enqueue_all(timing, found.ticks)
        except NotOurs:
            self._is_ours = False  # what was done, and left out, is the other one's to say
            return LONGEST_WAIT_SECONDS
        if readiness.ready:
            self._outage.over()
        if found.late is not None:
            self._tell_missed(found.late, found.missed, reason)
        wait = await self._tell(readiness, found.next, self._now())
        if self._kept_by:
            self._failures += 1
            pause = FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures, 10)
            return min(wait, LONGEST_PAUSE_SECONDS, pause)
        self._failures = 0
        until: float = found.wake.timestamp() - self._context.now()
        return min(wait, max(0.0, until))

    def _tell_missed(self, late: datetime, missed: int, reason: str) -> None:
        self._context.counted(self.schedule, "missed", missed)
        level = logging.DEBUG if reason else logging.WARNING  # what keeps them is told already
        log.log(level, "schedule %s: %d ticks up to %s are too late", self.schedule.key, missed, late)

    async def _enqueue_all(self, timing: Timing, ticks: tuple[datetime, ...]) -> Readiness:
        """What came of it. Only the queue's existence is looked at when nothing is due."""
        try:
            target = await self._context.target(self.schedule)
            self._queue = target.name
            for tick in ticks:
                await self._enqueue(target, tick, timing.deadline_seconds)
            self._kept_by = ""
        except QueueUnusable as error:
            return self._kept(error.reason, str(error), acts=error.acts)
        except PlatformError as error:
            return self._kept("ApiError", str(error))
        except (SettingsUnavailable, ValueError, RedisMessageQueueError, *AWAY) as error:
            return self._kept(*unreadable(error))
        if reason := self._progress.kept_by:
            text = f"The last tick was left out, because of {reason}: the next one will be tried at its time."
            return Readiness(False, "TickMissed", text)
        return IN_FORCE

    def _kept(self, reason: str, message: str, *, acts: bool = False) -> Readiness:
        self._outage.failed(reason, message, self._context.now())
        self._kept_by = reason
        return Readiness(False, reason, message, acts=acts)

    async def _enqueue(self, target: Destination, tick: datetime, deadline_seconds: int) -> None:
        context, identity = self._context, message_id(self.schedule.uid, tick)
        hold = await context.slots.take(server_at(target.settings))
        try:
            client = context.connect(target.settings)
            try:
                # One attempt: the next look is the next one, and what keeps it is told in the status.
                gateway = RedisGateway(redis_client=client, retry_budget_seconds=0)
                queue = RedisMessageQueue(target.name, gateway=gateway, key_separator=target.key_separator)
                # A duplicate is as good: its status was lost, or another leader was faster.
                await queue.enqueue(
                    self.schedule.payload,
                    message_id=identity,
                    deduplication_key=identity,
                    deduplication_seconds=deadline_seconds + KEY_MARGIN_SECONDS,
                )
            finally:
                await finished(client.aclose())
        finally:
            context.slots.give(hold)
        self._progress = self._progress.enqueued(tick, identity, self._now())
        context.counted(self.schedule, "enqueued", 1)

    async def _tell(self, readiness: Readiness, upcoming: datetime | None, now: datetime) -> float:
        """Report; how long to wait at most."""
        self._readiness = readiness
        before = self.schedule.raw.get("status") or {}
        status = build_status(
            self.schedule, self._progress, readiness, before, now, queue=self._queue, upcoming=upcoming
        )
        whole = await self._context.report(self.schedule, status)
        return LONGEST_WAIT_SECONDS if whole else TELL_AGAIN_SECONDS

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._context.now(), UTC)


@dataclass(frozen=True, slots=True)
class RunningSchedule:
    """A schedule with its task."""

    runner: ScheduleRunner
    task: asyncio.Task[None]

    @classmethod
    def start(cls, schedule: Schedule, context: ScheduleContext) -> RunningSchedule:
        """Inside a running event loop."""
        runner = ScheduleRunner(schedule, context)
        return cls(runner, asyncio.create_task(runner.run(), name=f"schedule {schedule.key}"))
