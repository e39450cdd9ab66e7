"""When to look at which RedisQueue, and who looks."""
