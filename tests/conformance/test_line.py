"""Calls go over a connection that is kept: nobody may notice, except by the time it takes."""

from __future__ import annotations

import asyncio
import gc
import signal
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import redis

from redis_message_queue import _transport, operations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.faces import Face

pytestmark = pytest.mark.one_node


async def consume(face: Face, queue: Any) -> Any:
    async with face.process(queue) as payload:
        return payload


def in_use(client: Any) -> int:
    return len(client.connection_pool._in_use_connections)


@pytest.mark.parametrize("plain", [False, True])
async def test_calls_that_follow_one_another_share_a_connection_of_the_pool(face: Face, plain: bool) -> None:
    client = face.client()
    queue = face.queue(client=client)
    other = face.queue("{other}", client=client, deduplication=not plain)
    for number in range(5):
        await face.call(queue.publish, str(number))
        await face.call(other.publish, str(number))
    assert in_use(client) == 1


async def test_a_small_pool_gets_every_connection_back(face: Face) -> None:
    client = face.client(max_connections=1)
    queue = face.queue(client=client)
    await face.call(queue.publish, "x")
    assert in_use(client) == 0
    assert await face.call(client.llen, queue.key.pending) == 1


async def test_side_by_side_each_call_has_a_connection_of_its_own(face: Face) -> None:
    queue = face.queue()
    if face.name == "sync":
        calls = [asyncio.to_thread(queue.publish, str(number)) for number in range(20)]
    else:
        calls = [queue.publish(str(number)) for number in range(20)]
    assert await asyncio.gather(*calls) == [True] * 20
    assert await face.call(queue.publish, "7") is False


@pytest.mark.parametrize("deduplication", [True, False])
async def test_a_connection_that_the_server_closed_is_replaced(
    face: Face, redis_client: redis.Redis, deduplication: bool
) -> None:
    # An event loop has not yet heard of the end, and redis-py repeats a command that found it.
    repeats = int(face.name == "async")
    queue = face.queue(client=face.client(retry=face.retry(repeats)), deduplication=deduplication)
    await face.call(queue.publish, "x")
    redis_client.client_kill_filter(_type="normal", skipme=True)
    await face.call(queue.publish, "y")
    assert [await consume(face, queue), await consume(face, queue)] == [b"x", b"y"]


@pytest.mark.parametrize("where", ["object", "class", "subclass"])
async def test_whoever_replaces_execute_command_sees_each_call(
    face: Face, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = face.client()
    await face.call(face.queue("{other}", client=client).publish, "x")
    seen: list[str] = []
    kind = type(client)
    own = kind.execute_command

    def spy(self: Any, *args: Any, **options: Any) -> Any:
        seen.append(args[0])
        return own(self, *args, **options)

    if where == "object":
        monkeypatch.setattr(client, "execute_command", spy.__get__(client))
    elif where == "class":
        monkeypatch.setattr(kind, "execute_command", spy)
    else:
        client.__class__ = type("Tracing", (kind,), {"execute_command": spy})
    queue = face.queue(client=client)
    await face.call(queue.publish, "x")
    assert await consume(face, queue) == b"x"
    assert seen.count("EVALSHA") == 3


@pytest.mark.parametrize("where", ["object", "class", "subclass"])
async def test_whoever_replaces_lpush_sees_each_publish_without_deduplication(
    face: Face, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = face.client()
    await face.call(face.queue(client=client, deduplication=False).publish, "w")
    seen: list[str] = []
    kind = type(client)
    own = kind.lpush

    def spy(self: Any, name: str, *values: str) -> Any:
        seen.append(name)
        return own(self, name, *values)

    if where == "object":
        monkeypatch.setattr(client, "lpush", spy.__get__(client))
    elif where == "class":
        monkeypatch.setattr(kind, "lpush", spy, raising=False)
    else:
        client.__class__ = type("Tracing", (kind,), {"lpush": spy})
    queue = face.queue(client=client, deduplication=False)
    await face.call(queue.publish, "x")
    assert [await consume(face, queue), await consume(face, queue)] == [b"w", b"x"]
    assert seen == [queue.key.pending]


@contextmanager
def paused(client: Any) -> Iterator[None]:
    """The server answers no script meanwhile."""
    client.client_pause(60_000, all=False)
    try:
        yield
    finally:
        client.client_unpause()


async def test_a_reply_that_nobody_waited_for_is_not_taken_for_the_next_one(
    face: Face, redis_client: redis.Redis
) -> None:
    client = face.client(socket_timeout=2, retry=face.retry(0))
    gateway = face.gateway(redis_client=client, retry_budget_seconds=0)
    queue, plain = face.queue(gateway=gateway), face.queue(gateway=gateway, deduplication=False)
    assert await face.call(queue.publish, "x") is True
    with paused(redis_client), pytest.raises(redis.TimeoutError):
        await face.call(plain.publish, "v")
    assert await face.call(queue.publish, "x") is False
    with paused(redis_client), pytest.raises(redis.TimeoutError):
        await face.call(queue.publish, "y")
    assert await face.call(queue.publish, "x") is False
    assert await face.call(queue.publish, "z") is True


class Interruption(BaseException):
    """What a signal may raise anywhere."""


async def interrupted(face: Face, queue: Any) -> None:
    """A publish that ends while it waits for its reply."""
    if face.name == "async":
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(queue.publish("y"), 0.1)
        return

    def interrupt(*_: object) -> None:
        raise Interruption

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(Interruption):  # noqa: PT012 - it may come at once
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            queue.publish("y")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


async def test_an_interrupted_call_leaves_no_reply_behind(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue()
    assert await face.call(queue.publish, "x") is True
    with paused(redis_client):
        await interrupted(face, queue)
    assert await face.call(queue.publish, "x") is False
    assert await face.call(queue.publish, "z") is True


async def test_names_travel_in_the_encoding_of_the_client(face: Face, redis_client: redis.Redis) -> None:
    queue = face.queue("{jöbs}", client=face.client(encoding="latin-1"))
    await face.call(queue.publish, "x")
    assert redis_client.llen("{jöbs}::pending".encode("latin-1")) == 1
    assert await consume(face, queue) == b"x"


def test_an_error_goes_with_who_handles_it(redis_client: redis.Redis) -> None:
    """One that holds itself would hold its connection, until it is collected."""
    redis_client.set("{jobs}::pending", "no list")
    call = operations.add_bounded(pending="{jobs}::pending", stored="m", max_pending_length=1)
    actions = (
        lambda: _transport.execute(redis_client, call),
        lambda: _transport.send(redis_client, "lpush", "{jobs}::pending", "m"),
    )
    gc.collect()
    gc.disable()
    try:
        for action in actions:
            try:
                action()
            except redis.ResponseError as error:
                raised = weakref.ref(error)
            assert raised() is None
    finally:
        gc.enable()
