# send.py
import tasks
from celery import chain

tasks.send_mail.delay("ada@example.org", "welcome")
tasks.remind.apply_async(["ada@example.org"], countdown=1)
tasks.refund.delay(7)
chain(tasks.pack.si(8), tasks.bill.si(8)).delay()
tasks.shrink.delay("cat.png")
print("total", tasks.total.delay([3, 4]).get(timeout=60))
