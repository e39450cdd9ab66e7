"""Contestants that are task queues: each with its own worker in this process, as configured by default.

Results are switched off where there is a switch, and a task is acknowledged after it ran where that is a
choice.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from typing import Any

import peer_tasks
import redis
from measure import PAYLOAD, Counting, Meter, Waking, repeat, repeat_async


class Peer:
    """A task queue with a blocking producer; `work` runs until the process ends."""

    # About what it handles in a second, so that a run takes about the time that was asked for.
    per_second = 1500
    at_least = 50

    def __init__(self, url: str, meter: Meter, seconds: float) -> None:
        self.url, self.meter, self.seconds = url, meter, seconds
        self.set_up()

    def set_up(self) -> None:
        """Build what both sides need."""
        raise NotImplementedError

    def send(self, payload: str) -> None:
        """Enqueue one task."""
        raise NotImplementedError

    def work(self) -> None:
        """Run the worker."""
        raise NotImplementedError

    def fill(self, count: int) -> None:
        """Enqueue many tasks, that workers of other processes handle."""
        for _ in range(count):
            self.send(PAYLOAD)

    def publish(self) -> dict[str, float]:
        """Enqueue tasks."""

        def step() -> int:
            self.send(PAYLOAD)
            return 1

        return repeat(self.meter, self.seconds, step)

    def process(self) -> None:
        """Handle tasks that are all there from the start."""
        total = max(self.at_least, int(self.seconds * self.per_second))
        for _ in range(total):
            self.send(PAYLOAD)
        peer_tasks.handlers.append(Counting(self.meter, total))
        self.work()

    def idle(self) -> None:
        """Handle tasks that come now and then."""
        peer_tasks.handlers.append(Waking(self.meter, int(self.seconds), self.send))
        self.work()


class AsyncPeer(Peer):
    """A task queue on asyncio: `send_async` and `work_async` instead, each on a loop of its own."""

    async def connect(self) -> None:
        """Get ready to send, on the running loop."""

    async def send_async(self, payload: str) -> None:
        """Enqueue one task."""
        raise NotImplementedError

    async def work_async(self) -> None:
        """Run the worker."""
        raise NotImplementedError

    @functools.cached_property
    def _producer(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, daemon=True).start()
        asyncio.run_coroutine_threadsafe(self.connect(), loop).result()
        return loop

    def send(self, payload: str) -> None:
        """Enqueue one task, from the handler's or the producer's thread."""
        asyncio.run_coroutine_threadsafe(self.send_async(payload), self._producer).result()

    def work(self) -> None:
        """Run the worker."""
        asyncio.run(self.work_async())

    def publish(self) -> dict[str, float]:
        """Enqueue tasks, awaiting each."""

        async def step() -> int:
            await self.send_async(PAYLOAD)
            return 1

        async def main() -> dict[str, float]:
            await self.connect()
            return await repeat_async(self.meter, self.seconds, step)

        return asyncio.run(main())


class Rq(Peer):
    """rq: the worker that does not fork, the fastest one."""

    per_second = 250

    def set_up(self) -> None:
        """Build the queue."""
        import rq

        self.library: Any = rq
        self.queue = rq.Queue("bench", connection=redis.Redis.from_url(self.url))

    def send(self, payload: str) -> None:
        """Enqueue."""
        self.queue.enqueue(peer_tasks.handle, payload, result_ttl=0)

    def work(self) -> None:
        """Run a SimpleWorker."""
        worker = self.library.SimpleWorker([self.queue], connection=self.queue.connection)
        worker.work(logging_level="ERROR")


class Dramatiq(Peer):
    """dramatiq: 8 threads."""

    per_second = 2500

    def set_up(self) -> None:
        """Build the broker."""
        import dramatiq
        from dramatiq.brokers.redis import RedisBroker

        self.library: Any = dramatiq
        self.broker = RedisBroker(url=self.url)
        dramatiq.set_broker(self.broker)
        self._lock = threading.Lock()

        def one_at_a_time(payload: str) -> None:
            with self._lock:
                peer_tasks.handle(payload)

        self.actor = dramatiq.actor(one_at_a_time)

    def send(self, payload: str) -> None:
        """Enqueue."""
        self.actor.send(payload)

    def work(self) -> None:
        """Run a Worker."""
        self.library.Worker(self.broker).start()
        threading.Event().wait()


class Arq(AsyncPeer):
    """arq: max_jobs 10."""

    per_second = 250
    at_least = 250  # it reads about 100 jobs, twice a second

    def set_up(self) -> None:
        """Read the address."""
        from arq import connections, func, worker

        self.connections, self.workers, self.func = connections, worker, func
        self.settings = connections.RedisSettings.from_dsn(self.url)

    async def connect(self) -> None:
        """Connect."""
        self.pool = await self.connections.create_pool(self.settings)

    async def send_async(self, payload: str) -> None:
        """Enqueue."""
        await self.pool.enqueue_job("handle", payload)

    async def work_async(self) -> None:
        """Run a Worker."""

        async def handle(_: Any, payload: str) -> None:
            peer_tasks.handle(payload)

        worker = self.workers.Worker(
            functions=[self.func(handle, name="handle", keep_result=0)],
            redis_settings=self.settings,
            handle_signals=False,
        )
        await worker.async_run()


class Saq(AsyncPeer):
    """saq: concurrency 10."""

    per_second = 1500

    def set_up(self) -> None:
        """Build the queue of this side."""
        import saq

        self.library: Any = saq
        self.queue = saq.Queue.from_url(self.url)

    async def connect(self) -> None:
        """Connect."""
        await self.queue.connect()

    async def send_async(self, payload: str) -> None:
        """Enqueue."""
        await self.queue.enqueue("handle", payload=payload, ttl=-1)

    async def work_async(self) -> None:
        """Run a Worker."""

        async def handle(_: Any, *, payload: str) -> None:
            peer_tasks.handle(payload)

        queue = self.library.Queue.from_url(self.url)
        await self.library.Worker(queue, functions=[("handle", handle)], concurrency=10).start()


class Taskiq(AsyncPeer):
    """taskiq with the stream broker of taskiq-redis."""

    per_second = 3000

    def set_up(self) -> None:
        """Build the broker of this side."""
        self.broker, self.task = self._build()

    def _build(self) -> tuple[Any, Any]:
        from taskiq_redis import RedisStreamBroker

        broker = RedisStreamBroker(self.url)

        async def handle(payload: str) -> None:
            peer_tasks.handle(payload)

        return broker, broker.register_task(handle, task_name="handle")

    async def connect(self) -> None:
        """Connect."""
        await self.broker.startup()

    async def send_async(self, payload: str) -> None:
        """Enqueue."""
        await self.task.kiq(payload)

    async def work_async(self) -> None:
        """Run a Receiver."""
        from taskiq.api import run_receiver_task

        broker, _ = self._build()
        broker.is_worker_process = True
        await broker.startup()
        await run_receiver_task(broker)


class Celery(Peer):
    """celery: the solo pool, the fastest one for short tasks."""

    per_second = 1000

    def set_up(self) -> None:
        """Build the app."""
        import celery

        self.app = celery.Celery("bench", broker=self.url)
        self.app.conf.update(task_acks_late=True, task_ignore_result=True, worker_hijack_root_logger=False)
        self.task = self.app.task(peer_tasks.handle, name="handle")

    def send(self, payload: str) -> None:
        """Enqueue."""
        self.task.delay(payload)

    def work(self) -> None:
        """Run a worker."""
        logging.disable(logging.CRITICAL)
        self.app.worker_main(
            [
                "worker",
                "--pool=solo",
                "--without-gossip",
                "--without-mingle",
                "--loglevel=CRITICAL",
            ]
        )
