"""Ours; its worker is `redisqueue-worker run book:handle`."""

import redis
from book import URL

from redis_message_queue import RedisMessageQueue


def enqueue(messages: list[str]) -> None:
    """Send them."""
    queue = RedisMessageQueue("bench", client=redis.Redis.from_url(URL))
    for message in messages:
        queue.enqueue(message)
