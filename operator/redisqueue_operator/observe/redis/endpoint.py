"""One Redis, one user: the loop that samples its queues, and what wakes those that sleep.

Where the server tells of changes (see `tracking`), sleeping queues rest: they are looked at when it tells,
when a delayed message is due, and every 15 s. Elsewhere some have a blocking waiter, and all are sampled.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from redis_message_queue.asyncio.consumer import Consumer
from redis_message_queue.connection import ConnectionSettings
from redis_message_queue.operations import as_text
from redis_message_queue.server import server_facts_async
from redis_message_queue.stats import sample_async, sample_call
from redis_message_queue.trouble import AWAY
from redisqueue_operator.decide import waking
from redisqueue_operator.decide.waking import Waking
from redisqueue_operator.interruptible import cancelled, ended
from redisqueue_operator.observe.redis.tracking import Tracking

if TYPE_CHECKING:
    from redis_message_queue.keys import QueueKeys
    from redis_message_queue.server import ServerFacts
    from redis_message_queue.stats import QueueSample

log = logging.getLogger(__name__)
K = TypeVar("K", bound=Hashable)
Connect = Callable[[ConnectionSettings], Any]
"""Makes an asyncio client of redis-py, whose face is untyped where it is awaited."""

FASTEST_SECONDS, SLOWEST_SECONDS = 0.2, 1.0
"""Between two samples."""
WAIT_SECONDS = 60.0
FEWEST_CONNECTIONS = 2
"""Where a URL allows no more, samples need them."""
SAMPLE_TIMEOUT_SECONDS = 10.0
# Whether messages are safe on a server changes seldom; each refused question leaves a line in its ACL LOG.
FACTS_SECONDS, UNTOLD_SECONDS, FACTS_AGAIN_SECONDS, FACTS_TIMEOUT_SECONDS = 300.0, 3600.0, 30.0, 1.0


@dataclass(frozen=True, slots=True)
class Watched:
    """One queue to sample. `wake`: whether its first message may and shall wake us before the next sample."""

    keys: QueueKeys
    settings: ConnectionSettings
    wake: bool = True


@dataclass(slots=True)
class SampledQueue:
    watched: Watched
    last: QueueSample | Exception | None = None
    waiter: asyncio.Task[None] | None = None
    wakes_in_vain: int = 0
    news: tuple[object, ...] = field(default=())
    news_at: float = float("inf")
    looked_at: float = 0.0
    waking: Waking = field(default=Waking())

    @property
    def waits(self) -> bool:
        return self.waiter is not None and not self.waiter.done()


class Endpoint(Generic[K]):
    """One Redis, one user: its client, the loop that samples, the waiters of its sleeping queues."""

    def __init__(
        self,
        settings: ConnectionSettings,
        changed: Callable[[K], None],
        sleepers: asyncio.Semaphore,
        took: Callable[[float], None] | None,
        clock: Callable[[], float],
        connect: Connect,
        pause: Callable[..., float],
    ) -> None:
        self.settings = settings
        self.queues: dict[K, SampledQueue] = {}
        self.tried_at = clock()
        self.facts: ServerFacts | None = None
        self._facts_due = 0.0
        self._clock = clock
        self._changed = changed
        self._sleepers = sleepers
        self._took = took
        self._connect = connect
        self._pause = pause
        self._client: Any = None
        self._hurry = asyncio.Event()
        self._hurried: set[K] = set()
        self._unarmed: set[K] = set()
        self._arming: asyncio.Task[None] | None = None
        self._silent = False
        self._tracking: Tracking[K] | None = (
            Tracking(self._told, settings.redacted) if settings.max_connections > FEWEST_CONNECTIONS else None
        )
        self._all_at = self._all_due = _now()
        self._failures = 0
        self._loop = asyncio.create_task(self._run(), name=f"sample {settings.redacted}")

    async def client(self) -> Any:
        """The one client of this endpoint (redis-py's clients are untyped where they are awaited)."""
        if self._client is None:
            self._client = self._connect(self.settings)
        return self._client

    def put(self, key: K, watched: Watched, before: SampledQueue | None = None) -> None:
        """Sample this queue; `before` is what another login has seen of it."""
        known = self.queues.get(key)
        if known is None:
            queue = self.queues[key] = SampledQueue(watched)
            if before is not None and before.watched.keys == watched.keys:
                queue.last, queue.news, queue.news_at = before.last, before.news, before.news_at
            self._hasten(key)
        elif known.watched != watched:
            if known.watched.keys != watched.keys:
                known.last, known.news = None, ()
            _cancel(known.waiter)
            self._forget(key)
            known.watched, known.waiter, known.waking = watched, None, Waking()
            self._hasten(key)

    def drop(self, key: K) -> None:
        _cancel(self.queues.pop(key).waiter)
        self._forget(key)

    def told(self) -> int:
        """How many queues rest until the server tells of a change."""
        return sum(queue.waking.rests for queue in self.queues.values())

    def _forget(self, key: K) -> None:
        self._unarmed.discard(key)
        if self._tracking is not None:
            self._tracking.forget(key)

    async def close(self) -> None:
        await ended([self._loop])
        if self._arming is not None:
            await ended([self._arming])
        if self._tracking is not None:
            await self._tracking.close()
        await ended(queue.waiter for queue in self.queues.values() if queue.waiter)
        if self._client is not None:
            with contextlib.suppress(*AWAY):
                await self._client.aclose()

    async def _run(self) -> None:
        # redis-py loses some cancellations, mostly while it connects: the task itself remembers them.
        while not cancelled():
            self._hurry.clear()
            hurried, self._hurried = self._hurried, set()
            if _now() >= self._all_due:
                due = {key: self.queues[key] for key in self._due() | hurried if key in self.queues}
                news = await self._sample(due, self._took)
                pause = self._pause(resting=not news)
                longest = max(pause, SLOWEST_SECONDS)
                self._all_at = _now()
                pause = min(pause * 2 ** min(self._failures, 3), longest)
                self._all_due = self._all_at + pause * random.uniform(0.9, 1.1)  # noqa: S311
            else:
                await self._sample({key: self.queues[key] for key in hurried if key in self.queues})
            self.tried_at = self._clock()
            if self._silent and self._tracking is not None:
                self._silent = False
                await self._tracking.distrust()
            self._arm()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._all_due - _now()):
                    await self._hurry.wait()

    def _due(self) -> set[K]:
        """What is to be looked at now, and of those that rest the one that was longest not looked at.

        That one shows whether the server can be read at all.
        """
        now = _now()
        due = {key for key, queue in self.queues.items() if waking.is_due(queue.waking, now)}
        if len(due) < len(self.queues):
            rest = (key for key in self.queues if key not in due)
            due.add(min(rest, key=lambda key: self.queues[key].looked_at))
        return due

    def _hasten(self, key: K) -> None:
        """Sample this queue at once: to sample all for each one of many would be quadratic."""
        self._hurried.add(key)
        self._hurry.set()

    async def _sample(
        self, queues: dict[K, SampledQueue], took: Callable[[float], None] | None = None
    ) -> bool:
        """Whether there were news."""
        if not queues:
            return False
        if not self._failures and _now() >= self._facts_due:
            await self._learn()
        started = self._clock()
        samples = await self._read(queues)
        if took is not None:
            took(self._clock() - started)
        failed = all(isinstance(each, Exception) for each in samples)
        if failed and (rest := {key: each for key, each in self.queues.items() if each.waking.rests}):
            for queue in rest.values():
                queue.waking = waking.lost(queue.waking)
            queues |= {key: queue for key, queue in rest.items() if key not in queues}
            samples = await self._read(queues)
            failed = all(isinstance(each, Exception) for each in samples)
        self._failures = self._failures + 1 if failed else 0
        news = False
        for (key, queue), seen in zip(queues.items(), samples, strict=True):
            if self.queues.get(key) is queue:
                news |= self._take(key, queue, seen)
        return news

    async def _read(self, queues: dict[K, SampledQueue]) -> Sequence[QueueSample | Exception]:
        for queue in queues.values():
            queue.waking = waking.looking(queue.waking)
        try:
            async with asyncio.timeout(SAMPLE_TIMEOUT_SECONDS):
                # A replica may be read, but no worker can claim there: its numbers are nobody's truth.
                keys = [queue.watched.keys for queue in queues.values()]
                return await sample_async(await self.client(), keys, of_master=True)
        except Exception as error:
            return [error] * len(queues)

    async def _learn(self) -> None:
        """Ask whether messages are safe on the server; what was known stays until it answers."""
        try:
            async with asyncio.timeout(FACTS_TIMEOUT_SECONDS):
                facts = await server_facts_async(await self.client())
        except Exception as error:
            log.debug("%s does not tell of itself: %s", self.settings.redacted, error)
            self._facts_due = _now() + FACTS_AGAIN_SECONDS
            return
        self._facts_due = _now() + (UNTOLD_SECONDS if facts.unknown else FACTS_SECONDS)
        if facts != self.facts:
            self.facts = facts
            for key, queue in self.queues.items():
                if queue.last is not None:  # or else its first sample is news anyway
                    self._changed(key)

    def _take(self, key: K, queue: SampledQueue, seen: QueueSample | Exception) -> bool:
        news = _news(seen)
        changed, queue.news, queue.last = news != queue.news, news, seen
        queue.looked_at = _now()
        sleeps = not isinstance(seen, Exception) and queue.watched.wake and _sleeps(seen)
        due_seconds = None if isinstance(seen, Exception) else seen.next_due_seconds
        queue.waking = waking.looked(
            queue.waking,
            sleeps=sleeps,
            now=_now(),
            due_seconds=due_seconds,
            share=random.uniform(0.7, 1.0),  # noqa: S311
        )
        if queue.waking.silent and self._tracking is not None and self._tracking.usable:
            self._silent = True
        (self._unarmed.add if sleeps and queue.waking.arming is None else self._unarmed.discard)(key)
        if changed:
            queue.news_at = self._clock()
            self._changed(key)
        if isinstance(seen, Exception):
            # At a server that is no master any more nobody is woken; samples would take its connection, too.
            _cancel(queue.waiter)
        # When enough connections sleep already, this queue is seen by the sample alone.
        elif sleeps and self._blocks() and not queue.waits and not self._sleepers.locked():
            queue.waiter = asyncio.create_task(self._wait(key, queue), name=f"wait {queue.watched.keys.name}")
        return changed

    def _blocks(self) -> bool:
        """Whether the server does not tell of changes, so that waiters are needed."""
        return self._tracking is None or self._tracking.refused

    def _told(self, key: K, changed: bool) -> None:
        """The server told of a change, or can tell of none any more."""
        if (queue := self.queues.get(key)) is not None:
            queue.waking = (waking.told if changed else waking.lost)(queue.waking)
            self._hasten(key)

    def _arm(self) -> None:
        """Have the server tell of those that sleep, without keeping samples waiting."""
        if self._arming is not None and not self._arming.done():
            return
        if self._tracking is not None and self._unarmed and self._tracking.usable:
            now = _now()
            keys = [key for key in self._unarmed if self.queues[key].waking.arm_at <= now]
            if keys:
                wanted = {key: self.queues[key] for key in keys}
                self._arming = asyncio.create_task(self._have_told(self._tracking, wanted))

    async def _have_told(self, tracking: Tracking[K], wanted: dict[K, SampledQueue]) -> None:
        names = {key: _read_keys(queue) for key, queue in wanted.items()}
        for key, number in (await tracking.arm(await self.client(), names)).items():
            queue = wanted[key]
            if self.queues.get(key) is not queue or _read_keys(queue) != names[key]:
                tracking.forget(key)
                continue
            _cancel(queue.waiter)
            queue.waking = waking.armed(queue.waking, number)
            self._unarmed.discard(key)
            self._hasten(key)

    async def _wait(self, key: K, queue: SampledQueue) -> None:
        """Sleep in a blocking pop until the queue has a message, then have it sampled."""
        if self._sleepers.locked():
            return
        async with self._sleepers:
            started = _now()
            try:
                consumer = Consumer(
                    await self.client(), queue.watched.keys.name, key_separator=queue.watched.keys.separator
                )
                woken = await consumer.wait(WAIT_SECONDS)
            except AWAY as error:
                log.debug("cannot wait for %s: %s", queue.watched.keys.name, error)
                await asyncio.sleep(SLOWEST_SECONDS)
                return
            if not woken:
                return
            self._hasten(key)
            # It may be one of a burst, whose other queues have no sleeper.
            self._all_due = min(self._all_due, self._all_at + FASTEST_SECONDS)
            # Somebody else may take the message before we look: do not spin with whoever is that fast.
            short = _now() - started < SLOWEST_SECONDS
            queue.wakes_in_vain = queue.wakes_in_vain + 1 if short else 0
            if queue.wakes_in_vain:
                await asyncio.sleep(min(0.25, 0.01 * 2**queue.wakes_in_vain) * random.uniform(0.5, 1.0))  # noqa: S311


def _now() -> float:
    """The time by which this loop sleeps."""
    return asyncio.get_running_loop().time()


def _read_keys(queue: SampledQueue) -> list[str]:
    """All that a sample reads."""
    return [as_text(name) for name in sample_call(queue.watched.keys).keys]


def _cancel(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()


def _sleeps(seen: QueueSample) -> bool:
    """Nothing to do and nobody there: the next thing to happen is a message."""
    return seen.pending == 0 and seen.in_flight == 0 and not seen.workers


def _news(seen: QueueSample | Exception) -> tuple[object, ...]:
    """The part of a sample that can change a decision; ages and clocks move without being news."""
    if isinstance(seen, Exception):
        return (type(seen), str(seen))
    workers = tuple(
        (w.id, w.slots, w.busy, w.draining, w.retired, w.tripped, w.config_hash) for w in seen.workers
    )
    counters = (seen.pending, seen.delayed, seen.delayed_due, seen.in_flight, seen.expired, seen.orphaned)
    return (*counters, seen.failed, seen.dead_letter, seen.claims_total, workers)
