"""The demo itself: publish, watch the workers come and go, and check every single result."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import redis.asyncio

from redis_message_queue.asyncio import RedisMessageQueue
from redis_message_queue.keys import QueueKeys
from redis_message_queue.stats import sample_async
from redisqueue_operator.cli.screen import table
from redisqueue_operator.demo.checks import Outcome
from redisqueue_operator.demo.corpus import count_directly
from redisqueue_operator.demo.handler import handlings_key, reports_key
from redisqueue_operator.demo.stage import StageError
from redisqueue_operator.interruptible import cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis_message_queue.stats import QueueSample
    from redisqueue_operator.cli.screen import Screen
    from redisqueue_operator.demo.corpus import File
    from redisqueue_operator.demo.stage import DemoStage

SAMPLE_SECONDS = 0.1
PLAIN_LINE_SECONDS = 1.0


@dataclass
class Driver:
    """One run on one stage.

    Args:
        run: the run's name: of its queue, its RedisQueue and its results.
        patience_seconds: give up when nothing at all has changed for so long; longer on a machine that is too
            busy to look as often as it should.
    """

    run: str
    stage: DemoStage
    files: Sequence[File]
    screen: Screen
    patience_seconds: float = 60.0
    replicas_seen: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._keys = QueueKeys(self.run)
        self._client = redis.asyncio.Redis.from_url(self.stage.redis_url, decode_responses=True)
        self._began = time.monotonic()
        self._done = 0
        self._direct: dict[str, dict[str, Any]] = {}
        self._replicas: tuple[int | None, int] = (None, 0)
        self._next_replicas = self._next_plain = 0.0
        self._last_view: object = None
        self._looks_in_vain = 0

    @property
    def elapsed_seconds(self) -> float:
        """Since the driver was made."""
        return time.monotonic() - self._began

    async def play(self) -> Outcome:
        """Run the whole demo. Raises StageError when it gets stuck, redis.RedisError when Redis goes away."""
        async with self._client, asyncio.TaskGroup() as tasks:
            await self._until(lambda _: self._replicas == (0, 0))
            publishing = tasks.create_task(self._publish())
            await self._until(lambda _: self._done == len(self.files) and publishing.done())
            # The direct count keeps a core busy: it waits until the workers have finished.
            counting = tasks.create_task(self._count())
            await self._until(lambda queue: self._replicas == (0, 0) and is_empty(queue) and counting.done())
            self.screen.leave()
            outcome = await self._outcome(publishing.result())
            await self._clear()
        return outcome

    async def _publish(self) -> int:
        """Publish every file; return how many messages the queue accepted."""
        queue = RedisMessageQueue(self.run, client=self._client)
        return sum([await queue.publish(file.message()) for file in self.files])

    async def _count(self) -> None:
        stop = threading.Event()
        try:
            await asyncio.to_thread(count_directly, self.files, self._direct, stop)
        finally:
            stop.set()

    async def _until(self, reached: Callable[[QueueSample], bool]) -> None:
        """Watch and draw until `reached`. Raises StageError when nothing moves any more."""
        while True:
            queue = await self._look()
            if cancelled():
                raise asyncio.CancelledError
            view = (queue.pending, queue.in_flight, self._done, self._replicas, len(self._direct))
            moved = view != self._last_view
            self._last_view, self._looks_in_vain = view, 0 if moved else self._looks_in_vain + 1
            self._draw(queue, moved=moved)
            if reached(queue):
                return
            if self._looks_in_vain * SAMPLE_SECONDS > self.patience_seconds:
                raise StageError(
                    f"nothing has moved for {self.patience_seconds:g} s "
                    f"(try --verbose to see what the workers say): {self._line(queue)}"
                )
            await asyncio.sleep(SAMPLE_SECONDS)

    async def _look(self) -> QueueSample:
        """Read everything that the table shows."""
        (queue,) = await sample_async(self._client, [self._keys])
        if isinstance(queue, Exception):
            raise queue
        self._done = int(await self._client.hlen(reports_key(self.run)))
        if time.monotonic() >= self._next_replicas:
            self._replicas = await self.stage.replicas()
            self._next_replicas = time.monotonic() + self.stage.poll_seconds
            if (asked := self._replicas[0]) is not None and self.replicas_seen[-1:] != [asked]:
                self.replicas_seen.append(asked)
        return queue

    def _draw(self, queue: QueueSample, *, moved: bool) -> None:
        if self.screen.live:
            asked, ready = self._replicas
            row = (
                queue.pending,
                queue.in_flight,
                asked,
                ready,
                f"{self._done} of {len(self.files)}",
                len(self._direct),
                f"{self.elapsed_seconds:.1f} s",
            )
            header = ("PENDING", "IN FLIGHT", "REPLICAS", "READY", "DONE", "CHECKED", "TIME")
            self.screen.draw(table(header, [row]))
        elif moved and time.monotonic() >= self._next_plain:
            self.screen.say(self._line(queue))
            self._next_plain = time.monotonic() + PLAIN_LINE_SECONDS

    def _line(self, queue: QueueSample) -> str:
        asked, ready = self._replicas
        replicas = "?" if asked is None else asked
        checked = f", checked {len(self._direct)}" if self._direct else ""
        return (
            f"{self.elapsed_seconds:5.1f} s  pending {queue.pending}, in flight {queue.in_flight}, "
            f"replicas {replicas} ({ready} ready), done {self._done} of {len(self.files)}{checked}"
        )

    async def _outcome(self, accepted: int) -> Outcome:
        queue = await self._look()
        reports = await self._client.hgetall(reports_key(self.run))
        handlings = await self._client.hgetall(handlings_key(self.run))
        return Outcome(
            files=[file.name for file in self.files],
            accepted=accepted,
            reports={str(name): json.loads(report) for name, report in reports.items()},
            handlings={str(name): int(count) for name, count in handlings.items()},
            direct=self._direct,
            left_over=left_over(queue),
            replicas=list(self.replicas_seen),
        )

    async def _clear(self) -> None:
        """Remove what this run left in Redis, which may be somebody's own."""
        async for key in self._client.scan_iter(match=f"{self.run}:*", count=1000):
            await self._client.unlink(key)


def left_over(queue: QueueSample) -> dict[str, int]:
    """Messages that are anywhere in the queue, by place."""
    return {
        "pending": queue.pending,
        "delayed": queue.delayed,
        "in flight": queue.in_flight,
        "orphaned": queue.orphaned,
        "failed": queue.failed,
        "dead letters": queue.dead_letter,
    }


def is_empty(queue: QueueSample) -> bool:
    """Whether nothing waits and nothing runs."""
    return not (queue.pending or queue.delayed or queue.in_flight)
