"""How often queues are sampled, from how many there are and over how many endpoints they are spread. Pure."""

from __future__ import annotations

FASTEST_SECONDS, SLOWEST_SECONDS = 0.2, 1.0
FEW_QUEUES, MANY_QUEUES = 20, 300
# A round trip costs about as much as so many more queues in a pipeline.
QUEUES_PER_ENDPOINT = 10


def interval_seconds(queues: int) -> float:
    """Pause between two samples of an endpoint with so many queues in all: 0.2 s for few, 1 s for many."""
    share = (queues - FEW_QUEUES) / (MANY_QUEUES - FEW_QUEUES)
    return FASTEST_SECONDS + (SLOWEST_SECONDS - FASTEST_SECONDS) * min(1.0, max(0.0, share))


def patience(queues: int, endpoints: int) -> float:
    """How many times as long it may be where there are no news.

    More than once where the queues are spread over many servers or logins, so that these cost at most twice
    of what the same queues on one server with one login cost.
    """
    cost = queues + QUEUES_PER_ENDPOINT * (endpoints - 1)
    return max(1.0, cost / (2 * max(queues, 1)))
