"""A right is missing, for a command or a key, inside a script or outside: told as such by every server."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
import redis
from tests.support.required import required
from tests.support.server_binaries import Missing
from tests.support.servers import SERVERS

from redis_message_queue import RedisMessageQueue
from redis_message_queue.consumer import Consumer, WorkerIdentity
from redis_message_queue.holders import expire_leases
from redis_message_queue.keys import QueueKeys, held_field
from redis_message_queue.stats import retire, sample
from redis_message_queue.trouble import first_word
from redisqueue_operator.observe.redis.errors import classify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.servers import Server

KEYS = QueueKeys("jobs")


@pytest.fixture(scope="module", params=["valkey-9", "redis-6.2", "redis-7", "redis-8"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    kind = SERVERS[request.param]
    try:
        kind.find()
    except Missing as missing:
        required(None, str(missing))
    with kind.start() as found:
        yield found


def publish(client: redis.Redis) -> None:
    RedisMessageQueue("jobs", client=client).publish("a")


def publish_many(client: redis.Redis) -> None:
    RedisMessageQueue("jobs", client=client).publish_many(["a"])


def add(client: redis.Redis) -> None:
    RedisMessageQueue("jobs", client=client, deduplication=False).publish("a")


def handle(client: redis.Redis) -> None:
    with RedisMessageQueue("jobs", client=client, visibility_timeout_seconds=9).process_message() as payload:
        assert payload == b"m"


def claim(client: redis.Redis) -> None:
    assert Consumer(client, "jobs").claim(1).claims


def wait(client: redis.Redis) -> None:
    assert Consumer(client, "jobs").wait(0.1)


def report(client: redis.Redis) -> None:
    worker = WorkerIdentity("w", 1)
    Consumer(client, "jobs", worker=worker).report(busy=0, oldest_start_age_seconds=None, draining=False)


def look(client: redis.Redis) -> None:
    (seen,) = sample(client, [KEYS])
    if isinstance(seen, Exception):
        raise seen


def mark(client: redis.Redis) -> None:
    retire(client, KEYS, ["w"])


def end(client: redis.Redis) -> None:
    expire_leases(client, KEYS, "dead")


WORK: dict[str, tuple[Callable[[redis.Redis], None], str]] = {
    "publish, marker": (publish, "set"),
    "publish, push": (publish, "lpush"),
    "publish many": (publish_many, "lpush"),
    "publish without deduplication": (add, "lpush"),
    "handle": (handle, "lmove"),
    "lease": (claim, "zadd"),
    "wait": (wait, "blmove"),
    "report": (report, "hset"),
    "sample": (look, "zrange"),
    "retire": (mark, "hget"),
    "expire": (end, "hscan"),
}


@contextlib.contextmanager
def user(server: Server, *rights: str) -> Iterator[redis.Redis]:
    """A client that has these rights alone, of a queue with one message and one worker."""
    with server.admin() as admin:
        admin.flushall()
        admin.lpush(KEYS.pending, "m")
        report(admin)
        admin.hset(KEYS.workers, held_field("dead"), f"{2**41} 1")
        admin.execute_command("ACL", "SETUSER", "subject", "reset", "on", "nopass", *rights)
    with redis.Redis.from_url(server.url, username="subject", password="any") as client:
        yield client


@pytest.mark.parametrize(("work", "command"), WORK.values(), ids=WORK)
def test_a_missing_command_is_told(work: Callable[[redis.Redis], None], command: str, server: Server) -> None:
    with user(server, "~*", "+@all", f"-{command}") as client, pytest.raises(redis.RedisError) as caught:
        work(client)
    judge(caught.value)


@pytest.mark.parametrize("work", [publish, publish_many, add, claim, wait, report, look, mark, end])
def test_keys_that_are_out_of_reach_are_told(work: Callable[[redis.Redis], None], server: Server) -> None:
    with user(server, "~others*", "+@all") as client, pytest.raises(redis.RedisError) as caught:
        work(client)
    judge(caught.value)


def judge(error: BaseException) -> None:
    assert classify(error)[0] == "NoPermission", error
    assert "OOM" not in str(error)
    assert first_word(error) == "NOPERM" or first_word(error.__cause__ or error) == "NOPERM"


def test_a_right_that_is_missing_inside_a_script_alone_is_told(server: Server) -> None:
    with user(server, "~*", "+eval") as client, pytest.raises(redis.RedisError) as caught:
        client.eval("return redis.call('LLEN', KEYS[1])", 1, "jobs")
    judge(caught.value)
    with user(server, "~others", "+@all") as client, pytest.raises(redis.RedisError) as caught:
        client.eval("return redis.call('LLEN', ARGV[1])", 0, "jobs")
    judge(caught.value)
