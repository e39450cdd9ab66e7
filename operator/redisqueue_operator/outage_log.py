"""What is said in the log of something that is tried again and again: little, however often that is."""

from __future__ import annotations

import logging

REMIND_SECONDS = 3600.0
NEVER = float("-inf")


class OutageLog:
    """Tells when an outage begins, once an hour while it lasts, and when it is over.

    Each attempt besides is told at the level DEBUG. `what` cannot be done meanwhile.
    """

    def __init__(self, log: logging.Logger, what: str) -> None:
        self._log = log
        self._what = what
        self._told_at = NEVER

    def failed(self, reason: str, message: str, now: float) -> None:
        """Another attempt came to nothing, at `now` (seconds of any one clock)."""
        due = now >= self._told_at + REMIND_SECONDS
        self._log.log(logging.INFO if due else logging.DEBUG, "%s waits: %s: %s", self._what, reason, message)
        if due:
            self._told_at = now

    def over(self) -> None:
        """It works; harmless when it did before."""
        if self._told_at != NEVER:
            self._told_at = NEVER
            self._log.info("%s goes on", self._what)
