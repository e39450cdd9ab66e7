"""A publish with `publish_timeout_seconds` ends in time, whatever its client is still trying."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
import redis
from tests.support.waiting import PATIENCE_SECONDS, eventually

from redis_message_queue import ConfigurationError, RetryBudgetExhaustedError
from redis_message_queue._clock import MOST_AT_ONCE
from redis_message_queue.keys import QueueKeys
from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.faces import Face

KEYS = QueueKeys("{jobs}")
SECONDS = 0.7
# What is allowed beyond: no more than a busy machine takes. Without the timeout it is a minute or two.
SLACK = 30.0
THREAD = "redis-message-queue-publish"


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def closed() -> str:
    """Nobody listens there."""
    return "redis://127.0.0.1:1"


@contextmanager
def in_time() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < SECONDS + SLACK


def away(face: Face, url: str) -> Any:
    """A client as it comes, with all its own repeats."""
    return type(face.client()).from_url(url)


PUBLISHES: dict[str, Callable[[Face, Any], Any]] = {
    "one": lambda face, queue: face.call(queue.publish, "x"),
    "many": lambda face, queue: face.call(queue.publish_many, ["x", "y"]),
    "delayed": lambda face, queue: face.call(queue.publish, "x", delay_seconds=1),
}


@pytest.mark.one_node  # a cluster's client connects before anything is published
@pytest.mark.parametrize("where", ["silent", "closed"])
@pytest.mark.parametrize("publish", PUBLISHES)
@pytest.mark.parametrize("deduplication", [True, False])
async def test_it_ends_in_time_with_the_repeats_of_the_client_counted_in(
    face: Face, request: pytest.FixtureRequest, where: str, publish: str, deduplication: bool
) -> None:
    client = away(face, request.getfixturevalue(where))
    queue = face.queue(client=client, deduplication=deduplication, publish_timeout_seconds=SECONDS)
    with in_time(), pytest.raises(redis.RedisError) as caught:
        await PUBLISHES[publish](face, queue)
    if where == "silent" or deduplication:  # else what the client says, where it repeats little
        assert isinstance(caught.value, RetryBudgetExhaustedError)
        assert caught.value.operation == "publish"


@pytest.mark.one_node  # a cluster's client connects before anything is published
async def test_our_own_repeats_count_in_and_the_last_error_is_told(face: Face, closed: str) -> None:
    client = type(face.client()).from_url(closed, retry=face.retry(0))
    queue = face.queue(client=client, publish_timeout_seconds=SECONDS, deduplication=True)
    with in_time(), pytest.raises(RetryBudgetExhaustedError) as caught:
        await face.call(queue.publish, "x")
    assert isinstance(caught.value.__cause__, redis.ConnectionError)


@pytest.fixture
def then_silent() -> Iterator[str]:
    """A server that hangs up on everybody until an attempt has failed, and then answers nothing."""
    failed = threading.Event()

    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "attempt 1 failed" in record.getMessage():
                failed.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.01)

        def hang_up() -> None:
            while not failed.is_set():
                with suppress(TimeoutError):
                    listener.accept()[0].close()

        hearing, thread = Heard(), threading.Thread(target=hang_up)
        logging.getLogger("redis_message_queue").addHandler(hearing)
        thread.start()
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}"
        failed.set()
        thread.join()
        logging.getLogger("redis_message_queue").removeHandler(hearing)


@pytest.mark.one_node  # a cluster's client connects before anything is published
async def test_a_repeat_that_hangs_tells_the_error_of_the_one_before(face: Face, then_silent: str) -> None:
    client = type(face.client()).from_url(then_silent, retry=face.retry(0), socket_timeout=60)
    queue = face.queue(client=client, publish_timeout_seconds=SECONDS, deduplication=True)
    with in_time(), pytest.raises(RetryBudgetExhaustedError) as caught:
        await face.call(queue.publish, "x")
    assert isinstance(caught.value.__cause__, redis.ConnectionError)


@pytest.mark.parametrize("deduplication", [True, False])
async def test_what_is_in_time_is_as_ever(face: Face, redis_client: redis.Redis, deduplication: bool) -> None:
    events: list[str] = []
    queue = face.queue(
        publish_timeout_seconds=30,
        deduplication=deduplication,
        on_event=face.callback(lambda event: events.append(f"{event.operation}/{event.outcome}")),
    )
    assert await face.call(queue.publish, "x") is True
    assert await face.call(queue.publish, "x") is not deduplication
    assert await face.call(queue.publish_many, ["y", "z"]) == [True, True]
    assert redis_client.llen(KEYS.pending) == 3 + (not deduplication)
    assert events.count("publish/success") == 3 + (not deduplication)
    assert sum(thread.name == THREAD for thread in threading.enumerate()) <= 1
    eventually(lambda: not any(thread.name == THREAD for thread in threading.enumerate()), "it has left")


async def test_an_error_of_the_server_is_as_ever(face: Face, redis_client: redis.Redis) -> None:
    redis_client.set(KEYS.pending, "a string")
    queue = face.queue(publish_timeout_seconds=30, deduplication=False)
    with pytest.raises(redis.ResponseError, match=r"WRONGTYPE|wrong kind"):
        await face.call(queue.publish, "x")


@pytest.mark.one_node  # a cluster's client connects before anything is published
async def test_a_publish_that_nobody_waits_for_sends_nothing_later(face: Face) -> None:
    """A server comes back while the client still repeats what its caller has given up."""
    with EmbeddedRedis() as server, redis.Redis.from_url(server.url) as admin:
        client = away(face, server.url)
        queue = face.queue(client=client, publish_timeout_seconds=SECONDS, deduplication=True)
        assert await face.call(face.queue(client=client, deduplication=True).publish, "first")
        server.stop(kill=True)
        with in_time(), pytest.raises(RetryBudgetExhaustedError):
            await face.call(queue.publish, "late")
        server.start()
        eventually(lambda: not any(thread.name == THREAD for thread in threading.enumerate()), "given up")
        assert admin.llen(KEYS.pending) == 0
        await face.call(client.aclose if face.name == "async" else client.close)


@pytest.mark.one_node  # a cluster's client connects before anything is published
def test_few_calls_hang_however_many_are_made(silent: str) -> None:
    from redis_message_queue import RedisMessageQueue

    client = redis.Redis.from_url(silent)
    queue = RedisMessageQueue("jobs", client=client, publish_timeout_seconds=0.3, deduplication=False)
    failed: list[BaseException] = []

    def publish() -> None:
        try:
            queue.publish("x")
        except BaseException as error:
            failed.append(error)

    callers = [threading.Thread(target=publish) for _ in range(MOST_AT_ONCE + 40)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(PATIENCE_SECONDS)
    assert [type(error) for error in failed] == [RetryBudgetExhaustedError] * len(callers)
    assert sum(thread.name == THREAD for thread in threading.enumerate()) <= MOST_AT_ONCE


@pytest.mark.one_node  # a cluster's client connects before anything is published
def test_a_child_of_a_fork_publishes_though_its_parent_hangs(
    redis_url: str, redis_client: redis.Redis, silent: str
) -> None:
    from redis_message_queue import RedisMessageQueue

    hanging = RedisMessageQueue("jobs", client=redis.Redis.from_url(silent), publish_timeout_seconds=0.1)
    for _ in range(3):
        with contextlib.suppress(RetryBudgetExhaustedError):
            hanging.publish("x")
    queue = RedisMessageQueue(KEYS.name, client=redis.Redis.from_url(redis_url), publish_timeout_seconds=60)
    child = os.fork()
    if not child:
        os._exit(0 if all(queue.publish(f"message {number}") for number in range(5)) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert redis_client.llen(KEYS.pending) == 5


async def test_who_waits_for_room_is_not_told_that_redis_is_away(face: Face) -> None:
    with pytest.raises(ConfigurationError, match="'publish_timeout_seconds' 1 must be greater than"):
        face.queue(
            max_pending_length=1,
            pending_overload_policy="block",
            pending_overload_block_timeout_seconds=1,
            publish_timeout_seconds=1,
        )


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), 10**30])
async def test_a_time_that_cannot_be_is_named(face: Face, wrong: float) -> None:
    with pytest.raises(ConfigurationError, match="'publish_timeout_seconds'"):
        face.queue(publish_timeout_seconds=wrong)
    with pytest.raises(TypeError, match="'publish_timeout_seconds'"):
        face.queue(publish_timeout_seconds="1")
