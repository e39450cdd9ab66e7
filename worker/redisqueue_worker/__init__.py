"""The worker process of RedisQueue: runs a handler on the messages of one queue."""
