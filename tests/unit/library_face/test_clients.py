"""Clients of whatever library: of the other face they are refused by name, or at their first answer."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, MagicMock

import pytest
import valkey
import valkey.asyncio
from tests.support.waiting import eventually

import redis_message_queue as sync_face
import redis_message_queue.asyncio as async_face
import redis_message_queue.asyncio.consumer
import redis_message_queue.consumer
from redis_message_queue.leases import LeaseKeeper

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

PLAIN = {"visibility_timeout_seconds": None, "max_delivery_count": None}


class Answer:
    """An awaitable that is no coroutine, as some clients give; it knows whether it was ended."""

    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def __await__(self) -> Generator[Any, Any, None]:
        yield from asyncio.sleep(0).__await__()


class RequestsToAwait:
    """Commands are plain functions that give a request; only the way below them is async."""

    async def execute_command(self, *args: object) -> None: ...

    def eval(self, *args: object) -> Answer:
        return Answer()


class OwnCommands:
    """Neither `eval` nor `execute_command`."""

    async def custom_command(self, args: list[str]) -> None: ...


class Wrapper:
    """Nothing tells how it sends before it does."""

    def __init__(self, reply: Callable[[], object]) -> None:
        self.reply = reply

    def __getattr__(self, command: str) -> Callable[..., object]:
        return lambda *args: self.reply()


def queue(face: Any, client: object, **options: Any) -> Any:
    return face.RedisMessageQueue("jobs", client=client, **PLAIN, **options)


@pytest.mark.parametrize(
    "client",
    [valkey.asyncio.Valkey(), RequestsToAwait(), OwnCommands(), AsyncMock()],
    ids=lambda c: type(c).__name__,
)
def test_async_clients_are_refused_by_the_sync_face(client: Any) -> None:
    name = rf"async Redis client \({type(client).__name__} of .*use redis_message_queue\.asyncio"
    with pytest.raises(TypeError, match=name):
        queue(sync_face, client)
    with pytest.raises(TypeError, match=name):
        sync_face.RedisGateway(redis_client=client)
    with pytest.raises(TypeError, match=f"'client' is an {name}"):
        redis_message_queue.consumer.Consumer(client, "jobs")


def test_sync_clients_are_refused_by_the_asyncio_face() -> None:
    client: Any = valkey.Valkey()
    name = r"sync Redis client \(Valkey of valkey\).*use redis_message_queue with it"
    with pytest.raises(TypeError, match=name):
        queue(async_face, client)
    with pytest.raises(TypeError, match=name):
        async_face.RedisGateway(redis_client=client)
    with pytest.raises(TypeError, match=f"'client' is a {name}"):
        redis_message_queue.asyncio.consumer.Consumer(client, "jobs")


async def test_clients_of_the_right_face_are_taken() -> None:
    for client in (valkey.Valkey(), MagicMock(), Wrapper(lambda: None)):
        assert queue(sync_face, client)
    awaited: list[Any] = [
        valkey.asyncio.Valkey(),
        RequestsToAwait(),
        AsyncMock(),
        MagicMock(),
        Wrapper(Answer),
    ]
    for client in awaited:
        assert queue(async_face, client)


def test_a_keeper_tells_that_its_client_is_of_the_other_face() -> None:
    told: list[Exception] = []
    keeper = LeaseKeeper(valkey.asyncio.Valkey)  # type: ignore[arg-type]
    leases = keeper.queue(
        "jobs", visibility_timeout_seconds=0.2, on_failed=lambda error, _: told.append(error)
    )
    leases.add(redis_message_queue.consumer.Claim(b"x", "1", None, b"x", 1))
    eventually(lambda: told, "it is told")
    keeper.close()
    assert isinstance(told[0], TypeError)
    assert "'connect()' is an async Redis client (Valkey of valkey)" in str(told[0])


CALLS: dict[str, tuple[str, ...]] = {
    "publish_message": ("jobs::pending", "x", "mark"),
    "add_message": ("jobs::pending", "x"),
    "move_message": ("jobs::processing", "jobs::failed", "x"),
    "remove_message": ("jobs::processing", "x"),
    "wait_for_message_and_move": ("jobs::pending", "jobs::processing"),
    "trim_queue": ("jobs::failed", "3"),
}


@pytest.mark.parametrize("call", CALLS)
def test_an_answer_to_be_awaited_is_no_success(call: str) -> None:
    answers: list[Answer] = []
    gateway = sync_face.RedisGateway(redis_client=Wrapper(lambda: answers.append(Answer()) or answers[-1]))  # type: ignore[arg-type]
    arguments: list[Any] = [int(each) if each.isdigit() else each for each in CALLS[call]]
    with pytest.raises(sync_face.GatewayContractError, match=r"Wrapper\) answered \w+ with an awaitable"):
        getattr(gateway, call)(*arguments)
    assert all(answer.cancelled for answer in answers)


@pytest.mark.parametrize("call", CALLS)
async def test_an_answer_that_cannot_be_awaited_is_none(call: str) -> None:
    gateway = async_face.RedisGateway(redis_client=Wrapper(lambda: 1))  # type: ignore[arg-type]
    arguments: list[Any] = [int(each) if each.isdigit() else each for each in CALLS[call]]
    with pytest.raises(
        sync_face.GatewayContractError, match=r"answered \w+ with int, which cannot be awaited"
    ):
        await getattr(gateway, call)(*arguments)


def test_a_publish_that_sends_nothing_does_not_answer_true() -> None:
    for deduplication in (False, True):
        sending = queue(sync_face, Wrapper(Answer), deduplication=deduplication)
        with pytest.raises(sync_face.GatewayContractError, match="nothing was done"):
            sending.publish("x")


def test_a_trim_to_be_awaited_is_reported() -> None:
    async def trim(queue: str, length: int) -> None:
        raise NotImplementedError

    gateway = sync_face.RedisGateway(redis_client=MagicMock())
    gateway.wait_for_message_and_move = lambda *_: "raw"  # type: ignore[method-assign]
    gateway.move_message = lambda *_, **__: True  # type: ignore[method-assign]
    gateway.trim_queue = trim  # type: ignore[method-assign]
    events: list[Any] = []
    jobs = sync_face.RedisMessageQueue(
        "jobs",
        gateway=gateway,
        enable_completed_queue=True,
        on_event=events.append,
    )
    with pytest.warns(RuntimeWarning, match="Failed to trim"), jobs.process_message():
        pass
    gc.collect()  # no coroutine is left that was never awaited
    (failed,) = (event for event in events if event.operation == "trim_failed")
    assert "returned a coroutine" in str(failed.error)


async def test_what_a_key_function_began_is_ended() -> None:
    """A sync queue that runs within an event loop, and is given a function of the other face."""

    async def key() -> str:
        raise NotImplementedError

    loop = asyncio.get_running_loop()
    future, task, own, coroutine = loop.create_future(), loop.create_task(asyncio.sleep(9)), Answer(), key()
    for begun in (future, task, own, coroutine):
        jobs = queue(sync_face, MagicMock(), get_deduplication_key=lambda _, begun=begun: begun)
        with pytest.raises(TypeError, match=r"returned an? \w+ \(it returned an awaitable\).*async"):
            jobs.publish("x")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert future.cancelled()
    assert own.cancelled
    assert coroutine.cr_frame is None


async def test_a_key_function_that_cannot_be_ended_is_refused_all_the_same() -> None:
    class Stubborn(Answer):
        def cancel(self) -> None:
            raise RuntimeError("not from this thread")

    jobs = queue(sync_face, MagicMock(), get_deduplication_key=lambda _: Stubborn())
    with pytest.raises(TypeError, match="returned an awaitable"):
        jobs.publish("x")
