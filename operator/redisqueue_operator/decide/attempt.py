"""A write that fails: tried again at once while that may help, else told beside what is observed. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from redisqueue_operator.errors import Conflict, PlatformError

RETRY_SECONDS = 3.0
"""Between two tries of what was refused: people who lift a rule shall see that it goes on."""
ENDLESS = 6
"""Conflicts are the usual way to learn of a change. So many in a row do not end by themselves."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One kind of write of one RedisQueue. Times are the engine's clock."""

    in_vain: int = 0
    """How often it has failed in a row."""
    error: PlatformError | None = None
    """What people are told; None while all is well, or may be in a moment."""
    until: float = float("-inf")
    """Nothing is tried before."""
    announced: bool = False
    """An Event has said so, where no condition can."""

    def failed(self, error: PlatformError, now: float) -> Attempt:
        """After a failure. People are told of it when another try has no better chance."""
        tried = replace(self, in_vain=self.in_vain + 1)
        if (isinstance(error, Conflict) or error.passing) and tried.in_vain < ENDLESS:
            return tried
        return replace(tried, error=error, until=now + RETRY_SECONDS)

    def waits(self, now: float) -> bool:
        """Whether it is not to be tried yet."""
        return self.error is not None and now < self.until
