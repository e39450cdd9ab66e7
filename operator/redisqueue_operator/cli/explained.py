"""What `redisqueue explain` makes of the status of a RedisQueueBudget and a RedisQueueSchedule. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redisqueue_operator.cli.screen import one_line, table
from redisqueue_operator.decide.budget import REASONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Explainer = Callable[[dict[str, Any]], Iterator[str]]

SHARES = ("QUEUE", "PRIORITY", "MINIMUM", "WANTS", "HAS", "BUSY", "MAY HAVE", "ITS PART", "WHY")
TICKS = ("TICK", "OUTCOME", "MISSED", "AT", "WHY OR WHICH MESSAGE")


UNSEEN = "no operator has looked at it yet"


def is_unseen(status: dict[str, Any]) -> bool:
    """Whether that is what the API server gives to a new object."""
    return int(status.get("observedGeneration", -1)) < 0


def of_budget(status: dict[str, Any]) -> Iterator[str]:
    """Who has what of it, and why."""
    if "queues" not in status:
        yield UNSEEN if is_unseen(status) else "it is not shared out"
        return
    queues, wanted, workers = (status.get(part, "?") for part in ("queues", "wanted", "workers"))
    yield f"{queues} queues want {wanted} workers and have {workers}"
    used = [f"{status[name]} of {name}" for name in ("cpu", "memory") if name in status]
    if used:
        yield f"these request {', '.join(used)}"
    shares = status.get("shares") or []
    rows = [
        (
            *(each.get(part) for part in ("queue", "priority", "minimum", "wanted", "workers", "busy")),
            each.get("ceiling"),
            each.get("share"),
            REASONS.get(each.get("reason"), each.get("reason")),  # a newer operator may have others
        )
        for each in shares
    ]
    if rows:
        yield from table(SHARES, rows)
    if (more := status["queues"] - len(rows)) > 0:
        yield f"and {more} more, which lack less"


def of_schedule(status: dict[str, Any]) -> Iterator[str]:
    """What became of its last ticks, and when the next one is."""
    if "inForce" not in status:
        yield UNSEEN if is_unseen(status) else "no schedule is in force"
        return
    force = status["inForce"]
    queue = one_line(str(status.get("queue", "?")))
    yield f"{force.get('schedule')} ({force.get('timeZone')}) into the queue {queue}"
    following = f"next tick: {status.get('nextScheduleTime', 'not known')}"
    yield "suspended: no tick is enqueued" if force.get("suspend") else following
    rows = [
        (
            each.get("scheduledTime"),
            each.get("outcome"),
            each.get("missed", "-"),
            each.get("time"),
            each.get("messageId") or each.get("reason") or "nobody was there in time",
        )
        for each in status.get("history") or []
    ]
    yield from table(TICKS, rows) if rows else ["no tick yet"]


EXPLAINERS: dict[str, Explainer] = {
    **dict.fromkeys(("rqb", "redisqueuebudget", "redisqueuebudgets"), of_budget),
    **dict.fromkeys(("rqs", "redisqueueschedule", "redisqueueschedules"), of_schedule),
}
"""By the names of a kind that kubectl knows."""
