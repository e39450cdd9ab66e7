"""What the user asked for, as the numbers that `decide` needs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from redisqueue_operator.decide.scaling.limits import NO_LIMITS, Limits
from redisqueue_operator.decide.scaling.schedules import Bounds, bounds_at

if TYPE_CHECKING:
    from redisqueue_operator.api.model import Spec
    from redisqueue_operator.decide.scaling.decision import Ceiling

Mode = Literal["Auto", "Paused", "UpOnly", "DownOnly", "DryRun", "External"]
ADVISORY: tuple[Mode, ...] = ("Paused", "DryRun", "External")
"""Modes in which the rules write no number: what they say is advice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How one queue's workers are scaled. Counts are replicas, percents are whole numbers (25: a quarter)."""

    mode: Mode = "Auto"
    manual_replicas: int | None = None
    """A person's explicit number (`kubectl scale`); while set it wins over everything else here."""
    min_replicas: int = 0
    max_replicas: int = 10
    concurrency: int = 1
    """Slots of one worker."""
    backlog_per_slot: int = 5
    drain_within_seconds: float | None = None
    max_message_age_seconds: float | None = None
    up_stabilization_seconds: float = 0.0
    up_max_step: int | None = None
    up_max_percent: int | None = None
    hold_unschedulable: bool = False
    """A pod without a node keeps others from being added."""
    idle_seconds: float = 30.0
    """How long the queue must have been empty before its workers go, down to the minimum."""
    down_stabilization_seconds: float = 60.0
    down_max_percent: int | None = None
    min_run_seconds: float = 20.0
    drain_busy: bool = False
    """Busy workers may be chosen too (`busyPolicy: Drain`); they finish or hand back what they run."""
    fallback_replicas: int | None = None
    """A floor while Redis cannot be read (`behavior: AtLeast`); None holds."""
    fallback_after_seconds: float = 30.0
    limits: Limits = NO_LIMITS
    """Of the queue as a whole."""
    key_limits: bool = False
    """Keys have limits of their own, which no term can know."""
    bounds: Bounds | None = None
    """What the schedules say of the two bounds; None without schedules."""
    bounds_change_in_seconds: float = math.inf
    """Until they say something else."""
    max_in_flight_seconds: float | None = 3600.0
    """A handler that runs for longer is hung and no longer protects its pod; None: never."""
    ceiling: Ceiling | None = None
    """What its RedisQueueBudget leaves it; None where it has none."""

    @classmethod
    def of(cls, spec: Spec, at: float | None = None, ceiling: Ceiling | None = None) -> Policy:
        """The policy of a parsed `RedisQueue.spec` at a moment, in seconds since the epoch.

        Without one it is what holds outside of all schedules.
        """
        scaling, up, down = spec.scaling, spec.scaling.scale_up, spec.scaling.scale_down
        fallback, limits = scaling.fallback, spec.queue.limits
        bounds = bounds_at(
            scaling.schedules if at is not None else (), scaling.min_replicas, scaling.max_replicas, at or 0.0
        )
        return cls(
            mode=scaling.mode,
            manual_replicas=spec.replicas,
            min_replicas=bounds.min_replicas,
            max_replicas=bounds.max_replicas,
            bounds=bounds if at is not None and scaling.schedules else None,
            bounds_change_in_seconds=bounds.until - (at or 0.0),
            concurrency=spec.worker.concurrency,
            backlog_per_slot=scaling.backlog_per_slot,
            drain_within_seconds=scaling.drain_within_seconds,
            max_message_age_seconds=scaling.max_message_age_seconds,
            up_stabilization_seconds=up.stabilization_seconds,
            up_max_step=up.max_step,
            up_max_percent=up.max_percent,
            hold_unschedulable=up.holds_unschedulable,
            idle_seconds=down.idle_seconds,
            down_stabilization_seconds=down.stabilization_seconds,
            down_max_percent=down.max_percent,
            min_run_seconds=down.min_run_seconds,
            drain_busy=down.busy_policy == "Drain",
            fallback_replicas=fallback.replicas if fallback.behavior == "AtLeast" else None,
            fallback_after_seconds=fallback.after_seconds,
            limits=NO_LIMITS
            if limits is None
            else Limits(limits.rate_per_second, limits.rate_burst, limits.max_in_flight),
            key_limits=limits is not None and limits.per_key is not None,
            max_in_flight_seconds=spec.queue.max_in_flight_seconds,
            ceiling=ceiling,
        )

    def bounding(self, spec: Spec, has: int) -> Spec:
        """The spec with the bounds that are in force for a queue that has so many workers."""
        most = self.max_replicas
        if self.ceiling is not None:
            most = min(most, has if self.ceiling.most is None else self.ceiling.most)
        scaling = replace(spec.scaling, min_replicas=min(self.min_replicas, most), max_replicas=most)
        return replace(spec, scaling=scaling)
