"""The kind RedisQueueBudget: workers that several RedisQueues share."""
