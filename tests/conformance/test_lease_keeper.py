"""The lease keeper against real servers: many leases, servers that pause or restart, blocked loops, forks."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis
import redis.asyncio
from tests.support import queues
from tests.support.waiting import PATIENCE_SECONDS, eventually

import redis_message_queue.asyncio.consumer
from redis_message_queue.consumer import Claim, Consumer, Outcome, Settlement
from redis_message_queue.keys import QueueKeys
from redis_message_queue.leases import LeaseKeeper, Leases, Loss
from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Keep = Callable[[Callable[[], redis.Redis]], LeaseKeeper]

NAME = "{jobs}"
KEYS = QueueKeys(NAME)
THREAD = "redis-message-queue-lease-heartbeat"


def threads() -> int:
    return sum(thread.name == THREAD for thread in threading.enumerate())


class Told:
    """What a keeper told of one queue."""

    def __init__(self) -> None:
        self.renewed: list[int] = []
        self.lost: list[tuple[Claim, Loss]] = []
        self.failed: list[Exception] = []

    def queue(self, keeper: LeaseKeeper, timeout: float, name: str = NAME, **options: Any) -> Leases:
        return keeper.queue(
            name,
            visibility_timeout_seconds=timeout,
            on_renewed=self.renewed.append,
            on_lost=lambda claim, loss: self.lost.append((claim, loss)),
            on_failed=lambda error, seconds: self.failed.append(error),
            **options,
        )


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def own_server() -> Iterator[EmbeddedRedis]:
    """A server of the test's own, to be paused and killed."""
    with EmbeddedRedis(arguments=("--appendonly", "yes", "--appendfsync", "always")) as server:
        yield server


@pytest.fixture
def keeper(redis_url: str, keep: Keep) -> Iterator[LeaseKeeper]:
    """A keeper on the shared server."""
    keeper = keep(lambda: redis.Redis.from_url(redis_url))
    yield keeper
    assert keeper.close()
    eventually(lambda: not threads())


@pytest.fixture
def own_keeper(own_server: EmbeddedRedis, keep: Keep) -> LeaseKeeper:
    """A keeper on the server of the test's own; it loses patience soon."""
    return keep(lambda: redis.Redis.from_url(own_server.url, socket_timeout=0.2))


def claim(client: redis.Redis, count: int, timeout: float, name: str = NAME) -> Sequence[Claim]:
    queues.publish(client, QueueKeys(name), *(f"message {number}" for number in range(count)))
    return Consumer(client, name, visibility_timeout_seconds=timeout).claim(count).claims


def deadlines(client: redis.Redis) -> list[float]:
    return [score for _, score in client.zrange(KEYS.lease_deadlines, 0, -1, withscores=True)]


def test_a_thousand_leases_cost_one_call_in_an_interval(
    redis_client: redis.Redis, node: redis.Redis, keeper: LeaseKeeper, told: Told
) -> None:
    leases = told.queue(keeper, 30, interval_seconds=0.3)
    claims = claim(redis_client, 1000, 30)
    began = time.monotonic()
    leases.add(*claims)
    first = max(deadlines(redis_client))
    eventually(lambda: told.renewed)  # the server knows the script by now
    node.config_resetstat()
    before = len(told.renewed)
    eventually(lambda: len(told.renewed) >= before + 3)
    assert time.monotonic() - began > 3 * 0.3
    eventually(lambda: threads() == 1)
    assert min(deadlines(redis_client)) > first
    assert keeper.close()
    calls = node.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert set(told.renewed) == {1000}
    assert calls <= len(told.renewed) - before + 1  # one may be counted that was told of before
    assert (told.lost, told.failed) == ([], [])


def test_all_queues_go_in_one_round_trip(
    redis_url: str, redis_client: redis.Redis, keep: Keep, told: Told
) -> None:
    trips: list[int] = []

    class Counting(redis.Redis):
        def pipeline(self, *args: Any, **options: Any) -> Any:
            trips.append(1)
            return super().pipeline(*args, **options)

    keeper = keep(lambda: Counting.from_url(redis_url))
    names = [f"{NAME}{number}" for number in range(5)]
    kept = [
        (told.queue(keeper, 30, name, interval_seconds=1), claim(redis_client, 1, 30, name)) for name in names
    ]
    for leases, claims in kept:
        leases.add(*claims)
    eventually(lambda: len(told.renewed) >= 10)
    assert keeper.close()
    # The first may find no script on the server: it is loaded, and the round trip made again.
    assert 0 < len(trips) <= len(told.renewed) / 5 + 1


def test_a_lease_that_was_taken_is_told_and_kept_no_longer(
    redis_client: redis.Redis, keeper: LeaseKeeper, told: Told
) -> None:
    leases = told.queue(keeper, 60, interval_seconds=0.1)
    mine, other = claim(redis_client, 2, 60)
    leases.add(mine, other)
    redis_client.hdel(KEYS.lease_tokens, mine.stored)
    eventually(lambda: told.lost)
    assert told.lost == [(mine, Loss.TAKEN)]
    assert len(leases) == 1
    assert leases.remaining_seconds(mine) == float("-inf")
    assert 0 < leases.remaining_seconds(other) <= 60


def test_a_pause_shorter_than_the_lease_loses_nothing(
    own_server: EmbeddedRedis, own_keeper: LeaseKeeper, told: Told
) -> None:
    leases = told.queue(own_keeper, 60, interval_seconds=0.1)
    with redis.Redis.from_url(own_server.url) as client:
        (mine,) = claim(client, 1, 60)
        leases.add(mine)
        with paused(own_server):
            eventually(lambda: told.failed)
        told.renewed.clear()
        eventually(lambda: told.renewed)
        leases.remove(mine)
        assert Consumer(client, NAME).settle([Settlement(mine, Outcome.DONE)]).applied == (True,)
    assert told.lost == []


def test_a_pause_longer_than_the_lease_is_told_meanwhile_and_the_lease_saved_if_nobody_took_it(
    own_server: EmbeddedRedis, own_keeper: LeaseKeeper, told: Told
) -> None:
    leases = told.queue(own_keeper, 0.5)
    with redis.Redis.from_url(own_server.url) as client:
        (mine,) = claim(client, 1, 0.5)
        leases.add(mine)
        with paused(own_server):
            eventually(lambda: told.lost and told.failed)  # in any order on a busy machine
            assert leases.remaining_seconds(mine) <= 0
        eventually(lambda: leases.remaining_seconds(mine) > 0)
        leases.remove(mine)
        assert Consumer(client, NAME).settle([Settlement(mine, Outcome.DONE)]).applied == (True,)
    assert set(told.lost) == {(mine, Loss.EXPIRED)}


def test_a_loss_is_told_when_the_lease_ends_however_long_the_client_repeats(
    own_server: EmbeddedRedis, keep: Keep, told: Told
) -> None:
    """A client as it comes: its call has no answer for the best part of a minute."""
    keeper = keep(lambda: redis.Redis.from_url(own_server.url))
    leases = told.queue(keeper, 3)
    with redis.Redis.from_url(own_server.url) as client:
        first, second, third = claim(client, 3, 3)
    leases.add(first)
    eventually(lambda: told.renewed)
    with paused(own_server):
        eventually(lambda: keeper.overdue_seconds > 0.05)
        leases.add(second)  # while the call hangs: this one was never part of it
        leases.add(third)
        leases.remove(third)
        eventually(lambda: len(told.lost) == 2)
        assert keeper.overdue_seconds > 0.05  # still the same call
        assert threads() <= 2
    assert sorted(told.lost) == sorted([(first, Loss.EXPIRED), (second, Loss.EXPIRED)])
    eventually(lambda: leases.remaining_seconds(first) > 0)
    eventually(lambda: leases.remaining_seconds(second) > 0)
    eventually(lambda: threads() == 1)
    assert keeper.close()
    eventually(lambda: not threads())


def test_a_server_that_hangs_holds_up_no_lease_of_another(
    own_server: EmbeddedRedis, redis_client: redis.Redis, keeper: LeaseKeeper, keep: Keep, told: Told
) -> None:
    hanging = keep(lambda: redis.Redis.from_url(own_server.url))
    here, there = told.queue(keeper, 60, interval_seconds=0.2), Told().queue(hanging, 1)
    (mine,) = claim(redis_client, 1, 60)
    with redis.Redis.from_url(own_server.url) as client:
        (other,) = claim(client, 1, 1)
    here.add(mine)
    there.add(other)
    with paused(own_server):
        eventually(lambda: hanging.overdue_seconds > 0.05)
        told.renewed.clear()
        eventually(lambda: len(told.renewed) > 5)
        eventually(lambda: hanging.overdue_seconds > 1)
        eventually(lambda: there.remaining_seconds(other) <= 0)
        assert here.remaining_seconds(mine) > 0
    assert told.lost == []
    assert hanging.close()


def test_a_loss_is_told_while_the_keeper_still_connects(keep: Keep, told: Told) -> None:
    free = threading.Event()

    def connect() -> redis.Redis:
        free.wait(PATIENCE_SECONDS)
        raise redis.ConnectionError("no route")

    leases = told.queue(keep(connect), 0.4)
    mine = Claim("stored", "1", None, "", 1)
    leases.add(mine)
    try:
        eventually(lambda: told.lost == [(mine, Loss.EXPIRED)])
        assert told.failed == []
    finally:
        free.set()


def test_leases_outlive_a_restart_of_the_server(
    own_server: EmbeddedRedis, own_keeper: LeaseKeeper, told: Told
) -> None:
    leases = told.queue(own_keeper, 60, interval_seconds=0.2)
    with redis.Redis.from_url(own_server.url) as client:
        claims = claim(client, 10, 60)
        leases.add(*claims)
        eventually(lambda: told.renewed)
        own_server.stop(kill=True)
        eventually(lambda: told.failed)
        told.renewed.clear()
        own_server.start()
        eventually(lambda: told.renewed)
        leases.remove(*claims)
        settled = Consumer(client, NAME).settle([Settlement(each, Outcome.DONE) for each in claims])
        assert settled.applied == (True,) * 10
    assert told.lost == []


async def test_a_blocked_event_loop_keeps_its_leases(
    redis_url: str, redis_client: redis.Redis, keeper: LeaseKeeper, told: Told
) -> None:
    leases = told.queue(keeper, 3, interval_seconds=0.1)
    queues.publish(redis_client, KEYS, "slow")
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        consumer = redis_message_queue.asyncio.consumer.Consumer(client, NAME, visibility_timeout_seconds=3)
        (mine,) = (await consumer.claim(1)).claims
        leases.add(mine)
        time.sleep(3.5)  # noqa: ASYNC251 - what must not be done, and is
        assert Consumer(redis_client, NAME).claim(1).claims == ()
        leases.remove(mine)
        assert (await consumer.settle([Settlement(mine, Outcome.DONE)])).applied == (True,)
    assert told.lost == []


def test_a_failure_is_told_once_however_many_leases_it_concerns(keep: Keep, told: Told) -> None:
    attempts: list[int] = []

    def refuse() -> redis.Redis:
        attempts.append(1)
        raise redis.ConnectionError("gone")

    keeper = keep(refuse)
    leases = told.queue(keeper, 100)
    leases.add(
        *(Claim("stored", str(number), None, "", 1) for number in range(2500)),
        claimed_at=time.monotonic() - 30,
    )
    eventually(lambda: told.failed)
    assert keeper.close()
    assert len(told.failed) == len(attempts)


def test_the_thread_is_there_only_while_leases_are_kept(
    redis_client: redis.Redis, keeper: LeaseKeeper, told: Told
) -> None:
    leases = told.queue(keeper, 60, interval_seconds=0.1)
    eventually(lambda: not threads())  # of another test
    for _ in range(2):
        (mine,) = claim(redis_client, 1, 60)
        leases.add(mine)
        assert threads() == 1
        leases.remove(mine)
        eventually(lambda: not threads())
    assert keeper.overdue_seconds == 0


def test_a_keeper_that_nobody_has_any_more_keeps_nothing(redis_client: redis.Redis, told: Told) -> None:
    leases = told.queue(LeaseKeeper(lambda: redis_client), 60, interval_seconds=0.2)
    leases.add(*claim(redis_client, 1, 60))
    eventually(lambda: told.renewed)  # by what `queue` gave it is kept all the same
    del leases
    # Its thread has it in hand while it renews, and drops it afterwards: each look collects again.
    eventually(lambda: gc.collect() >= 0 and not threads())
    assert told.lost == []


def test_a_callback_that_raises_harms_no_lease(redis_client: redis.Redis, keeper: LeaseKeeper) -> None:
    counts: list[int] = []

    def raising(count: int) -> None:
        counts.append(count)
        raise LookupError if len(counts) == 1 else SystemExit

    leases = keeper.queue(NAME, visibility_timeout_seconds=60, interval_seconds=0.1, on_renewed=raising)
    (mine,) = claim(redis_client, 1, 60)
    with pytest.warns(RuntimeWarning, match="raised (LookupError|SystemExit)"):  # noqa: PT031
        leases.add(mine)
        eventually(lambda: len(counts) > 2)
        assert keeper.close()


def test_a_keeper_that_hangs_is_overdue_and_closes_when_it_is_free(
    own_server: EmbeddedRedis, keep: Keep, told: Told
) -> None:
    keeper = keep(lambda: redis.Redis.from_url(own_server.url))
    leases = told.queue(keeper, 60, interval_seconds=0.1)
    with redis.Redis.from_url(own_server.url) as client:
        (mine,) = claim(client, 1, 60)
    leases.add(mine)
    with paused(own_server):
        eventually(lambda: keeper.overdue_seconds > 0.1)
        assert keeper.close(timeout_seconds=0.05) is False
    assert keeper.close()
    with pytest.raises(RuntimeError, match="closed"):
        leases.add(mine)
    with pytest.raises(RuntimeError, match="closed"):
        told.queue(keeper, 1)


def test_a_lease_whose_thread_cannot_start_is_not_kept(
    redis_client: redis.Redis, keeper: LeaseKeeper, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = told.queue(keeper, 60, interval_seconds=0.1)
    (mine,) = claim(redis_client, 1, 60)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", lambda self: (_ for _ in ()).throw(RuntimeError("no more")))
        with pytest.raises(RuntimeError, match="no more"):
            leases.add(mine)
    assert len(leases) == 0
    leases.add(mine)
    eventually(lambda: told.renewed)


FORK = """
import os, sys, time
import redis
from redis_message_queue.consumer import Consumer
from redis_message_queue.leases import LeaseKeeper

url = sys.argv[1]
keeper = LeaseKeeper(lambda: redis.Redis.from_url(url))
renewed = []
leases = keeper.queue(
    "{jobs}", visibility_timeout_seconds=60, interval_seconds=0.2, on_renewed=renewed.append
)

def claim():
    return Consumer(redis.Redis.from_url(url), "{jobs}", visibility_timeout_seconds=60).claim(1).claims[0]

leases.add(claim())
while not renewed:
    time.sleep(0.01)
child = os.fork()
if not child:
    assert len(leases) == 0
    leases.add(claim())
here = len(renewed)
while len(renewed) < here + 2:
    time.sleep(0.01)
assert set(renewed) == {1}, renewed
assert keeper.close()
if child:
    assert os.waitpid(child, 0)[1] == 0
    print("both fine")
"""


def test_a_forked_child_keeps_leases_of_its_own(redis_url: str, redis_client: redis.Redis) -> None:
    queues.publish(redis_client, KEYS, "for the parent", "for the child")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK, redis_url],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert (done.returncode, done.stdout) == (0, "both fine\n"), done.stderr


class paused:  # noqa: N801 - reads as a statement
    """The server stands still within the block."""

    def __init__(self, server: EmbeddedRedis) -> None:
        assert server.process is not None
        self._process = server.process

    def __enter__(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGCONT)
