"""What the control loop says of itself: shown as metrics, and judged by /livez. Pure."""

from __future__ import annotations

from dataclasses import dataclass

# Longer than a look may take on a slow API server: a dozen calls that just do not time out.
STUCK_SECONDS = 180.0
# A resync is tried every five minutes, and again within seconds when it failed.
RESYNC_LATE_SECONDS = 900.0
# A sample is tried every second at least, and given up after ten.
SAMPLE_LATE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Vitals:
    """One process at one moment. Ages count from the last try, whether or not anybody answered it."""

    depth: int = 0
    """RedisQueues that are due to be looked at and have to wait."""
    endpoints: int = 0
    """Redis servers (by user) that are sampled."""
    sleepers: int = 0
    """Queues that are waited on with a connection each."""
    told: int = 0
    """Queues that rest until their server tells of a change."""
    unreadable: int = 0
    """Collections (a kind in a namespace) that the API server does not let us read."""
    loop_age_seconds: float = 0.0
    """How long the slowest look takes already, or how long none has begun although one is due."""
    resync_age_seconds: float = 0.0
    """Since every RedisQueue was last to be looked at."""
    sample_age_seconds: float = 0.0
    """Since the last sample of the endpoint that waits longest for the next one."""

    @property
    def ages(self) -> dict[str, float]:
        """The ages in seconds, by what they are of."""
        return {
            "loop": self.loop_age_seconds,
            "resync": self.resync_age_seconds,
            "sample": self.sample_age_seconds,
        }


def why_dead(vitals: Vitals) -> str:
    """Why only a new process can help; empty when none is needed.

    An API server or a Redis that is away is no reason: they are tried again and again, and every try counts.
    """
    if vitals.loop_age_seconds > STUCK_SECONDS:
        return f"the control loop has not moved for {vitals.loop_age_seconds:.0f} s"
    if vitals.resync_age_seconds > RESYNC_LATE_SECONDS:
        return f"no resync was tried for {vitals.resync_age_seconds:.0f} s"
    if vitals.sample_age_seconds > SAMPLE_LATE_SECONDS:
        return f"no sample of Redis was tried for {vitals.sample_age_seconds:.0f} s"
    return ""
