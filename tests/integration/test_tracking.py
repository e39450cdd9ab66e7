"""Queues that rest are woken by what their server tells; and what happens where it tells nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.push_proxy import CUT_AFTER, CUT_BEFORE, PushProxy
from tests.support.required import missing
from tests.support.server_binaries import Missing
from tests.support.servers import SERVERS
from tests.support.waiting import all_hung_up, until

from redis_message_queue import RedisMessageQueue
from redis_message_queue.connection import ConnectionSettings
from redis_message_queue.keys import QueueKeys
from redisqueue_operator.decide import waking
from redisqueue_operator.observe.redis.endpoint import Watched
from redisqueue_operator.observe.redis.sampler import MOST_SLEEPERS, Sampler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    import redis
    from tests.support.push_proxy import Request, Rule
    from tests.support.servers import Server

    from redisqueue_worker.embedded_redis import EmbeddedRedis

# So many that the one which is looked at with every sample all the same is long in coming round.
COUNT = 120
KINDS = ("valkey-9", "redis-8", "redis-6.2", "valkey-9-cluster", "redis-tls")


def name(number: int) -> str:
    return f"{{q{number}}}"


def keys_of(number: int) -> QueueKeys:
    return QueueKeys(name(number))


class Fleet:
    """A sampler with `COUNT` queues, which nothing but their server wakes."""

    def __init__(self, settings: ConnectionSettings, connect: Callable[..., Any] | None = None) -> None:
        self.sampler: Sampler[int] = Sampler(
            lambda _: None, connect=connect or ConnectionSettings.connect_async
        )
        self.settings = settings

    async def rest(self) -> None:
        for number in range(COUNT):
            self.sampler.watch(number, Watched(keys_of(number), self.settings))
        await until(lambda: self.sampler.told == COUNT, "all rest")

    def pending(self, number: int) -> int:
        seen = self.sampler.last(number)
        return -1 if seen is None or isinstance(seen, Exception) else seen.pending


@contextlib.asynccontextmanager
async def fleet_at(
    settings: ConnectionSettings, connect: Callable[..., Any] | None = None
) -> AsyncIterator[Fleet]:
    fleet = Fleet(settings, connect)
    try:
        yield fleet
    finally:
        await fleet.sampler.close()
        await all_hung_up()


@pytest.fixture(autouse=True)
def _no_other_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "LOOK_SECONDS", 1e6)


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    try:
        with SERVERS[request.param].start() as found:
            yield found
    except Missing as error:
        missing(str(error))


def enqueue_by(client: Any) -> dict[str, Callable[[str], object]]:
    def queue(name: str) -> RedisMessageQueue:
        return RedisMessageQueue(name, client=client)

    return {
        "a message": lambda name: queue(name).publish("m"),
        "one of a v7 peer": lambda name: client.lpush(QueueKeys(name).pending, "m"),
        "one of high priority": lambda name: queue(name).enqueue("m", priority="high"),
        "one with a limit key": lambda name: queue(name).enqueue("m", limit_key="a"),
        "a delayed one that comes due": lambda name: queue(name).enqueue("m", delay_seconds=0.3),
    }


async def test_every_kind_of_message_wakes_its_queue_on_every_server(server: Server) -> None:
    settings = ConnectionSettings(url="redis://unused")
    client = server.blocking()
    async with fleet_at(settings, lambda _: server.asyncio()) as fleet:
        await fleet.rest()
        ways = enqueue_by(client)
        for number, way in enumerate(ways.values()):
            await asyncio.to_thread(way, name(number))
        for number, what in enumerate(ways):
            await until(
                lambda number=number: (
                    fleet.pending(number) == 1 or getattr(fleet.sampler.last(number), "delayed_due", 0) == 1
                ),
                what,
            )
        assert fleet.sampler.sleepers == 0
        client.delete(*(keys_of(0).pending,))
        await until(lambda: fleet.pending(0) == 0, "it is empty")
        await until(lambda: fleet.sampler.told >= COUNT - len(ways) + 1, "it rests again")
    client.close()


def scripts(client: redis.Redis) -> int:
    stats: dict[str, dict[str, int]] = client.info("commandstats")
    return stats.get("cmdstat_evalsha", {"calls": 0})["calls"]


async def test_queues_at_rest_cost_next_to_nothing(redis_url: str, redis_client: redis.Redis) -> None:
    async with fleet_at(ConnectionSettings(url=redis_url, client_name="resting")) as fleet:
        await fleet.rest()
        before = scripts(redis_client)
        await asyncio.sleep(2)
        assert scripts(redis_client) - before < COUNT / 2, "one is looked at with each sample"
        mine = [one for one in redis_client.client_list() if one["name"] == "resting"]
        assert len(mine) <= 3, "samples, what is asked seldom, and what is told"


async def test_after_any_loss_of_the_connection_what_was_published_meanwhile_is_seen(
    redis_url: str, redis_client: redis.Redis
) -> None:
    async with fleet_at(ConnectionSettings(url=redis_url)) as fleet:
        await fleet.rest()
        for number in range(2):
            with redis_client.pipeline() as both:  # the server tells nobody: it has no such client any more
                both.execute_command("CLIENT", "KILL", "TYPE", "normal")
                both.lpush(keys_of(number).pending, "m")
                both.execute()
            await until(lambda number=number: fleet.pending(number) == 1, f"message {number}")
            await until(
                lambda number=number: fleet.sampler.told == COUNT - number - 1, "the others rest again"
            )


@pytest.mark.parametrize("at", range(6))
async def test_no_message_is_overslept_wherever_the_connection_breaks(
    redis_url: str, redis_client: redis.Redis, redis_server: EmbeddedRedis, at: int
) -> None:
    """Messages come at every step of the arming, and so does the end of the connection."""
    seen = 0

    def rule(request: Request) -> bytes | None:
        nonlocal seen
        arms = request[:2] == [b"CLIENT", b"TRACKING"] or (request[0] == b"EXISTS" and len(request) > 6)
        if not arms:
            return None
        seen += 1
        if seen <= COUNT:
            redis_client.lpush(keys_of(seen % 5).pending, "m")
        return (CUT_BEFORE, CUT_AFTER)[at % 2] if seen == (1, 2, 60)[at // 2] else None

    async with (
        PushProxy(redis_server.port, rule) as proxy,
        fleet_at(ConnectionSettings(url=proxy.url)) as fleet,
    ):
        for number in range(COUNT):
            fleet.sampler.watch(number, Watched(keys_of(number), fleet.settings))
        await until(lambda: fleet.sampler.told == COUNT - 5, "all but five rest")
        for number in range(5):
            count = redis_client.llen(keys_of(number).pending)
            await until(lambda number=number, count=count: fleet.pending(number) == count, "all are seen")


REFUSALS = {
    "NoPermission": b"-NOPERM this user has no permissions to run the 'client|tracking' command\r\n",
    "RedisError": b"-ERR unknown subcommand 'TRACKING'\r\n",
}


@pytest.mark.parametrize("reason", REFUSALS)
async def test_where_the_server_will_not_tell_some_are_waited_for_and_it_is_said_once(
    redis_url: str,
    redis_client: redis.Redis,
    redis_server: EmbeddedRedis,
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    rule: Rule = lambda request: REFUSALS[reason] if request[1:2] == [b"TRACKING"] else None  # noqa: E731
    with caplog.at_level(logging.WARNING):
        async with (
            PushProxy(redis_server.port, rule) as proxy,
            fleet_at(ConnectionSettings(url=proxy.url)) as fleet,
        ):
            for number in range(COUNT):
                fleet.sampler.watch(number, Watched(keys_of(number), fleet.settings))
            await until(lambda: fleet.sampler.sleepers == MOST_SLEEPERS, "the first ones are waited for")
            for number in (0, COUNT - 1):
                redis_client.lpush(keys_of(number).pending, "m")
                await until(lambda number=number: fleet.pending(number) == 1, "it is seen")
            assert fleet.sampler.told == 0
    told = [
        record.getMessage() for record in caplog.records if "does not tell of changes" in record.getMessage()
    ]
    assert len(told) == 1
    assert f"({reason})" in told[0]


async def test_a_user_without_the_right_to_track_is_served_all_the_same(
    redis_url: str, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    redis_client.execute_command(
        "ACL", "SETUSER", "few", "reset", "on", "nopass", "~*", "+@all", "-client|tracking"
    )
    with caplog.at_level(logging.WARNING):
        async with fleet_at(ConnectionSettings(url=redis_url, username="few", password="x")) as fleet:
            fleet.sampler.watch(0, Watched(keys_of(0), fleet.settings))
            await until(lambda: fleet.sampler.sleepers == 1, "it is waited for")
            redis_client.lpush(keys_of(0).pending, "m")
            await until(lambda: fleet.pending(0) == 1, "it is seen")
    redis_client.execute_command("ACL", "DELUSER", "few")
    assert "(NoPermission)" in caplog.text


async def test_a_server_that_tells_without_end_is_listened_to_no_more(
    redis_url: str, redis_client: redis.Redis, redis_server: EmbeddedRedis
) -> None:
    one = keys_of(0).pending.encode()
    push = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$%d\r\n%s\r\n" % (len(one), one)

    def rule(request: Request) -> bytes | None:
        return push * 20_000 + b":0\r\n" if request[0] == b"EXISTS" and len(request) > 6 else None

    async with (
        PushProxy(redis_server.port, rule) as proxy,
        fleet_at(ConnectionSettings(url=proxy.url)) as fleet,
    ):
        fleet.sampler.watch(0, Watched(keys_of(0), fleet.settings))
        await until(lambda: fleet.sampler.sleepers == 1, "it is waited for in the other way")
        redis_client.lpush(keys_of(0).pending, "m")
        await until(lambda: fleet.pending(0) == 1, "it is seen")
        assert fleet.sampler.told == 0


async def test_a_whole_database_that_is_gone_is_looked_at(redis_url: str, redis_client: redis.Redis) -> None:
    redis_client.lpush(keys_of(7).dead_letter, "m")
    async with fleet_at(ConnectionSettings(url=redis_url)) as fleet:
        await fleet.rest()
        await until(lambda: getattr(fleet.sampler.last(7), "dead_letter", 0) == 1, "a dead letter")
        redis_client.flushall()
        await until(lambda: getattr(fleet.sampler.last(7), "dead_letter", 1) == 0, "none")


async def test_a_server_that_promises_to_tell_and_does_not_is_trusted_no_more(
    redis_url: str,
    redis_client: redis.Redis,
    redis_server: EmbeddedRedis,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Some proxies do so: they share connections to the server between clients."""
    monkeypatch.setattr(waking, "LOOK_SECONDS", 0.5)
    promise = b"+OK\r\n"
    rule: Rule = lambda request: promise if request[1:2] == [b"TRACKING"] else None  # noqa: E731
    with caplog.at_level(logging.WARNING):
        async with (
            PushProxy(redis_server.port, rule) as proxy,
            fleet_at(ConnectionSettings(url=proxy.url)) as fleet,
        ):
            await fleet.rest()
            redis_client.lpush(keys_of(0).pending, "m")
            await until(lambda: fleet.pending(0) == 1, "it is found")
            await until(lambda: fleet.sampler.told == 0, "the others do not rest")
            await until(lambda: fleet.sampler.sleepers == MOST_SLEEPERS, "and are waited for")
    assert caplog.text.count("does not tell of changes (Untold)") == 1
