"""Redis at a glance: one connection per endpoint and user, its queues in one pipeline, every moment.

A queue that was sampled empty is also waited on with a blocking, non-consuming pop, so that its first message
is seen at once and not at the next sample.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Coroutine, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakValueDictionary

from redis_message_queue.asyncio.consumer import Consumer
from redis_message_queue.connection import ConnectionSettings
from redis_message_queue.server import server_facts_async
from redis_message_queue.stats import retire_async, sample_async, unretire_async
from redis_message_queue.trouble import AWAY
from redisqueue_operator.interruptible import cancelled, within
from redisqueue_operator.observe.redis.pace import (
    FASTEST_SECONDS,
    SLOWEST_SECONDS,
    interval_seconds,
    patience,
)
from redisqueue_operator.platform import Conflict

if TYPE_CHECKING:
    from redis_message_queue.keys import QueueKeys
    from redis_message_queue.server import ServerFacts
    from redis_message_queue.stats import QueueSample

log = logging.getLogger(__name__)
K = TypeVar("K", bound=Hashable)
_Place = tuple[str, str]
Connect = Callable[[ConnectionSettings], Any]
"""Makes an asyncio client of redis-py, whose face is untyped where it is awaited."""

MOST_SLEEPERS = 64
WAIT_SECONDS = 60.0
SAMPLE_TIMEOUT_SECONDS = 10.0
# A server that stalls keeps few of those waiting who ask for marks, and none of them for long.
MARK_TIMEOUT_SECONDS, MARKS_AT_ONCE, TURN_TIMEOUT_SECONDS = 1.0, 4, 0.1
# Whether messages are safe on a server changes seldom; each refused question leaves a line in its ACL LOG.
FACTS_SECONDS, UNTOLD_SECONDS, FACTS_AGAIN_SECONDS, FACTS_TIMEOUT_SECONDS = 300.0, 3600.0, 30.0, 1.0


@dataclass(frozen=True, slots=True)
class Watched:
    """One queue to sample. `wake`: whether its first message may and shall wake us through a blocking pop."""

    keys: QueueKeys
    settings: ConnectionSettings
    wake: bool = True


class Sampler(Generic[K]):
    """Samples what it is told to `watch`; calls `changed(key)` when a decision could come out differently."""

    def __init__(
        self,
        changed: Callable[[K], None],
        took: Callable[[float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        connect: Connect = ConnectionSettings.connect_async,
    ) -> None:
        self._changed = changed
        self._took = took
        self._clock = clock
        self._connect = connect
        self._endpoints: dict[ConnectionSettings, _Endpoint[K]] = {}
        self._at: dict[K, _Endpoint[K]] = {}
        self._sleepers = asyncio.Semaphore(MOST_SLEEPERS)
        self._turns: WeakValueDictionary[_Place, asyncio.Semaphore] = WeakValueDictionary()
        self._closing: set[asyncio.Task[None]] = set()

    def watch(self, key: K, watched: Watched) -> None:
        """Sample this queue from now on; harmless when that is the case already."""
        endpoint = self._at.get(key)
        known: _Queue | None = None
        if endpoint is not None and endpoint.settings != watched.settings:
            if _place(endpoint.settings) == _place(watched.settings):
                known = endpoint.queues[key]  # another login: what was seen there is still true
            self.unwatch(key)
            endpoint = None
        if endpoint is None:
            endpoint = self._endpoints.get(watched.settings)
            if endpoint is None:
                endpoint = _Endpoint(
                    watched.settings,
                    self._changed,
                    self._sleepers,
                    self._took,
                    self._clock,
                    self._connect,
                    self._pause,
                )
                endpoint.turns = self._turns.setdefault(_place(watched.settings), endpoint.turns)
                self._endpoints[watched.settings] = endpoint
            self._at[key] = endpoint
        endpoint.put(key, watched, known)

    def unwatch(self, key: K) -> None:
        """Forget the queue; the last one of an endpoint closes its connections."""
        endpoint = self._at.pop(key, None)
        if endpoint is None:
            return
        endpoint.drop(key)
        if not endpoint.queues:
            del self._endpoints[endpoint.settings]
            task = asyncio.create_task(endpoint.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def last(self, key: K) -> QueueSample | Exception | None:
        """The newest sample, or why there is none; None before the first."""
        endpoint = self._at.get(key)
        return endpoint.queues[key].last if endpoint else None

    def server(self, key: K) -> ServerFacts | None:
        """What the queue's server last said of itself; None before it answered."""
        endpoint = self._at.get(key)
        return endpoint.facts if endpoint else None

    def age_of_news(self, key: K) -> float:
        """Seconds since a sample last said something new about the queue."""
        return self._clock() - self._at[key].queues[key].news_at

    @property
    def endpoints(self) -> int:
        """How many Redis servers, by user, are sampled."""
        return len(self._endpoints)

    @property
    def sleepers(self) -> int:
        """How many queues are waited on."""
        queues = (queue for endpoint in self._endpoints.values() for queue in endpoint.queues.values())
        return sum(queue.waits for queue in queues)

    def silent_seconds(self) -> float:
        """Since the last try to sample, of the endpoint where it is longest ago."""
        now = self._clock()
        return max((now - endpoint.tried_at for endpoint in self._endpoints.values()), default=0.0)

    async def retire(self, key: K, worker_ids: Sequence[str]) -> tuple[str, ...]:
        """Ask idle workers to claim nothing more; the ids of those that will not.

        Raises one of `AWAY`, also when the server takes its time, and Conflict while it keeps others waiting.
        """
        return await self._mark(key, retire_async, worker_ids)

    async def unretire(self, key: K, worker_ids: Sequence[str]) -> None:
        """Take that back. Raises as `retire`."""
        await self._mark(key, unretire_async, worker_ids)

    async def _mark(
        self, key: K, mark: Callable[..., Coroutine[Any, Any, tuple[str, ...]]], worker_ids: Sequence[str]
    ) -> tuple[str, ...]:
        endpoint = self._at[key]
        keys, turns = endpoint.queues[key].watched.keys, endpoint.turns
        try:
            async with asyncio.timeout(TURN_TIMEOUT_SECONDS):
                await turns.acquire()
        except TimeoutError:
            raise Conflict(f"{endpoint.settings.redacted} keeps others waiting already") from None
        try:
            return await within(MARK_TIMEOUT_SECONDS, mark(await endpoint.client(), keys, worker_ids))
        finally:
            turns.release()

    def _pause(self, *, resting: bool) -> float:
        """Until the next sample of an endpoint."""
        queues = len(self._at)
        return interval_seconds(queues) * (patience(queues, len(self._endpoints)) if resting else 1.0)

    async def close(self) -> None:
        """End every loop and connection."""
        self._at.clear()
        endpoints = list(self._endpoints.values())
        self._endpoints.clear()
        await asyncio.gather(*(endpoint.close() for endpoint in endpoints), *self._closing)


@dataclass(slots=True)
class _Queue:
    watched: Watched
    last: QueueSample | Exception | None = None
    waiter: asyncio.Task[None] | None = None
    wakes_in_vain: int = 0
    news: tuple[object, ...] = field(default=())
    news_at: float = float("inf")

    @property
    def waits(self) -> bool:
        return self.waiter is not None and not self.waiter.done()


class _Endpoint(Generic[K]):
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
        self.queues: dict[K, _Queue] = {}
        self.tried_at = clock()
        self.facts: ServerFacts | None = None
        self.turns = asyncio.Semaphore(MARKS_AT_ONCE)
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
        self._all_at = self._all_due = _now()
        self._failures = 0
        self._loop = asyncio.create_task(self._run(), name=f"sample {settings.redacted}")

    async def client(self) -> Any:
        """The one client of this endpoint (redis-py's clients are untyped where they are awaited)."""
        if self._client is None:
            self._client = self._connect(self.settings)
        return self._client

    def put(self, key: K, watched: Watched, before: _Queue | None = None) -> None:
        """Sample this queue; `before` is what another login has seen of it."""
        known = self.queues.get(key)
        if known is None:
            queue = self.queues[key] = _Queue(watched)
            if before is not None and before.watched.keys == watched.keys:
                queue.last, queue.news, queue.news_at = before.last, before.news, before.news_at
            self._hasten(key)
        elif known.watched != watched:
            if known.watched.keys != watched.keys:
                known.last, known.news = None, ()
            _cancel(known.waiter)
            known.watched, known.waiter = watched, None
            self._hasten(key)

    def drop(self, key: K) -> None:
        _cancel(self.queues.pop(key).waiter)

    async def close(self) -> None:
        self._loop.cancel()
        await asyncio.gather(self._loop, return_exceptions=True)
        waiters = [queue.waiter for queue in self.queues.values() if queue.waiter]
        for waiter in waiters:
            waiter.cancel()
        await asyncio.gather(*waiters, return_exceptions=True)
        if self._client is not None:
            with contextlib.suppress(*AWAY):
                await self._client.aclose()

    async def _run(self) -> None:
        # redis-py loses some cancellations, mostly while it connects: the task itself remembers them.
        while not cancelled():
            self._hurry.clear()
            hurried, self._hurried = self._hurried, set()
            if _now() >= self._all_due:
                news = await self._sample(dict(self.queues), self._took)
                pause = self._pause(resting=not news)
                longest = max(pause, SLOWEST_SECONDS)
                self._all_at = _now()
                pause = min(pause * 2 ** min(self._failures, 3), longest)
                self._all_due = self._all_at + pause * random.uniform(0.9, 1.1)  # noqa: S311
            else:
                await self._sample({key: self.queues[key] for key in hurried if key in self.queues})
            self.tried_at = self._clock()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._all_due - _now()):
                    await self._hurry.wait()

    def _hasten(self, key: K) -> None:
        """Sample this queue at once: to sample all for each one of many would be quadratic."""
        self._hurried.add(key)
        self._hurry.set()

    async def _sample(self, queues: dict[K, _Queue], took: Callable[[float], None] | None = None) -> bool:
        """Whether there were news."""
        if not queues:
            return False
        if not self._failures and _now() >= self._facts_due:
            await self._learn()
        started = self._clock()
        try:
            async with asyncio.timeout(SAMPLE_TIMEOUT_SECONDS):
                client = await self.client()
                # A replica may be read, but no worker can claim there: its numbers are nobody's truth.
                keys = [queue.watched.keys for queue in queues.values()]
                samples = await sample_async(client, keys, of_master=True)
        except Exception as error:
            samples = [error] * len(queues)
        if took is not None:
            took(self._clock() - started)
        failed = all(isinstance(each, Exception) for each in samples)
        self._failures = self._failures + 1 if failed else 0
        news = False
        for (key, queue), seen in zip(queues.items(), samples, strict=True):
            if self.queues.get(key) is queue:
                news |= self._take(key, queue, seen)
        return news

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

    def _take(self, key: K, queue: _Queue, seen: QueueSample | Exception) -> bool:
        news = _news(seen)
        changed, queue.news, queue.last = news != queue.news, news, seen
        if changed:
            queue.news_at = self._clock()
            self._changed(key)
        if isinstance(seen, Exception):
            # At a server that is no master any more nobody is woken; samples would take its connection, too.
            _cancel(queue.waiter)
        # When enough connections sleep already, this queue is seen by the sample alone.
        elif queue.watched.wake and _sleeps(seen) and not queue.waits and not self._sleepers.locked():
            queue.waiter = asyncio.create_task(self._wait(key, queue), name=f"wait {queue.watched.keys.name}")
        return changed

    async def _wait(self, key: K, queue: _Queue) -> None:
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


def _place(settings: ConnectionSettings) -> _Place:
    """Which Redis that is, whoever logs in."""
    return settings.mode, settings.redacted


def _now() -> float:
    """The time by which this loop sleeps."""
    return asyncio.get_running_loop().time()


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
