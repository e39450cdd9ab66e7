"""What the service asks for, and the handler that does it."""

from dataclasses import dataclass
from datetime import date

from redisqueue_worker import Context, DeadLetter

SALES = {date(2030, 1, 1): [7, 8], date(2030, 2, 1): [9]}


@dataclass
class Report:
    """The sales of a month, for a customer."""

    customer: str
    month: date


@dataclass
class Sum:
    """What a report says."""

    month: date
    sales: int
    total: int


def make(report: Report, context: Context) -> Sum:
    """Make a report."""
    if report.month not in SALES:
        raise DeadLetter(f"there are no sales of {report.month:%B %Y}")
    context.logger.info("for %s", report.customer)
    return Sum(report.month, len(SALES[report.month]), sum(SALES[report.month]))
