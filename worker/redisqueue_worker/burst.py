"""How long a worker that leaves with the empty queue waits for what is not there yet. Pure.

All times are seconds on any clock that only goes forward, the same for all calls.
"""

from __future__ import annotations


class Burst:
    """Counts the time in which no message comes to an end; what a handler works on is no waiting.

    Args:
        patience_seconds: how much of it there may be.
        now: when the worker began.
    """

    def __init__(self, patience_seconds: float, now: float) -> None:
        self._patience_seconds = patience_seconds
        self._waited_seconds = 0.0
        self._looked_at = now
        self._ended = 0

    def look(self, now: float, *, ended: int, oldest_age_seconds: float | None) -> None:
        """To be called a few times a second.

        Args:
            ended: how many messages came to an end so far.
            oldest_age_seconds: of the running handlers; None when none runs.
        """
        passed, self._looked_at = now - self._looked_at, now
        if ended != self._ended:
            self._ended, self._waited_seconds = ended, 0.0
        elif oldest_age_seconds is None or oldest_age_seconds < passed:
            self._waited_seconds += passed

    @property
    def is_over(self) -> bool:
        """Whether it waited for long enough, be it for Redis or for what is retried again and again."""
        return self._waited_seconds >= self._patience_seconds

    def waits_for(self, next_due_seconds: float | None) -> bool:
        """Whether the next message that becomes due is to be waited for; None when there is none."""
        return next_due_seconds is not None and next_due_seconds <= self._patience_seconds
