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
from redisqueue_operator.schedule.keep import Destination, Keeper, NotOurs
from redisqueue_operator.schedule.resource import SCHEDULES, Schedule, parse
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
class Kept:
    """A schedule with its task."""

    keeper: Keeper
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
        self._kept: dict[Key, Kept] = {}

    async def run(self) -> None:
        """Watch, and keep what is there. Ends only by cancellation."""
        try:
            await self._followed.run()
        finally:
            tasks = [each.task for each in self._kept.values()]
            self._kept.clear()
            await ended(tasks)

    def notify(self, key: Key) -> None:
        """Something about this RedisQueue changed."""
        self._queues.notify(key)
        for keeper in (each.keeper for each in self._kept.values()):
            if keeper.schedule.queue == key and keeper.waits:
                keeper.wake()

    # -- which there are --

    def _put(self, obj: Object) -> None:
        key, uid = key_of(obj), obj["metadata"]["uid"]
        try:
            schedule = parse(obj)
        except ValueError as error:  # written under another definition
            log.warning("RedisQueueSchedule %s: %s", key, error)
            self._stop(key)
            return
        kept = self._kept.get(key)
        if kept is not None and (kept.keeper.schedule.uid != uid or obj["metadata"].get("deletionTimestamp")):
            self._stop(key)
            kept = None
        if obj["metadata"].get("deletionTimestamp") or not self._is_ours(schedule):
            return
        if kept is None:
            keeper = Keeper(schedule, self)
            self._kept[key] = Kept(keeper, asyncio.create_task(keeper.run(), name=f"schedule {key}"))
            return
        news = kept.keeper.schedule.generation != schedule.generation
        kept.keeper.schedule = schedule
        if news:
            kept.keeper.wake()

    def _is_ours(self, schedule: Schedule) -> bool:
        return not self._scope.selector or schedule.queue is not None

    def _drop(self, obj: Object) -> None:
        key = key_of(obj)
        self._stop(key)
        for counted in [each for each in self.ticks if each[0] == key]:
            del self.ticks[counted]

    def _stop(self, key: Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            kept.task.cancel()

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
        kept, obj = self._kept.get(key), self._followed.objects.get(key)
        if kept is None or obj is None or obj["metadata"]["uid"] != schedule.uid:
            return True  # its end is on its way
        before = obj.get("status") or {}
        if self._followed.says(obj, status):
            return True
        if time.monotonic() - kept.reported_at < REPORT_SECONDS and news_of(status) == news_of(before):
            return False
        try:
            written = await self._writer.status_of(SCHEDULES, key, obj, status)
        except (ApiError, OSError, TimeoutError) as error:
            log.warning("the status of schedule %s: %s", key, error)
            if isinstance(error, ApiError) and error.status in (404, 409):
                await self._followed.look_again(key, schedule.uid)
            return False
        self._followed.remember_status(written, status)
        kept.keeper.schedule = replace(kept.keeper.schedule, raw=written)
        kept.reported_at = time.monotonic()
        return True

    def counted(self, schedule: Schedule, outcome: str, ticks: int) -> None:
        """So many ticks came to this."""
        self.ticks[schedule.key, outcome] += ticks
