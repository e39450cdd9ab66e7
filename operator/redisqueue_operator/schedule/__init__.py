"""Enqueues at the times of cron expressions: the RedisQueueSchedule resource."""
