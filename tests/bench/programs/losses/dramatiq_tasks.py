"""dramatiq; its worker is `dramatiq dramatiq_tasks`."""

import book
import dramatiq
from dramatiq.brokers.redis import RedisBroker

# Of a million commands as many look for messages of dead workers: by default one of a thousand.
MAINTENANCE_CHANCE = 100_000
dramatiq.set_broker(
    RedisBroker(url=book.URL, heartbeat_timeout=30_000, maintenance_chance=MAINTENANCE_CHANCE)
)


@dramatiq.actor
def handle(message: str) -> None:
    """Take a while."""
    book.handle(message)


def enqueue(messages: list[str]) -> None:
    """Send them."""
    for message in messages:
        handle.send(message)
