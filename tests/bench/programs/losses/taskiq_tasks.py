"""taskiq with the stream broker of taskiq-redis; its worker is `taskiq worker taskiq_tasks:broker`."""

import book
from taskiq_redis import RedisStreamBroker

# Read one at a time: the idle timeout also runs for messages that wait behind others in the worker.
broker = RedisStreamBroker(book.URL, idle_timeout=30_000, xread_count=1, unacknowledged_lock_timeout=10)


@broker.task(task_name="handle")
async def handle(message: str) -> None:
    """Take a while."""
    await book.handle_async(message)


async def enqueue(messages: list[str]) -> None:
    """Send them."""
    await broker.startup()
    for message in messages:
        await handle.kiq(message)
    await broker.shutdown()
