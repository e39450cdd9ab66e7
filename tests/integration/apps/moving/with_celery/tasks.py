# tasks.py
import os

import shop
from celery import Celery

app = Celery("tasks", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True, worker_prefetch_multiplier=1)


@app.task(autoretry_for=(ConnectionError,), max_retries=3, retry_backoff=1)
def send_mail(to, text):
    shop.send_mail(to, text)


@app.task
def remind(to):
    shop.remind(to)


@app.task
def refund(order):
    shop.refund(order)


@app.task
def pack(order):
    shop.pack(order)


@app.task
def bill(order):
    shop.bill(order)


@app.task
def shrink(picture):
    shop.shrink(picture)


@app.task
def total(prices):
    return shop.total(prices)
