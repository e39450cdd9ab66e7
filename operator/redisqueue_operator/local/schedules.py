"""The RedisQueueSchedules of a file, kept as in a cluster, with the one Redis of local mode."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from redis_message_queue.connection import ConnectionSettings
from redisqueue_operator import api
from redisqueue_operator.errors import QueueUnusable
from redisqueue_operator.interruptible import ended
from redisqueue_operator.observe.redis.bulkhead import Bulkhead
from redisqueue_operator.schedule.resource import Schedule, parse
from redisqueue_operator.schedule.runner import Destination, RunningSchedule
from redisqueue_operator.timestamps import timestamp

if TYPE_CHECKING:
    from collections.abc import Callable

    from redisqueue_operator.local.definitions import Definitions
    from redisqueue_operator.observe.redis.endpoint import Connect

AT_ONCE, SLOW_SECONDS = 8, 3.0


class LocalSchedules:
    """Use it inside a running event loop, and `close` it at the end.

    Args:
        definitions: what the file has.
        redis_url: the Redis that all queues use, whatever `spec.redis` says.
        say: called with a schedule's name and what became of its ticks.
    """

    def __init__(self, definitions: Definitions, *, redis_url: str, say: Callable[[str, str], None]) -> None:
        self.connect: Connect = ConnectionSettings.connect_async
        self.slots: Bulkhead[str] = Bulkhead(total=AT_ONCE, each=AT_ONCE, slow_seconds=SLOW_SECONDS)
        self._settings = ConnectionSettings(url=redis_url)
        self._say = say
        self._said: dict[str, str] = {}
        self._definitions = definitions
        self._running: dict[tuple[str, str], RunningSchedule] = {}
        self.load(definitions)

    def load(self, definitions: Definitions) -> None:
        """Take these in place of the present ones."""
        self._definitions = definitions
        for place in [place for place in self._running if place not in definitions.schedules]:
            self._running.pop(place).task.cancel()
        for place, item in definitions.schedules.items():
            if (running := self._running.get(place)) is not None:
                before = running.runner.schedule
                generation = before.generation + (before.raw["spec"] != item["spec"])
                metadata = {**item["metadata"], "generation": generation}
                status = before.raw.get("status", {})
                running.runner.schedule = parse({**item, "metadata": metadata, "status": status})
                running.runner.wake()
            else:
                # Also one that was read from a cluster begins here, and owes nothing.
                born = {"creationTimestamp": timestamp(time.time())}
                schedule = parse({**item, "metadata": {**item["metadata"], **born}, "status": {}})
                self._running[place] = RunningSchedule.start(schedule, self)

    async def close(self) -> None:
        """Enqueue no more."""
        await ended([each.task for each in self._running.values()])

    # -- what the schedules need --

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    async def target(self, schedule: Schedule) -> Destination:
        """The queue by its name, in the one Redis."""
        if schedule.spec.queue is not None:
            return Destination(self._settings, schedule.spec.queue.name, schedule.spec.queue.key_separator)
        key = schedule.queue
        item = self._definitions.queues.get((key.namespace, key.name)) if key is not None else None
        if item is None:
            text = f"spec.queueRef.name: no RedisQueue {key.name if key else ''!r} in the file: add it"
            raise QueueUnusable("QueueMissing", text, acts=True)
        queue = api.parse(item).spec.queue
        return Destination(self._settings, queue.name, queue.key_separator)

    async def report(self, schedule: Schedule, status: dict[str, Any]) -> bool:
        """Say what is new in it, and keep it."""
        schedule.raw["status"] = status
        ready = next(each for each in status["conditions"] if each["type"] == "Ready")
        news = f"{ready['reason']}: {ready['message']}" if ready["reason"] != "Scheduled" else ""
        if news and self._said.get(schedule.key.name) != news:
            self._say(schedule.key.name, news)
        self._said[schedule.key.name] = news
        return True

    def counted(self, schedule: Schedule, outcome: str, ticks: int) -> None:
        """Say that ticks were left out; of those that were not, their messages tell."""
        if outcome == "missed":
            self._say(schedule.key.name, f"{ticks} ticks were left out, they are too late")
