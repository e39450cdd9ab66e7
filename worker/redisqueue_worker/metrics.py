"""What one worker process counts, as plain numbers; the depth of the queue is the operator's to tell.

`metrics_page` makes a page of it once somebody asks: until then a worker needs nothing of Prometheus.
Each number is written by one thread alone.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from typing import TYPE_CHECKING

from redis_message_queue._clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600)


class Distribution:
    """How often a time was how long.

    Attributes:
        bounds: the upper ends of the buckets, in seconds.
        counts: how many fell into each and into none before it; the last is of those above all bounds.
        total_seconds: the sum of all.
    """

    def __init__(self) -> None:
        self.bounds = _BUCKETS
        self.counts = [0] * (len(_BUCKETS) + 1)
        self.total_seconds = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total_seconds += seconds


def _nothing() -> float:
    return 0.0


class Metrics:
    """The worker's numbers; `metrics_page` says what each is.

    Attributes:
        outcomes: settled messages.
        lease_renewals: by result.
        in_flight: asks for the number of the moment, as do the other functions.
    """

    def __init__(self) -> None:
        self.outcomes = dict.fromkeys(("done", "failed", "dead", "cancelled", "retry", "release", "lost"), 0)
        self.redeliveries = 0
        self.handler_seconds = Distribution()
        self.queue_wait_seconds = Distribution()
        self.timeouts = 0
        self.abandoned = 0
        self.slots = 0
        self.circuit_open = False
        self.circuit_openings = 0
        self.lease_renewals = dict.fromkeys(("ok", "lost", "error"), 0)
        self.redis_errors = 0
        self.in_flight: Callable[[], float] = _nothing
        self.results_waiting_seconds: Callable[[], float] = _nothing
        self.results_refused: Callable[[], float] = _nothing
        self._drain_began_at: float | None = None

    def drain_began(self) -> None:
        """The worker claims nothing from now on."""
        self._drain_began_at = monotonic()

    def drain_ended(self) -> None:
        """The worker claims messages."""
        self._drain_began_at = None

    @property
    def drain_seconds(self) -> float | None:
        """How long the drain has been under way; None while there is none."""
        began = self._drain_began_at
        return None if began is None else monotonic() - began


VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def folder_problem(environment: Mapping[str, str]) -> str | None:
    """Why the user's own folder for multiprocess mode cannot be used; None when it can, or none is given."""
    given = environment.get(VARIABLE)
    if given is None or (os.path.isdir(given) and os.access(given, os.W_OK | os.X_OK)):
        return None
    return (
        f"{VARIABLE}: '{given}' is no folder that can be written to; create it, or leave the variable out: "
        "process slots have a folder of their own then"
    )
