"""What the queues hold, read from Redis."""
