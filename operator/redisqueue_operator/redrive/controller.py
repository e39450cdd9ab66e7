"""Carries out RedisQueueRedrives, in the leader, beside the control loop and without slowing it.

Each is a task of its own, and a few of them move at a time. What was moved is counted in Redis under the
object's uid, so a restart goes on where the last one stopped, and the status is only a report.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING

from redisqueue_operator.api.definition import REDRIVE_KIND
from redisqueue_operator.apply.status_writer import AGAIN_SECONDS, Gone, StatusWriter
from redisqueue_operator.apply.writer import TokenBucket
from redisqueue_operator.interruptible import ended
from redisqueue_operator.kubernetes_api import ApiError, KubernetesApi, Object
from redisqueue_operator.observe.cache import Store, key_of
from redisqueue_operator.observe.follow import Follower, NamedQueues, queue_named_by
from redisqueue_operator.observe.redis.bulkhead import Bulkhead
from redisqueue_operator.redrive.resource import REDRIVES, Redrive, parse
from redisqueue_operator.redrive.room import Room
from redisqueue_operator.redrive.run import LARGEST_LETTER_BYTES, carry_out
from redisqueue_operator.redrive.status import (
    FINISHED,
    RedriveState,
    build_status,
    news_of,
    seconds_to_live,
    unusable,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redisqueue_operator.api.model import Key
    from redisqueue_operator.apply.writer import Writer
    from redisqueue_operator.observe.redis.endpoint import Connect
    from redisqueue_operator.observe.redis.settings import Connections
    from redisqueue_operator.scope import Scope

log = logging.getLogger(__name__)

AT_ONCE, EACH, SLOW_SECONDS = 8, 4, 3.0
# Of all together, so that the control loop keeps most of its processor.
BATCHES_PER_SECOND, BURST = 100.0, 10
REPORT_SECONDS = 5.0


class RedriveController:
    """Sees every RedisQueueRedrive of its scope through; `run` until it is cancelled.

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
        self.connections = connections
        self.connect = connect
        self.slots: Bulkhead[str] = Bulkhead(total=AT_ONCE, each=EACH, slow_seconds=SLOW_SECONDS)
        self.room = Room(LARGEST_LETTER_BYTES)
        self.batches = TokenBucket(BATCHES_PER_SECOND, BURST)
        self._api = api
        self._writer = writer
        self._queues = NamedQueues(api, store, scope)
        self._followed = Follower(api, REDRIVES, REDRIVE_KIND, scope, self._put, self._drop)
        self._statuses = StatusWriter(
            writer,
            self._followed,
            news=news_of,
            unusable=unusable,
            seconds=REPORT_SECONDS,
            now=api.now,
        )
        self._tasks: dict[Key, tuple[str, asyncio.Task[None]]] = {}

    async def run(self) -> None:
        """Watch, and carry out what is there. Ends only by cancellation."""
        try:
            await self._followed.run()
        finally:
            tasks = [task for _, task in self._tasks.values()]
            self._tasks.clear()
            await ended(tasks)
            await self._statuses.close()

    def counted(self) -> Counter[tuple[Key, str]]:
        """How many there are of each RedisQueue, by phase.

        With a selector those alone whose RedisQueue is watched here: of others another operator tells.
        """
        found: Counter[tuple[Key, str]] = Counter()
        for obj in self._followed.objects.values():
            queue = queue_named_by(obj)
            if queue is not None and self._queues.is_ours(queue):
                found[queue, (obj.get("status") or {}).get("phase", "Pending")] += 1
        return found

    # -- which there are --

    def _put(self, obj: Object) -> None:
        key, uid = key_of(obj), obj["metadata"]["uid"]
        if obj["metadata"].get("deletionTimestamp"):
            self._stop(key)
            return
        if key in self._tasks:
            served, task = self._tasks[key]
            if served == uid and not task.done():
                return
            self._stop(key)
        try:
            redrive = parse(obj)
        except ValueError as error:  # written under another definition
            if self._queues.is_ours(queue_named_by(obj)):
                self._statuses.tell_unusable(obj, str(error))
            return
        if not _is_over(redrive):
            task = asyncio.create_task(self._see_through(redrive), name=f"redrive {key}")
            self._tasks[key] = (uid, task)

    def _drop(self, obj: Object) -> None:
        self._statuses.forget(key_of(obj))
        self._stop(key_of(obj))

    def _stop(self, key: Key) -> None:
        _, task = self._tasks.pop(key, ("", None))
        if task is not None:
            task.cancel()

    # -- one of them --

    async def _see_through(self, redrive: Redrive) -> None:
        """Carry it out, say how it ended, and remove it in time."""
        try:
            if redrive.status.get("phase") not in FINISHED:
                state = await carry_out(redrive, self)
                log.info("redrive %s: %s: %s", redrive.key, state.phase, state.message)
                await _until(lambda: self.report(redrive, state))
            status = (self._followed.objects.get(redrive.key) or redrive.raw).get("status") or {}
            seconds = seconds_to_live(redrive, status, self._api.now())
            if seconds is not None:
                await asyncio.sleep(seconds)
                await _until(lambda: self._remove(redrive))
        except Gone:
            log.info("redrive %s: deleted", redrive.key)
        except Exception:
            log.exception("redrive %s: again after the next look", redrive.key)

    async def queue(self, key: Key) -> Object | None:
        """The RedisQueue; None where there is none. Waits for ever for one that another operator serves."""
        return await self._queues.get(key)

    async def pause(self, redrive: Redrive, seconds: float) -> None:
        """Wait that long, or until its RedisQueue changes."""
        await self._queues.change_of(redrive.queue, seconds)

    def notify(self, key: Key) -> None:
        """Something about this RedisQueue changed."""
        self._queues.notify(key)

    async def report(self, redrive: Redrive, state: RedriveState) -> bool:
        """Write the status if that is worth it; whether nothing is left to be told. Raises Gone."""
        before = (self._followed.objects.get(redrive.key) or redrive.raw).get("status") or {}
        status = build_status(redrive.generation, state, before, self._api.now())
        return await self._statuses.tell(redrive.key, redrive.uid, status)

    async def _remove(self, redrive: Redrive) -> bool:
        """Delete this very object; True when it is gone."""
        try:
            await self._writer.delete(redrive.raw)
        except ApiError as error:
            log.warning("redrive %s cannot be deleted: %s", redrive.key, error)
            return False
        except (OSError, TimeoutError):
            return False
        return True


async def _until(done: Callable[[], Awaitable[bool]]) -> None:
    """Try until it is done."""
    while not await done():  # noqa: ASYNC110 - nothing tells when the API server is well again
        await asyncio.sleep(AGAIN_SECONDS)


def _is_over(redrive: Redrive) -> bool:
    return redrive.status.get("phase") in FINISHED and redrive.spec.ttl_seconds_after_finished is None
