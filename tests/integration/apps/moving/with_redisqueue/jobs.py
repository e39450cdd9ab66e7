# jobs.py
from typing import Any

import shop

from redisqueue_worker import Backoff, Context, handler


@handler("send_mail", max_attempts=4, retry=Backoff(initial_seconds=1))
def send_mail(job: dict[str, Any]) -> None:
    shop.send_mail(job["to"], job["text"])


@handler("remind")
def remind(job: dict[str, Any]) -> None:
    shop.remind(job["to"])


@handler("refund", max_attempts=1)
def refund(job: dict[str, Any]) -> None:
    shop.refund(job["order"])


@handler("pack")
def pack(job: dict[str, Any], context: Context) -> None:
    shop.pack(job["order"])
    context.enqueue({"type": "bill", "order": job["order"]}, deduplication_key=f"bill {job['order']}")


@handler("bill")
def bill(job: dict[str, Any]) -> None:
    shop.bill(job["order"])


@handler("shrink", slots="processes")
def shrink(job: dict[str, Any]) -> None:
    shop.shrink(job["picture"])


@handler("total")
def total(job: dict[str, Any]) -> int:
    return shop.total(job["prices"])
