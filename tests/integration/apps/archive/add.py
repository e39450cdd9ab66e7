"""`python add.py REDIS_URL PAGE…` asks for pages to be archived, each at most once a day."""

import sys

import redis
from archive import Link

from redis_message_queue import RedisMessageQueue


def main(redis_url: str, *pages: str) -> None:
    """Ask for each page, and say what becomes of it."""
    with redis.Redis.from_url(redis_url) as client:
        queue = RedisMessageQueue("archive", client=client, publish_timeout_seconds=5)
        for page in pages:
            receipt = queue.enqueue(Link(page), deduplication_key=page, deduplication_seconds=86_400)
            print(page, "is fetched" if receipt else "was asked for today")


if __name__ == "__main__":
    main(*sys.argv[1:])
