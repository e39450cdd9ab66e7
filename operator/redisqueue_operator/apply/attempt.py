"""A write that fails: tried again at once while that may help, else told beside what is observed. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from redisqueue_operator.platform import Conflict, PlatformError

RETRY_SECONDS = 3.0
"""Between two tries of what was refused: people who lift a rule shall see that it goes on."""
ENDLESS = 6
"""Conflicts are the usual way to learn of a change. So many in a row do not end by themselves."""


@dataclass(slots=True)
class Attempt:
    """One kind of write of one RedisQueue. Times are the engine's clock."""

    in_vain: int = 0
    """How often it has failed in a row."""
    error: PlatformError | None = None
    """What people are told; None while all is well, or may be in a moment."""
    until: float = float("-inf")
    """Nothing is tried before."""

    def lasts(self, error: PlatformError, now: float) -> bool:
        """Whether people are to be told of that failure: another try has no better chance."""
        self.in_vain += 1
        if (isinstance(error, Conflict) or error.passing) and self.in_vain < ENDLESS:
            return False
        self.error, self.until = error, now + RETRY_SECONDS
        return True

    def succeeded(self) -> None:
        """It was written, or there is nothing to write any more."""
        self.in_vain, self.error, self.until = 0, None, float("-inf")
