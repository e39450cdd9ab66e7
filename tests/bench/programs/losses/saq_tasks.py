"""saq; its worker is `saq saq_tasks.settings`."""

from typing import Any

import book
import saq

queue = saq.Queue.from_url(book.URL)


async def handle(_: Any, *, message: str) -> None:
    """Take a while."""
    await book.handle_async(message)


settings = {
    "queue": queue,
    "functions": [handle],
    "concurrency": 16,
    "timers": {"sweep": 5},
    "shutdown_grace_period_s": book.DRAIN_SECONDS,
}


async def enqueue(messages: list[str]) -> None:
    """Send them; by default a job has 10 s, and one attempt."""
    await queue.connect()
    for message in messages:
        await queue.enqueue("handle", message=message, key=message, timeout=30, retries=6)
    await queue.disconnect()
