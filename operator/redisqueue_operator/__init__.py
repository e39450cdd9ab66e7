"""The operator of RedisQueue: observes, decides, applies."""
