"""Redis at a glance: one connection per endpoint and user, its queues in one pipeline, every moment.

The first message of a queue that sleeps is seen at once and not at the next sample: the server tells of it,
over one more connection for all of them, or else some are waited on with a blocking, non-consuming pop.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from redis_message_queue.connection import ConnectionSettings
from redis_message_queue.holders import expire_leases_async
from redis_message_queue.stats import retire_async, unretire_async
from redisqueue_operator.errors import Conflict
from redisqueue_operator.interruptible import within
from redisqueue_operator.observe.redis.bulkhead import Bulkhead, server_at
from redisqueue_operator.observe.redis.endpoint import (
    FASTEST_SECONDS,
    SLOWEST_SECONDS,
    Connect,
    Endpoint,
    K,
    SampledQueue,
    Watched,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from redis_message_queue.keys import QueueKeys
    from redis_message_queue.server import ServerFacts
    from redis_message_queue.stats import QueueSample

T = TypeVar("T")
_Place = tuple[str, str]

MOST_SLEEPERS = 64
# A server that stalls keeps few of those waiting who ask for marks, and none of them for long. All together
# are half of what the control loop looks at at a time, and servers that stalled lately have half of these.
MARK_TIMEOUT_SECONDS, TURN_TIMEOUT_SECONDS, SLOW_SECONDS = 1.0, 0.1, 0.2
MARKS_AT_ONCE, MARKS_EACH = 8, 4
FEW_QUEUES, MANY_QUEUES = 20, 300
# A round trip costs about as much as so many more queues in a pipeline.
QUEUES_PER_ENDPOINT = 10


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
        self._endpoints: dict[ConnectionSettings, Endpoint[K]] = {}
        self._at: dict[K, Endpoint[K]] = {}
        self._sleepers = asyncio.Semaphore(MOST_SLEEPERS)
        self._marks: Bulkhead[str] = Bulkhead(
            total=MARKS_AT_ONCE, each=MARKS_EACH, slow_seconds=SLOW_SECONDS, clock=clock
        )
        self._closing: set[asyncio.Task[None]] = set()

    def watch(self, key: K, watched: Watched) -> None:
        """Sample this queue from now on; harmless when that is the case already."""
        endpoint = self._at.get(key)
        known: SampledQueue | None = None
        if endpoint is not None and endpoint.settings != watched.settings:
            if _place(endpoint.settings) == _place(watched.settings):
                known = endpoint.queues[key]  # another login: what was seen there is still true
            self.unwatch(key)
            endpoint = None
        if endpoint is None:
            endpoint = self._endpoints.get(watched.settings)
            if endpoint is None:
                endpoint = Endpoint(
                    watched.settings,
                    self._changed,
                    self._sleepers,
                    self._took,
                    self._clock,
                    self._connect,
                    self._pause,
                )
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

    async def reach(self, key: K) -> tuple[Any, QueueKeys, ConnectionSettings] | None:
        """The client by which the queue is read, its keys, and where that is; None when it is not read."""
        if (endpoint := self._at.get(key)) is None:
            return None
        return await endpoint.client(), endpoint.queues[key].watched.keys, endpoint.settings

    @property
    def endpoints(self) -> int:
        """How many Redis servers, by user, are sampled."""
        return len(self._endpoints)

    @property
    def sleepers(self) -> int:
        """How many queues are waited on."""
        queues = (queue for endpoint in self._endpoints.values() for queue in endpoint.queues.values())
        return sum(queue.waits for queue in queues)

    @property
    def told(self) -> int:
        """How many queues rest until their server tells of a change."""
        return sum(endpoint.told() for endpoint in self._endpoints.values())

    def silent_seconds(self) -> float:
        """Since the last try to sample, of the endpoint where it is longest ago."""
        now = self._clock()
        return max((now - endpoint.tried_at for endpoint in self._endpoints.values()), default=0.0)

    async def retire(self, key: K, worker_ids: Sequence[str]) -> tuple[str, ...]:
        """Ask idle workers to claim nothing more; the ids of those that will not.

        Raises one of `AWAY`, also when the server takes its time, and Conflict while it keeps others waiting.
        """
        return await self._ask(key, retire_async, worker_ids)

    async def unretire(self, key: K, worker_ids: Sequence[str]) -> None:
        """Take that back. Raises as `retire`."""
        await self._ask(key, unretire_async, worker_ids)

    async def give_back(self, key: K, instances: Sequence[str]) -> int:
        """Have what these dead processes hold pending again; how many messages. Raises as `retire`."""
        return await self._ask(key, _expire_all, instances)

    async def _ask(self, key: K, what: Callable[..., Coroutine[Any, Any, T]], names: Sequence[str]) -> T:
        endpoint = self._at[key]
        keys, server = endpoint.queues[key].watched.keys, server_at(endpoint.settings)
        async with contextlib.AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self._marks.slot(server, within_seconds=TURN_TIMEOUT_SECONDS))
            except TimeoutError:
                raise Conflict(f"{endpoint.settings.redacted} keeps others waiting already") from None
            return await within(MARK_TIMEOUT_SECONDS, what(await endpoint.client(), keys, names))

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


async def _expire_all(client: Any, keys: QueueKeys, instances: Sequence[str]) -> int:
    return sum([await expire_leases_async(client, keys, each) for each in instances])


def _place(settings: ConnectionSettings) -> _Place:
    """Which Redis that is, whoever logs in."""
    return settings.mode, settings.redacted


def interval_seconds(queues: int) -> float:
    """Pause between two samples of an endpoint with so many queues in all: 0.2 s for few, 1 s for many."""
    share = (queues - FEW_QUEUES) / (MANY_QUEUES - FEW_QUEUES)
    return FASTEST_SECONDS + (SLOWEST_SECONDS - FASTEST_SECONDS) * min(1.0, max(0.0, share))


def patience(queues: int, endpoints: int) -> float:
    """How many times as long it may be where there are no news.

    More than once where the queues are spread over many servers or logins, so that these cost at most twice
    of what the same queues on one server with one login cost.
    """
    cost = queues + QUEUES_PER_ENDPOINT * (endpoints - 1)
    return max(1.0, cost / (2 * max(queues, 1)))
