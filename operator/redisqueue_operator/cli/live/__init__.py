"""`redisqueue top` on a terminal: looks at queues in the background, and a picture that fits any size."""
