"""arq; its worker is `arq arq_tasks.WorkerSettings`."""

from typing import Any

import book
from arq import connections

SETTINGS = connections.RedisSettings.from_dsn(book.URL)


async def handle(_: Any, message: str) -> None:
    """Take a while."""
    await book.handle_async(message)


class WorkerSettings:
    """What the command reads."""

    functions = (handle,)
    redis_settings = SETTINGS
    max_jobs = 16
    job_timeout = 30
    keep_result = 0
    job_completion_wait = book.DRAIN_SECONDS


async def enqueue(messages: list[str]) -> None:
    """Send them."""
    pool = await connections.create_pool(SETTINGS)
    for message in messages:
        await pool.enqueue_job("handle", message, _job_id=message)
