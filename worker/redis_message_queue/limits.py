"""How fast, and how many at once, messages of a queue may begin, and those of one limit key."""

from __future__ import annotations

import math
from dataclasses import dataclass

from redis_message_queue.exceptions import ConfigurationError
from redis_message_queue.validation import check, shown

# What is spent of a burst is known for so long.
_LONGEST_REFILL_SECONDS = 30 * 24 * 3600
# Without a burst of one's own a tenth of a second's worth may begin at once: no rate is lost to timers.
_DEFAULT_BURST_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Limits:
    """What all consumers of a queue may begin together; None means no limit.

    Attributes:
        rate_per_second: how many messages begin in a second, on average; a part of one for slower rates.
        rate_burst: how many may begin at once after a pause; default a tenth of a second's worth, at least 1.
        max_in_flight: how many are handled at the same time.

    Raises:
        TypeError, ConfigurationError: a value that cannot work, named in the text.
    """

    rate_per_second: float | None = None
    rate_burst: int | None = None
    max_in_flight: int | None = None

    def __post_init__(self) -> None:
        """Check each, and that a burst has a rate."""
        check(rate_per_second=self.rate_per_second, rate_burst=self.rate_burst)
        check(max_in_flight=self.max_in_flight)
        if self.rate_per_second is None:
            if self.rate_burst is not None:
                raise ConfigurationError("'rate_burst' needs 'rate_per_second': pass both, or none")
            return
        if self.burst / self.rate_per_second > _LONGEST_REFILL_SECONDS:
            raise ConfigurationError(
                f"'rate_per_second' {shown(self.rate_per_second)} is too low for a burst of {self.burst}: it"
                " must refill within 30 days; pass a higher rate or a smaller 'rate_burst'"
            )

    @property
    def burst(self) -> int:
        """How many may begin at once."""
        return self.rate_burst or max(1, math.ceil((self.rate_per_second or 0) * _DEFAULT_BURST_SECONDS))

    @property
    def words(self) -> str:
        """For the script that claims: ms between two, burst, most in flight; 0 for no limit."""
        every = f"{1000 / self.rate_per_second:.6f}" if self.rate_per_second else "0"
        return f"{every},{self.burst},{self.max_in_flight or 0}"


def limit_words(limits: Limits | None, key_limits: Limits | None) -> str:
    """What a claim is told of them; '-' without limits."""
    none = Limits()
    limits, key_limits = limits or none, key_limits or none
    return "-" if limits == key_limits == none else f"{limits.words},{key_limits.words}"
