"""What only asyncio has: cancellation must neither lose a message nor settle one that was not handled."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.faces import AsyncFace
from tests.support.waiting import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    import redis
    from tests.support.servers import Server

    from redis_message_queue import QueueEvent


@pytest.fixture
async def face(server: Server, redis_url: str) -> Any:
    face = AsyncFace(server)
    yield face
    await face.close()


def slow(gateway: Any, method: str, seconds: float = 0.1) -> None:
    """Make one gateway method take that much longer; patched on the instance, as users do."""
    original = getattr(gateway, method)

    async def delayed(*args: Any, **options: Any) -> Any:
        await asyncio.sleep(seconds)
        return await original(*args, **options)

    setattr(gateway, method, delayed)


async def test_cancelling_a_handler_settles_nothing(face: AsyncFace, redis_client: redis.Redis) -> None:
    queue = face.queue(enable_failed_queue=True)
    await queue.publish("x")
    inside = asyncio.Event()

    async def handle() -> None:
        async with queue.process_message():
            inside.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(handle())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert redis_client.llen("{jobs}::processing") == 1
    assert redis_client.exists("{jobs}::processing:lease_tokens")
    assert not redis_client.exists("{jobs}::failed")


async def test_a_cancellation_the_handler_raised_itself_is_a_failure(
    face: AsyncFace, redis_client: redis.Redis
) -> None:
    queue = face.queue(enable_failed_queue=True)
    await queue.publish("x")
    with pytest.raises(asyncio.CancelledError):
        async with queue.process_message():
            raise asyncio.CancelledError
    assert redis_client.lrange("{jobs}::failed", 0, -1) == [b"x"]


async def test_cancelled_while_acknowledging_the_message_is_acknowledged(
    face: AsyncFace, redis_client: redis.Redis
) -> None:
    queue = face.queue(enable_completed_queue=True)
    slow(queue._gateway, "move_message")
    await queue.publish("x")
    settling = asyncio.Event()

    async def handle() -> None:
        async with queue.process_message():
            settling.set()

    task = asyncio.create_task(handle())
    await settling.wait()
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert redis_client.lrange("{jobs}::completed", 0, -1) == [b"x"]
    assert not redis_client.exists("{jobs}::processing")


@pytest.mark.parametrize("cancellations", [1, 2])
async def test_cancelled_while_settling_a_failure_the_handlers_error_wins(
    face: AsyncFace, redis_client: redis.Redis, cancellations: int
) -> None:
    queue = face.queue(enable_failed_queue=True)
    slow(queue._gateway, "move_message")
    await queue.publish("x")
    settling = asyncio.Event()

    async def handle() -> None:
        async with queue.process_message():
            settling.set()
            raise KeyError("handler")

    task = asyncio.create_task(handle())
    await settling.wait()
    if cancellations == 1:
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(KeyError):
            await task
    else:
        expected = r"Cleanup raised after handler exception \(CancelledError\)"
        with pytest.warns(RuntimeWarning, match=expected):  # noqa: PT031
            for _ in range(2):
                await asyncio.sleep(0.02)
                task.cancel()
            with pytest.raises(KeyError):
                await task
    await until(lambda: redis_client.lrange("{jobs}::failed", 0, -1) == [b"x"])
    # What goes on without its caller still trims the list, and needs its connection for that.
    await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})


async def test_a_claim_cancelled_on_its_way_is_found_by_the_next_wait(
    face: AsyncFace, redis_client: redis.Redis
) -> None:
    queue = face.queue(gateway=face.gateway(message_visibility_timeout_seconds=30))
    await queue.publish("x")
    gateway, granted = queue._gateway, asyncio.Event()
    execute = gateway._sender.execute

    async def never_answers(client: object, call: object) -> object:
        await execute(client, call)
        granted.set()
        return await asyncio.sleep(60)

    gateway._sender.execute = never_answers
    waiting = asyncio.create_task(queue.process_message().__aenter__())
    await granted.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gateway._sender.execute = execute
    assert redis_client.llen("{jobs}::processing") == 1
    async with queue.process_message() as payload:
        assert payload == b"x"


async def test_no_heartbeat_outlives_its_message(face: AsyncFace) -> None:
    queue = face.queue(visibility_timeout_seconds=9, heartbeat_interval_seconds=0.05)
    await queue.publish("x")
    slow(queue._gateway, "renew_message_lease", 60)

    def renewing() -> bool:
        return any(t.get_name() == "redis-message-queue-lease-heartbeat" for t in asyncio.all_tasks())

    async with queue.process_message():
        await until(renewing)
    assert not renewing()


async def test_a_loop_that_was_blocked_for_longer_than_a_lease_still_renews_it(face: AsyncFace) -> None:
    told: list[str] = []

    async def on_event(event: QueueEvent) -> None:
        told.append(f"{event.operation}/{event.outcome}")

    queue = face.queue(visibility_timeout_seconds=2, heartbeat_interval_seconds=0.3, on_event=on_event)
    await queue.publish("x")
    async with queue.process_message():
        time.sleep(2.5)  # noqa: ASYNC251 - what must not be done, and is
        slow(queue._gateway, "renew_message_lease", 0.1)  # not given up before it is even asked
        await until(lambda: len(told) > 3)
    assert set(told[2:]) == {"lease_renew/success", "ack/success"}


async def test_one_publish_does_not_wait_for_another(face: AsyncFace) -> None:
    queue = face.queue()
    await asyncio.gather(*(queue.publish(f"connect {number}") for number in range(10)))
    inside, publish = asyncio.Barrier(10), queue._gateway.publish_message

    async def together(*args: Any) -> bool:
        await inside.wait()
        return bool(await publish(*args))

    queue._gateway.publish_message = together
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await asyncio.gather(*(queue.publish(str(number)) for number in range(10))) == [True] * 10


async def test_drain_waits_for_a_publish_in_progress(face: AsyncFace) -> None:
    queue = face.queue()
    inside, go_on, publish = asyncio.Event(), asyncio.Event(), queue._gateway.publish_message

    async def patient(*args: Any) -> bool:
        inside.set()
        await go_on.wait()
        return bool(await publish(*args))

    queue._gateway.publish_message = patient
    publishing = asyncio.create_task(queue.publish("x"))
    await inside.wait()
    assert await queue.drain(timeout=0.02) is False
    assert queue.is_draining
    go_on.set()
    assert await queue.drain() is True
    assert await publishing is True


async def test_drain_from_the_callback_of_a_publish_does_not_wait_for_itself(face: AsyncFace) -> None:
    drained: list[bool] = []

    async def key(message: object) -> str:
        drained.append(await queue.drain())
        return "k"

    queue = face.queue(get_deduplication_key=key)
    assert await asyncio.wait_for(queue.publish("x"), PATIENCE_SECONDS) is True
    assert drained == [True]
