"""Fixtures for pytest, which loads this module at each start: it imports nothing until one is used."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redisqueue_worker.embedded_redis import EmbeddedRedis
    from redisqueue_worker.testing.worker_run import RunWorker


@pytest.fixture(scope="session")
def redisqueue_server() -> Iterator[EmbeddedRedis]:
    """A Valkey or Redis server of these tests alone, on loopback."""
    from redisqueue_worker.embedded_redis import EmbeddedRedis, NoServerFound  # noqa: PLC0415

    try:
        server = EmbeddedRedis()
    except NoServerFound as missing:
        pytest.fail(f"{missing}; or define a fixture redisqueue_url with the URL of one", pytrace=False)
    with server:
        yield server


@pytest.fixture
def redisqueue_url(redisqueue_server: EmbeddedRedis) -> str:
    """The URL of that server, which is emptied before each test. Define it anew for a server of your own."""
    import redis  # noqa: PLC0415

    with redis.Redis.from_url(redisqueue_server.url) as client:
        client.flushall()
    return redisqueue_server.url


@pytest.fixture
def redisqueue_queue(redisqueue_url: str) -> Iterator[str]:
    """The name of a queue that no other test has; its keys are deleted after the test."""
    import uuid  # noqa: PLC0415

    import redis  # noqa: PLC0415

    name = f"test-{uuid.uuid4().hex[:12]}"
    yield name
    with redis.Redis.from_url(redisqueue_url) as client:
        for key in client.scan_iter(f"{name}::*"):
            client.delete(key)


@pytest.fixture
def run_worker_until_empty(redisqueue_url: str, redisqueue_queue: str) -> RunWorker:
    """A function that runs a worker on the test's queue: see `redisqueue_worker.testing`."""
    from redisqueue_worker.testing.worker_run import run_worker_until_empty  # noqa: PLC0415

    return partial(run_worker_until_empty, redis_url=redisqueue_url, queue=redisqueue_queue)
