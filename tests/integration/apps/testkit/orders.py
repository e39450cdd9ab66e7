"""Handlers as an application has them."""

import asyncio
from dataclasses import dataclass
from decimal import Decimal

from redisqueue_worker import Context, DeadLetter, Registry, Retry

orders = Registry()
STOCK = {"book": 3}


@dataclass
class Order:
    item: str
    amount: Decimal
    customer: str | None = None


@dataclass
class Mail:
    to: str
    text: str


@orders("order")
def take(order: Order, context: Context) -> None:
    """Take an order, and tell its customer."""
    if order.item not in STOCK:
        raise DeadLetter(f"nobody sells {order.item}")
    if order.customer:
        context.enqueue(Mail(order.customer, f"{order.item} is on its way"), queue="mails")


@orders("parcel")
async def track(parcel: dict[str, str], context: Context) -> str:
    """Ask where a parcel is, until it is there."""
    if context.draining:
        raise Retry(0)
    await asyncio.sleep(0)
    if parcel["place"] != "home":
        raise Retry(3600)
    return f"{parcel['number']} is at home"


def unlucky(payload: str, context: Context) -> None:
    """Succeed with the second delivery of good ones alone."""
    if payload != "good" or context.delivery_count < 2:
        raise ValueError(payload)
