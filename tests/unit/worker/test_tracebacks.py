"""What a handler's author sees of a failure: their own frames, from the first one on."""

from __future__ import annotations

import asyncio
import re
import threading
from typing import TYPE_CHECKING

from redis_message_queue.connection import ConnectionSettings
from redisqueue_worker.context import Context, Publisher
from redisqueue_worker.executors import failure_in, failure_in_async
from redisqueue_worker.handlers import inspected
from redisqueue_worker.tracing import traced

if TYPE_CHECKING:
    from redisqueue_worker.retry_policy import Failure

CONTEXT = Context(
    id="1",
    delivery_count=1,
    timeout_seconds=None,
    draining=threading.Event(),
    publisher=Publisher(ConnectionSettings(url="redis://localhost").connect, "jobs", "::"),
    payload="",
)


def helper() -> None:
    raise ValueError("no")


def sync(payload: str) -> None:
    helper()


async def asynchronous(payload: str) -> None:
    await asyncio.sleep(0)
    helper()


def of_the_worker(payload: str, context: Context) -> None:
    context.extend(0)


def frames(failure: Failure | None) -> list[str]:
    assert failure is not None
    return re.findall(r", in (\w+)$", failure.detail, re.MULTILINE)


def test_only_the_frames_of_the_handler_are_left() -> None:
    assert frames(failure_in(traced(inspected(sync, "x")), "p", CONTEXT)) == ["sync", "helper"]
    failure = asyncio.run(failure_in_async(traced(inspected(asynchronous, "x")), "p", CONTEXT))
    assert frames(failure) == ["asynchronous", "helper"]


def test_what_the_handler_calls_of_the_worker_stays() -> None:
    assert frames(failure_in(inspected(of_the_worker, "x"), "p", CONTEXT)) == ["of_the_worker", "extend"]


def test_a_payload_that_does_not_fit_has_no_traceback_at_all() -> None:
    failure = failure_in(inspected(sync, "x"), b"\xff", CONTEXT)
    assert failure is not None
    assert (failure.kind, failure.detail) == ("invalid payload", "")
