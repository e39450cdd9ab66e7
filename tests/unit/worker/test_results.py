"""A return value that shows that the work was not done is a failure; any other is success."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import io
import itertools
import multiprocessing.pool
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from redisqueue_worker import DeadLetter, Retry
from redisqueue_worker.signatures import NotDone, finished

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


async def coroutine() -> None: ...


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


class Promise:
    def __await__(self) -> Iterator[None]:
        yield


@pytest.mark.parametrize(
    ("give", "problem"),
    [
        (coroutine, "a coroutine that nobody awaits"),
        (Promise, "a Promise that nobody waits for"),
        (concurrent.futures.Future, "a Future that nobody waits for"),
        (generator, "a generator that nobody iterates over"),
        (async_generator, "a async_generator that nobody iterates over"),
        (lambda: [coroutine(), coroutine()], "a list of a coroutine that nobody awaits"),
        (lambda: (None, concurrent.futures.Future()), "a tuple of a Future that nobody waits for"),
        (contextlib.contextmanager(generator), "a _GeneratorContextManager that nobody enters"),
        (contextlib.asynccontextmanager(async_generator), "that nobody enters"),
        (lambda: lambda: None, "a function that nobody calls"),
        (lambda: functools.partial(print), "a partial that nobody calls"),
        (lambda: Promise().__await__, "a method that nobody calls"),
        (lambda: threading.Thread(target=print), "a Thread that nobody waits for"),
        (lambda: multiprocessing.Process(target=print), "a Process that nobody waits for"),
        (lambda: map(print, [1]), "a map that nobody iterates over"),
        (lambda: itertools.starmap(print, [(1,)]), "a starmap that nobody iterates over"),
        (lambda: zip(generator(), [1], strict=True), "a zip that nobody iterates over"),
        (lambda: Retry(1), "Retry; raise it"),
        (lambda: Retry, "Retry; raise it"),
        (lambda: DeadLetter("no"), "DeadLetter; raise it"),
        (lambda: ValueError("no"), "ValueError; raise it"),
        (lambda: SystemExit(0), "SystemExit; raise it"),
    ],
)
def test_work_that_is_left_to_others_is_not_done(give: Callable[[], Any], problem: str) -> None:
    with pytest.raises(NotDone) as raised:
        finished(give())
    assert problem in str(raised.value)


def test_what_is_under_way_is_cancelled_where_that_is_possible() -> None:
    async def return_a_task() -> asyncio.Task[None]:
        task = asyncio.create_task(asyncio.sleep(60))
        with pytest.raises(NotDone, match="a Task that nobody waits for"):
            finished(task)
        return task

    async def scenario() -> None:
        with pytest.raises(asyncio.CancelledError):
            await (await return_a_task())

    asyncio.run(scenario())
    with multiprocessing.pool.ThreadPool(1) as pool, pytest.raises(NotDone, match="nobody waits for"):
        finished(pool.apply_async(sorted, ([],)))
    with multiprocessing.pool.ThreadPool(1) as pool:
        for under_way in (pool.imap(sorted, [[]]), pool.imap_unordered(sorted, [[]])):
            with pytest.raises(NotDone, match="nobody waits for"):
                finished(under_way)


@pytest.mark.parametrize("result", [None, 0, "", b"x", [], {}, (1,), object(), print, int, io.StringIO()])
def test_anything_else_is_success(result: object) -> None:
    assert finished(result) is result


def test_a_process_that_runs_on_is_not_done_and_one_that_has_ended_is() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        with pytest.raises(NotDone, match="a Popen that nobody waits for"):
            finished(process)
        process.communicate(b"\n")
        assert finished(process) is process


def test_several_futures_that_are_done_are_success() -> None:
    done: concurrent.futures.Future[int] = concurrent.futures.Future()
    done.set_result(1)
    assert finished([done, None]) == [done, None]
