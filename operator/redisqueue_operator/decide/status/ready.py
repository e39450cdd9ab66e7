"""Ready, Reconciling and Stalled: the verdict of all other conditions, by the conventions of kstatus.

Ready=True: the spec is in force, the queue is read, and the workers that it asks for can work. Else exactly
one of the others is True: Stalled where somebody must act, Reconciling where waiting may be enough. Load
alone changes nothing, but for the moments in which workers are wanted and none is ready.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from redisqueue_operator.observe.facts import (
    FINALIZER_REFUSED,
    HINDRANCES,
    NOT_IN_FORCE,
    SOURCE_UNSUPPORTED,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redisqueue_operator.decide.scaling import Decision, Policy
    from redisqueue_operator.observe.facts import ApplyOutcome, Observation

UNREADABLE = "Unreadable"
"""The apply outcome where the watched objects of a namespace cannot be read."""
NEEDS_SOMEBODY = (
    *("InvalidSpec", "NameConflict", "Conflict", "ApplyRefused", "ApplyConflict", "NewerOperator"),
    *(FINALIZER_REFUSED, SOURCE_UNSUPPORTED),
)
"""Apply outcomes that no waiting mends; a missing Secret or ConfigMap may be on its way."""
UNDER_WAY = ("RollingOut", "Canary", "Promoted", "DeploymentMissing", "UnschedulablePods", "PodsMissing")
DERIVED = (
    *("RedisUnreachable", "NotObserved", "PodsFailing", "ReplicaFailure", "RolledBack", "NotEnoughWorkers"),
    "ProgressDeadlineExceeded",
    *(*HINDRANCES, *UNDER_WAY),
)
"""Reasons that other conditions have, and tell as Events."""


class Condition(NamedTuple):
    """What a condition says now."""

    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


NOT_OBSERVED = Condition("Unknown", "NotObserved", "Not looked at yet.")


class Summary(NamedTuple):
    """The three conditions."""

    ready: Condition
    reconciling: Condition
    stalled: Condition

    @classmethod
    def of(cls, ready: Condition, *, stalled: bool = False) -> Summary:
        """Ready, and which of the other two goes with it."""
        _, reason, message = ready
        idle = Condition("False", "Idle", "Nothing is under way.")
        going = Condition("False", "NotStalled", "Nobody needs to act.")
        if ready.status == "True":
            return cls(ready, idle, going)
        if stalled:
            return cls(
                ready,
                Condition("False", reason, "Waiting does not help."),
                Condition("True", reason, message),
            )
        return cls(ready, Condition("True", reason, message), going)


def summary(applied: ApplyOutcome, said: Mapping[str, Condition], *, enough: bool) -> Summary:
    """From how the last apply ended and what the other conditions say.

    `enough`: whether the workers that are always wanted are ready, and any where some are wanted.
    """
    if applied.reason == UNREADABLE:
        return Summary.of(Condition("Unknown", UNREADABLE, applied.message))
    if not applied.ok:
        reason = applied.reason or "ApplyFailed"
        return Summary.of(Condition("False", reason, applied.message), stalled=reason in NEEDS_SOMEBODY)
    if applied.reason in ("Deleting", *NOT_IN_FORCE):
        verdict = Condition("False", applied.reason, applied.message)
        return Summary.of(verdict, stalled=applied.reason in NOT_IN_FORCE)
    redis, scaling = said["RedisReachable"], said["ScalingActive"]
    progress, degraded = said["Progressing"], said["Degraded"]
    if progress.reason == "RolledBack":
        return Summary.of(Condition("False", "RolledBack", progress.message), stalled=True)
    if scaling.reason in HINDRANCES:
        return Summary.of(Condition("False", scaling.reason, scaling.message), stalled=True)
    if progress.reason in ("ReplicaFailure", "ProgressDeadlineExceeded"):
        return Summary.of(Condition("False", progress.reason, progress.message), stalled=True)
    if redis.status == "False":
        return Summary.of(Condition("False", "RedisUnreachable", f"{redis.reason}: {redis.message}"))
    if "Unknown" in (redis.status, progress.status):
        return Summary.of(Condition("Unknown", "NotObserved", "Not looked at yet."))
    if (degraded.status, degraded.reason) == ("True", "PodsFailing"):
        return Summary.of(Condition("False", "PodsFailing", degraded.message))
    if progress.reason in UNDER_WAY:
        return Summary.of(Condition("False", progress.reason, progress.message))
    if not enough:
        return Summary.of(
            Condition("False", "NotEnoughWorkers", "Workers are wanted that are not ready yet.")
        )
    message = applied.message or "The workers are as the spec says."
    return Summary.of(Condition("True", applied.reason or "Applied", message))


def is_enough(observation: Observation | None, decision: Decision | None, policy: Policy) -> bool:
    """Whether as many workers are ready as shall be in any case, however much there is to do.

    Pods that are yet to be made are a moment away, unless the cluster says that it cannot make them.
    """
    if observation is None or decision is None:
        return True
    always = policy.min_replicas if policy.manual_replicas is None else policy.manual_replicas
    if all(pod.terminating for pod in observation.pods):
        return True
    needed = max(min(always, decision.to_replicas), min(1, observation.replicas or 0))
    return observation.ready_replicas >= needed
