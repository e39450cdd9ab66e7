"""Keeps RedisQueueSchedules, in the leader, beside the control loop: a task for each."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from redisqueue_operator.api.definition import SCHEDULE_KIND
from redisqueue_operator.apply.status_writer import Gone, StatusWriter
from redisqueue_operator.interruptible import ended
from redisqueue_operator.observe.cache import key_of
from redisqueue_operator.observe.follow import Follower, NamedQueues, queue_named_by, usable
from redisqueue_operator.observe.redis.bulkhead import Bulkhead
from redisqueue_operator.schedule.resource import SCHEDULES, Schedule, parse
from redisqueue_operator.schedule.runner import Destination, NotOurs, RunningSchedule
from redisqueue_operator.schedule.status import news_of, unusable

if TYPE_CHECKING:
    from redisqueue_operator.api.model import Key
    from redisqueue_operator.apply.writer import Writer
    from redisqueue_operator.kubernetes_api import KubernetesApi, Object
    from redisqueue_operator.observe.cache import Store
    from redisqueue_operator.observe.redis.endpoint import Connect
    from redisqueue_operator.observe.redis.settings import Connections
    from redisqueue_operator.scope import Scope

AT_ONCE, EACH, SLOW_SECONDS = 32, 8, 3.0
REPORT_SECONDS, ASK_SECONDS = 5.0, 30.0


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
        self._connections = connections
        self._scope = scope
        self._queues = NamedQueues(api, store, scope)
        self._followed = Follower(api, SCHEDULES, SCHEDULE_KIND, scope, self._put, self._drop)
        self._statuses = StatusWriter(
            writer,
            self._followed,
            news=news_of,
            unusable=unusable,
            seconds=REPORT_SECONDS,
            now=api.now,
        )
        self._running: dict[Key, RunningSchedule] = {}

    async def run(self) -> None:
        """Watch, and keep what is there. Ends only by cancellation."""
        try:
            await self._followed.run()
        finally:
            tasks = [each.task for each in self._running.values()]
            self._running.clear()
            await ended(tasks)
            await self._statuses.close()

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
            self._stop(key)
            if self._queues.is_ours(queue_named_by(obj)):
                self._statuses.tell_unusable(obj, str(error))
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
            self._running[key] = RunningSchedule.start(schedule, self)
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
        self._statuses.forget(key)
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
        try:
            whole = await self._statuses.tell(schedule.key, schedule.uid, status)
        except Gone:
            return True  # its end is on its way
        if whole and (running := self._running.get(schedule.key)) is not None:
            newest = self._followed.objects.get(schedule.key, schedule.raw)
            running.runner.schedule = replace(running.runner.schedule, raw=newest)
        return whole

    def counted(self, schedule: Schedule, outcome: str, ticks: int) -> None:
        """So many ticks came to this."""
        self.ticks[schedule.key, outcome] += ticks
