"""Keeps RedisQueueSchedules, in the leader, beside the control loop: a task for each."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from redisqueue_operator.api.definition import SCHEDULE_KIND
from redisqueue_operator.errors import QueueUnusable
from redisqueue_operator.interruptible import ended
from redisqueue_operator.kubernetes_api import ApiError, KubernetesApi, Object
from redisqueue_operator.observe.cache import key_of
from redisqueue_operator.observe.follow import Follower, NamedQueues, usable
from redisqueue_operator.observe.redis.bulkhead import Bulkhead
from redisqueue_operator.schedule.resource import SCHEDULES, Schedule, parse
from redisqueue_operator.schedule.runner import Destination, NotOurs, ScheduleRunner
from redisqueue_operator.schedule.status import news_of

if TYPE_CHECKING:
    from redisqueue_operator.api.model import Key
    from redisqueue_operator.apply.writer import Writer
    from redisqueue_operator.observe.cache import Store
    from redisqueue_operator.observe.redis.endpoint import Connect
    from redisqueue_operator.observe.redis.settings import Connections
    from redisqueue_operator.scope import Scope

log = logging.getLogger(__name__)

AT_ONCE, EACH, SLOW_SECONDS = 32, 8, 3.0
REPORT_SECONDS, ASK_SECONDS = 5.0, 30.0


@dataclass(slots=True)
class RunningSchedule:
    """A schedule with its task."""

    runner: ScheduleRunner
    task: asyncio.Task[None]
    reported_at: float = float("-inf")


class ScheduleController:
    """Sees that the schedules of its scope are kept; `run` until it is cancelled.

    With a label selector it keeps those alone whose RedisQueue it serves: of others another operator knows.

    Args:
        api, writer: the API server.
        store: what the watches told of RedisQueues.
        connections, connect: how to reach the Redis of one.
        scope: which RedisQueues this operator serves.
    """

    def __init__(
        self,
        api: KubernetesApi,
        writer: Writer,
        store: Store,
        connections: Connections,
        connect: Connect,
        scope: Scope,
    ) -> None:
        self.connect = connect
        self.slots: Bulkhead[str] = Bulkhead(total=AT_ONCE, each=EACH, slow_seconds=SLOW_SECONDS)
        self.ticks: Counter[tuple[Key, str]] = Counter()
        """How many of each schedule, by what came of them."""
        self._api = api
        self._writer = writer
        self._connections = connections
        self._scope = scope
        self._queues = NamedQueues(api, store)
        self._followed = Follower(api, SCHEDULES, SCHEDULE_KIND, scope, self._put, self._drop)
        self._running: dict[Key, RunningSchedule] = {}

    async def run(self) -> None:
        """Watch, and keep what is there. Ends only by cancellation."""
        try:
            await self._followed.run()
        finally:
            tasks = [each.task for each in self._running.values()]
            self._running.clear()
            await ended(tasks)

    def notify(self, key: Key) -> None:
        """Something about this RedisQueue changed."""
        self._queues.notify(key)
        for runner in (each.runner for each in self._running.values()):
            if runner.schedule.queue == key and runner.waits:
                runner.wake()

    # -- which there are --

    def _put(self, obj: Object) -> None:
        key, uid = key_of(obj), obj["metadata"]["uid"]
        try:
            schedule = parse(obj)
        except ValueError as error:  # written under another definition
            log.warning("RedisQueueSchedule %s: %s", key, error)
            self._stop(key)
            return
        running = self._running.get(key)
        if running is not None and (
            running.runner.schedule.uid != uid or obj["metadata"].get("deletionTimestamp")
        ):
            self._stop(key)
            running = None
        if obj["metadata"].get("deletionTimestamp") or not self._is_ours(schedule):
            return
        if running is None:
            runner = ScheduleRunner(schedule, self)
            self._running[key] = RunningSchedule(
                runner, asyncio.create_task(runner.run(), name=f"schedule {key}")
            )
            return
        news = running.runner.schedule.generation != schedule.generation
        running.runner.schedule = schedule
        if news:
            running.runner.wake()

    def _is_ours(self, schedule: Schedule) -> bool:
        return not self._scope.selector or schedule.queue is not None

    def _drop(self, obj: Object) -> None:
        key = key_of(obj)
        self._stop(key)
        for counted in [each for each in self.ticks if each[0] == key]:
            del self.ticks[counted]

    def _stop(self, key: Key) -> None:
        running = self._running.pop(key, None)
        if running is not None:
            running.task.cancel()

    # -- one of them --

    def now(self) -> float:
        """Seconds since the epoch by the API server's clock."""
        return self._api.now()

    async def target(self, schedule: Schedule) -> Destination:
        """Where its messages go."""
        spec, key = schedule.spec, schedule.queue
        if spec.redis is not None and spec.queue is not None:
            settings = await self._connections.settings_of(spec.redis, schedule.key.namespace)
            return Destination(settings, spec.queue.name, spec.queue.key_separator)
        assert key is not None  # noqa: S101  (the spec has one of the two)
        rq = usable(await self._queue(key), key)
        if rq.deletion:
            text = f"RedisQueue {key.name!r} is being deleted: name another one, or delete this"
            raise QueueUnusable("QueueDeleting", text)
        queue = rq.spec.queue
        return Destination(await self._connections.settings(rq), queue.name, queue.key_separator)

    async def _queue(self, key: Key) -> Object | None:
        """The RedisQueue. Raises NotOurs for one that there is, but that no watch tells of."""
        patience = asyncio.timeout(ASK_SECONDS)
        try:
            async with patience:
                return await self._queues.get(key)
        except TimeoutError as error:
            if patience.expired():
                raise NotOurs from error
            raise

    async def report(self, schedule: Schedule, status: dict[str, Any]) -> bool:
        """Write the status if that is worth it; whether nothing is left to be told."""
        key = schedule.key
        running, obj = self._running.get(key), self._followed.objects.get(key)
        if running is None or obj is None or obj["metadata"]["uid"] != schedule.uid:
            return True  # its end is on its way
        before = obj.get("status") or {}
        if self._followed.says(obj, status):
            return True
        if time.monotonic() - running.reported_at < REPORT_SECONDS and news_of(status) == news_of(before):
            return False
        try:
            written = await self._writer.status_of(SCHEDULES, key, obj, status)
        except (ApiError, OSError, TimeoutError) as error:
            log.warning("the status of schedule %s: %s", key, error)
            if isinstance(error, ApiError) and error.status in (404, 409):
                await self._followed.look_again(key, schedule.uid)
            return False
        self._followed.remember_status(written, status)
        running.runner.schedule = replace(running.runner.schedule, raw=written)
        running.reported_at = time.monotonic()
        return True

    def counted(self, schedule: Schedule, outcome: str, ticks: int) -> None:
        """So many ticks came to this."""
        self.ticks[schedule.key, outcome] += ticks
