"""Commands that ask a Redis: the queue is named, or a RedisQueue names it."""
