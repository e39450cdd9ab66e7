"""What a handler can raise to say what shall happen to its message."""

from __future__ import annotations

from typing import Any

from redisqueue_worker.logs import shown

LONGEST_DELAY_SECONDS = 30 * 24 * 3600


class Retry(Exception):
    """Handle this message again later; the other messages do not wait for it.

    An explicit Retry is not bound by the worker's maximum of attempts, only by the queue's
    maximum of deliveries.

    Args:
        delay: seconds until the message is due again, at most 30 days; the worker's own backoff when None.

    Raises ValueError for a delay that is no such number.
    """

    delay_seconds: float | None = None

    def __init__(self, delay: float | None = None) -> None:
        self.delay_seconds = checked_delay(delay)
        super().__init__(delay)


class DeadLetter(Exception):
    """Never handle this message again: move it to the dead letters.

    Args:
        reason: why, in a few words; it is kept beside the message for whoever looks at it later.
    """

    reason: str = ""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = str(reason)


def checked_delay(delay: Any) -> float | None:
    """A handler's delay in seconds; None for the worker's own. Raises ValueError for what is no delay."""
    return None if delay is None else checked_seconds("delay", delay, "leave it out for the worker's backoff")


def checked_seconds(name: str, value: Any, way_out: str = "") -> float:
    """`value` as a number of seconds from 0 to 30 days. Raises ValueError that names it."""
    try:
        seconds = float("nan") if isinstance(value, (bool, str, bytes)) else float(value)
    except (TypeError, ValueError, OverflowError):  # a timedelta, say; an int beyond all floats
        seconds = float("nan")
    if not 0 <= seconds <= LONGEST_DELAY_SECONDS:
        wanted = f"is not a number of seconds from 0 to {LONGEST_DELAY_SECONDS} (30 days)"
        hint = "use its total_seconds()" if hasattr(value, "total_seconds") else way_out
        raise ValueError(f"{name}: {shown(value)} {wanted}" + (f"; {hint}" if hint else ""))
    return seconds
