"""Adds up what stands on an invoice, in the currency's own way of writing."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass
class Invoice:
    number: str
    lines: list[tuple[int, Decimal]]
    """How many, and the price of one."""


def add_up(invoice: Invoice) -> str:
    """Print the total, and return it."""
    total = sum((number * price for number, price in invoice.lines), Decimal(0))
    print(f"invoice {invoice.number}: {total:,.2f}")
    return f"{total:,.2f}"
