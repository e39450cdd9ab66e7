"""Producers: a thread for each queue, which enqueues until it is told to stop, whatever Redis says."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import redis
from tests.chaos.queues import KINDS, Kind

from redis_message_queue import RedisMessageQueue
from redis_message_queue.exceptions import RetryBudgetExhaustedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.books import Books
    from tests.chaos.redis_pair import RedisPair

PATIENCE_SECONDS = 5.0
"""After which a producer gives an attempt up, and makes another one."""


@dataclass(frozen=True)
class Load:
    """How long handlers take: most a moment, and `long_part` of them `long_seconds`."""

    long_seconds: float = 0.0
    long_part: float = 0.0


@contextmanager
def produce(load: Load, pair: RedisPair, books: Books, seed: int) -> Iterator[None]:
    """Messages come until the end of the block, and what is under way then is acknowledged."""
    stopping = threading.Event()
    with ThreadPoolExecutor() as pool:
        producers = [pool.submit(_produce, kind, load, pair, books, seed, stopping) for kind in KINDS]
        try:
            yield
        finally:
            stopping.set()
        for each in producers:
            each.result()


def _produce(
    kind: Kind, load: Load, pair: RedisPair, books: Books, seed: int, stopping: threading.Event
) -> None:
    draw = random.Random(f"{seed} {kind.name}")
    number = 0
    while not stopping.wait(draw.expovariate(kind.per_second)):
        number += 1
        long = draw.random() < load.long_part
        seconds = load.long_seconds if long else round(draw.uniform(0.05, 0.6), 2)
        job = {"id": f"{kind.name}-{number}", "seconds": seconds}
        _until_acknowledged(kind, job, kind.options(draw), pair)
        books.write("enqueued", id=job["id"], queue=kind.name, at=time.time())


def _until_acknowledged(kind: Kind, job: dict[str, object], options: dict[str, Any], pair: RedisPair) -> None:
    """The same message again and again: by its key it is enqueued once, whichever attempt arrives."""
    while True:
        try:
            with pair.producer() as client:
                queue = RedisMessageQueue(kind.name, client=client, publish_timeout_seconds=PATIENCE_SECONDS)
                queue.enqueue(job, deduplication_key=str(job["id"]), **options)
            return
        except (RetryBudgetExhaustedError, redis.RedisError):
            time.sleep(0.2)
