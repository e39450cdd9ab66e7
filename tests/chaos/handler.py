"""Handlers that take as long as their message says, and write its start and its end into the books.

The books are a folder of the node: they need neither Redis nor a network. A call has a name of its own,
for one message may be called for twice in one pod.
"""

import asyncio
import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redisqueue_worker import Context

POD = os.environ["HOSTNAME"]
FILE = f"{os.environ['BOOKS']}/handled-{POD}.jsonl"


@contextmanager
def in_the_books(job: dict[str, Any], context: Context) -> Iterator[None]:
    call = uuid.uuid4().hex
    write(kind="start", call=call, id=job["id"], queue=context.queue, pod=POD, at=time.time())
    yield
    write(kind="end", call=call, at=time.time())


def write(**entry: object) -> None:
    """One write for one line: whoever is killed leaves a whole line or none."""
    descriptor = os.open(FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, f"{json.dumps(entry)}\n".encode())
    finally:
        os.close(descriptor)


def handle(job: dict[str, Any], context: Context) -> None:
    with in_the_books(job, context):
        time.sleep(job["seconds"])


async def handle_async(job: dict[str, Any], context: Context) -> None:
    with in_the_books(job, context):
        await asyncio.sleep(job["seconds"])
