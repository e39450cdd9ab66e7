"""The worker process of RedisQueue: runs a handler on the messages of one queue.

A handler imports from here what it needs: `Retry` and `DeadLetter` to raise, `Context` for its annotation.
"""

from redisqueue_worker.context import Context
from redisqueue_worker.outcomes import DeadLetter, Retry

__all__ = ["Context", "DeadLetter", "Retry"]
