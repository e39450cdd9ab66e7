"""Small programs on a queue, each run in a process of its own that may be killed at any moment.

As a script it is the server that forks them: a line `program|URL` on stdin gives the process's id on stdout,
and its exit status once it ended. A fork takes milliseconds, a new interpreter half a second.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import redis
import redis.asyncio

import redis_message_queue
import redis_message_queue.asyncio
import redis_message_queue.asyncio.consumer
import redis_message_queue.consumer
from redis_message_queue.consumer import Outcome, Settlement

if TYPE_CHECKING:
    from collections.abc import Callable

OPTIONS = {"visibility_timeout_seconds": 30, "enable_completed_queue": True}


def queue(url: str) -> None:
    """Publish `a`, claim a message, acknowledge it."""
    with redis.Redis.from_url(url) as client:
        work = redis_message_queue.RedisMessageQueue("jobs", client=client, **OPTIONS)
        work.publish("a")
        with work.process_message():
            work.stats()


async def _queue(url: str) -> None:
    async with redis.asyncio.Redis.from_url(url) as client:
        work = redis_message_queue.asyncio.RedisMessageQueue("jobs", client=client, **OPTIONS)
        await work.publish("a")
        async with work.process_message():
            await work.stats()


def consumer(url: str) -> None:
    """Publish `a`, claim a message, acknowledge it while claiming the next."""
    with redis.Redis.from_url(url) as client:
        redis_message_queue.RedisMessageQueue("jobs", client=client).publish("a")
        worker = redis_message_queue.consumer.Consumer(client, "jobs", keep_completed=10)
        ends = [Settlement(claim, Outcome.DONE) for claim in worker.claim(1).claims]
        worker.settle(ends, claim=1)


async def _consumer(url: str) -> None:
    async with redis.asyncio.Redis.from_url(url) as client:
        await redis_message_queue.asyncio.RedisMessageQueue("jobs", client=client).publish("a")
        worker = redis_message_queue.asyncio.consumer.Consumer(client, "jobs", keep_completed=10)
        ends = [Settlement(claim, Outcome.DONE) for claim in (await worker.claim(1)).claims]
        await worker.settle(ends, claim=1)


def redrive(url: str) -> None:
    """Bring the dead letters back, a few at a time."""
    with redis.Redis.from_url(url) as client:
        redis_message_queue.RedisMessageQueue("jobs", client=client).redrive(record="mine", per_second=1000)


async def _redrive(url: str) -> None:
    async with redis.asyncio.Redis.from_url(url) as client:
        work = redis_message_queue.asyncio.RedisMessageQueue("jobs", client=client)
        await work.redrive(record="mine", per_second=1000)


REDRIVES: dict[str, Callable[[str], None]] = {
    "redrive": redrive,
    "asyncio redrive": lambda url: asyncio.run(_redrive(url)),
}
PROGRAMS: dict[str, Callable[[str], None]] = {
    "queue": queue,
    "asyncio queue": lambda url: asyncio.run(_queue(url)),
    "consumer": consumer,
    "asyncio consumer": lambda url: asyncio.run(_consumer(url)),
}


class Nursery:
    """Runs one program at a time; a context manager."""

    def __enter__(self) -> Nursery:
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate()

    def start(self, program: str, url: str) -> int:
        """Start a program; its process id."""
        assert self._server.stdin
        print(program, url, sep="|", file=self._server.stdin, flush=True)
        return self._number()

    def wait(self) -> int:
        """Wait for the end of the program; its exit status, -9 when it was killed."""
        return self._number()

    def _number(self) -> int:
        assert self._server.stdout
        return int(self._server.stdout.readline())


def serve() -> None:
    """Fork a process for each line."""
    for line in sys.stdin:
        program, url = line.rstrip("\n").split("|")
        pid = os.fork()
        if pid == 0:
            # Nothing of the server's must be run at the end of the fork.
            try:
                (PROGRAMS | REDRIVES)[program](url)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
            os._exit(0)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
