"""Nothing is lost, and nothing is handled twice but for a crash or an outage longer than the lease.

Each test counts what handlers began with. A message that was begun twice is held against the slots that a
crash, or an outage longer than the lease, can have caught in the middle.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
import redis
from tests.support.programs import paused
from tests.support.worker_process import KEYS, WorkerProcess, counters, eventually, publish

from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
SLOTS = 4
IN_HAND = 4 * SLOTS  # what is prefetched counts
# Long enough for a machine that has more to do than this test, whose processes may have to wait.
LEASE_SECONDS = 6


@pytest.fixture
def server() -> Iterator[EmbeddedRedis]:
    """A server that forgets nothing it has answered, and that only this test has."""
    with EmbeddedRedis(arguments=DURABLE) as started:
        yield started


@pytest.fixture
def client(server: EmbeddedRedis) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as connected:
        yield connected


def elapse(seconds: float) -> None:
    """The length of an outage is what these tests are about."""
    time.sleep(seconds)


class Fleet:
    """Workers on one folder, so that all note what they do in the same place."""

    def __init__(self, folder: Path, url: str, stack: ExitStack, **settings: object) -> None:
        self.folder = folder
        self._stack = stack
        self._url = settings.pop("redis_url", url)
        self._settings = {"concurrency": SLOTS, "visibility_timeout_seconds": LEASE_SECONDS, **settings}
        self.workers: list[WorkerProcess] = []

    def add(self) -> WorkerProcess:
        name = f"worker-{len(self.workers)}"
        settings = {"worker_id": name, **self._settings}
        worker = WorkerProcess(self.folder, self._url, "record", **settings)
        self.workers.append(self._stack.enter_context(worker))
        return worker

    @property
    def begun(self) -> Counter[str]:
        """How often each message was begun with."""
        return Counter(self.workers[0].noted("started"))

    @property
    def duplicates(self) -> int:
        begun = self.begun
        return begun.total() - len(begun)

    def until_begun(self, count: int) -> None:
        eventually(lambda: len(self.begun) >= count, f"{count} messages begun with")


def settled(client: redis.Redis) -> bool:
    now = counters(client)
    return now.pending == now.processing == now.delayed == 0


@contextmanager
def fleet(folder: Path, server: EmbeddedRedis, **settings: object) -> Iterator[Fleet]:
    with ExitStack() as stack:
        yield Fleet(folder, server.url, stack, **settings)


def publish_numbered(client: redis.Redis, count: int) -> None:
    for start in range(0, count, 1000):
        publish(client, *(str(number) for number in range(start, min(start + 1000, count))))


@pytest.mark.timeout(150)
def test_ten_thousand_messages_through_every_trouble(
    tmp_path: Path, server: EmbeddedRedis, client: redis.Redis
) -> None:
    publish_numbered(client, 10_000)
    with fleet(tmp_path, server) as workers:
        first, second = workers.add(), workers.add()
        workers.until_begun(1000)
        first.signal(signal.SIGKILL)
        workers.add()
        workers.until_begun(2500)
        with paused(server):
            elapse(1)
        workers.until_begun(4000)
        server.stop(kill=True)
        server.start()
        workers.until_begun(5500)
        with paused(server):
            elapse(LEASE_SECONDS + 1)
        workers.until_begun(7000)
        second.signal(signal.SIGTERM)
        assert second.wait() == 0
        third = workers.add()
        workers.until_begun(8500)
        third.signal(signal.SIGKILL)
        workers.add()
        workers.until_begun(10_000)
        eventually(lambda: settled(client), "all settled")
        # Two kills caught what one worker had in hand each, the long pause that of two workers.
        assert workers.duplicates <= 4 * IN_HAND
    assert counters(client).dead_letter == counters(client).failed == 0


def test_a_pause_shorter_than_the_lease_and_a_restart_make_no_duplicates(
    tmp_path: Path, server: EmbeddedRedis, client: redis.Redis
) -> None:
    publish_numbered(client, 3000)
    with fleet(tmp_path, server, visibility_timeout_seconds=30) as workers:
        workers.add()
        workers.add()
        workers.until_begun(500)
        with paused(server):
            elapse(1)
        workers.until_begun(1000)
        server.stop(kill=True)
        server.start()
        workers.until_begun(3000)
        eventually(lambda: settled(client), "all settled")
        assert workers.duplicates == 0
        lost = [line for worker in workers.workers for line in worker.messages() if "lease lost" in line]
        assert lost == []


def test_a_pause_longer_than_lease_and_socket_timeout(
    tmp_path: Path, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """The calls fail, and the server does what they asked when it wakes up, with nobody listening."""
    publish_numbered(client, 1000)
    with fleet(tmp_path, server, redis_url=f"{server.url}?socket_timeout={LEASE_SECONDS + 1}") as workers:
        worker = workers.add()
        workers.until_begun(300)
        with paused(server):
            worker.logged("Redis does not answer, trying again")
        workers.until_begun(1000)
        eventually(lambda: settled(client), "all settled")
        assert workers.duplicates <= IN_HAND


def test_sigkill_at_any_moment_loses_nothing(
    tmp_path: Path, server: EmbeddedRedis, client: redis.Redis
) -> None:
    publish_numbered(client, 1600)
    kills = 3
    with fleet(tmp_path, server) as workers:
        for kill in range(kills):
            worker = workers.add()
            workers.until_begun(400 * (kill + 1))
            worker.signal(signal.SIGKILL)
            worker.wait()
        workers.add()
        workers.until_begun(1600)
        eventually(lambda: settled(client), "all settled")
        assert workers.duplicates <= kills * IN_HAND
    assert counters(client).dead_letter == 0


def test_results_that_redis_never_hears_of_do_not_hold_up_the_pod(
    tmp_path: Path, server: EmbeddedRedis, client: redis.Redis
) -> None:
    publish(client, "a")
    with WorkerProcess(tmp_path, server.url, "gated", drain_timeout_seconds=1.5) as worker:
        worker.until_noted("started", 1)
        server.stop(kill=True)
        worker.open_gate()
        worker.until_noted("finished", 1)
        worker.logged("Redis does not answer, trying again")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 4
        line = worker.logged("results left behind: these messages come again when their leases end")
        assert len(line["message_ids"]) == 1
    server.start()
    assert counters(client).processing == 1


def test_a_handler_that_exits_the_worker_costs_a_delivery_each_time(
    tmp_path: Path, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """A thread takes the whole worker along: what starts it again (the kubelet, here the test) goes on."""
    publish(client, "a", "poison")
    settings = {"visibility_timeout_seconds": 1, "max_delivery_count": 2, "max_attempts": 2}
    for life in range(4):
        with WorkerProcess(tmp_path, server.url, "suicidal", worker_id=f"life-{life}", **settings) as worker:
            eventually(lambda w=worker: not w.running or counters(client).dead_letter == 1, "it dies")
            if worker.running:
                break
            assert worker.wait() == 7
    assert Counter(worker.noted("started")) == {"a": 2, "poison": 2}
    assert worker.noted("finished") == ["a"]
    assert client.llen(KEYS.dead_letter) == 1
