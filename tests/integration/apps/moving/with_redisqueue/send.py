# send.py
import os

from redis import Redis

from redis_message_queue import RedisMessageQueue

queue = RedisMessageQueue("shop", client=Redis.from_url(os.environ["REDIS_URL"]))

queue.enqueue({"type": "send_mail", "to": "ada@example.org", "text": "welcome"})
queue.enqueue({"type": "remind", "to": "ada@example.org"}, delay_seconds=1)
queue.enqueue({"type": "refund", "order": 7})
queue.enqueue({"type": "pack", "order": 8})
queue.enqueue({"type": "shrink", "picture": "cat.png"})
told = queue.result(queue.enqueue({"type": "total", "prices": [3, 4]}).message_id, timeout_seconds=60)
print("total", told.value if told else None)
