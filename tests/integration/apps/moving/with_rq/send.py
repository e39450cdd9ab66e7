# send.py
import os
from datetime import timedelta

import shop
from redis import Redis
from rq import Queue, Retry

queue = Queue("shop", connection=Redis.from_url(os.environ["REDIS_URL"]))

queue.enqueue(shop.send_mail, "ada@example.org", "welcome", retry=Retry(max=3, interval=[1, 2, 4]))
queue.enqueue_in(timedelta(seconds=1), shop.remind, "ada@example.org")
queue.enqueue(shop.refund, 7)
packed = queue.enqueue(shop.pack, 8)
queue.enqueue(shop.bill, 8, depends_on=packed)
queue.enqueue(shop.shrink, "cat.png")
told = queue.enqueue(shop.total, [3, 4]).latest_result(timeout=60)
print("total", told.return_value if told else None)
