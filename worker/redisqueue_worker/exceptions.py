"""What a handler can raise to say what shall happen to its message; what it or a payload is refused with."""

from __future__ import annotations

from typing import Any

from redisqueue_worker.logs import shown, type_name

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


class InvalidPayload(Exception):
    """The payload is not of the handler's type. The text tells where and why, never what it contains."""

    def __init__(self, problem: str, *path: str | int, wrong_kind: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path = list(path)
        self.wrong_kind = wrong_kind

    @classmethod
    def of(cls, value: object, wanted: str) -> InvalidPayload:
        """`value` is not of the kind that is wanted."""
        kind = {type(None): "null", dict: "object"}.get(type(value)) or type_name(value)
        return cls(f"a JSON {kind} where {wanted} belongs", wrong_kind=True)

    def within(self, place: str | int) -> InvalidPayload:
        """The same, seen from the object or list that holds the value."""
        self.path.insert(0, place)
        return self

    def __str__(self) -> str:
        if not self.path:
            return self.problem
        place = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in self.path)
        is_ = "" if self.problem.startswith("is ") else "is "
        return f"field {place.removeprefix('.')} {is_}{self.problem}"


class UnknownType(InvalidPayload):
    """No handler is for messages of this type. Another version of the worker may have one."""


class HandlerError(Exception):
    """The handler cannot be used; the text says why and what to do."""


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
