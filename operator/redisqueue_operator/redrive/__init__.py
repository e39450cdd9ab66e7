"""Bringing letters back to pending: which of them (`match`), and the RedisQueueRedrive resource."""
