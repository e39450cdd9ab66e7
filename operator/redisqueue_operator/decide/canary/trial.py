"""The trial of a new template: how many canaries, and what was seen of them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redisqueue_operator.decide.canary import (
    Gate,
    Seen,
    Split,
    Stage,
    Tally,
    advance,
    missing_canaries,
    split,
)
from redisqueue_operator.decide.canary.judge import FAILING_SECONDS
from redisqueue_operator.decide.canary.rollout import NUMBER_IS_FIXED
from redisqueue_operator.observe.facts import CRASHED

if TYPE_CHECKING:
    from redis_message_queue.stats import QueueSample
    from redisqueue_operator.api.model import Spec
    from redisqueue_operator.decide.canary import Rollout, Versions
    from redisqueue_operator.decide.scaling import Decision
    from redisqueue_operator.observe.facts import Fleet, PodObservation

LOOK_SECONDS = 1.0
"""A trial is judged this often at least."""


def look(
    spec: Spec,
    rollout: Rollout | None,
    stage: Stage,
    versions: Versions,
    *,
    fleet: Fleet,
    decision: Decision,
    sample: QueueSample | Exception | None,
    wall: float,
) -> Rollout | None:
    """The rollout after a look at its canaries; None when there is none. `wall`: seconds since the epoch."""
    canaries = [pod for pod in fleet.pods if pod.canary and not pod.terminating]
    seen = Seen(
        canary=_tally(sample, versions.wanted),
        stable=_tally(sample, versions.stable),
        ready=sum(pod.ready for pod in canaries),
        failing=next((pod.failing for pod in canaries if _cannot_start(pod)), ""),
        waits_for=_waits_for(spec, fleet, _missing(spec, stage, fleet, decision)),
    )
    return advance(rollout, stage, versions, seen, Gate.of(spec.rollout), wall)


def _cannot_start(pod: PodObservation) -> bool:
    """Not for a moment, and not for the first time: one crash may have passed when the pod is up again."""
    return bool(pod.failing) and pod.failing != CRASHED and pod.age_seconds >= FAILING_SECONDS


def is_a_step(before: Rollout | None, after: Rollout | None) -> bool:
    """Whether that is another phase, or another template's."""
    return (before and (before.phase, before.hash)) != (after and (after.phase, after.hash))


def placed(
    fleet: Fleet, target: int, victims: tuple[str, ...], percent: float | None, *, by_hand: bool = False
) -> Split:
    """Who is to have how many of `target` workers, when these victims go; `percent` as of `percent_of`.

    A number that is `by_hand` takes anybody: it shall not leave the queue to canaries of which none is ready,
    and may never be.
    """
    canaries = {pod.name for pod in fleet.pods if pod.canary}
    gone = sum(name in canaries for name in victims)
    at_work = any(pod.ready and pod.canary and not pod.terminating for pod in fleet.pods)
    if by_hand and target < sum(fleet.split) and not at_work:
        stable = min(target, fleet.split.stable)
        return Split(stable, target - stable)
    return split(
        target,
        fleet.split,
        victims=Split(len(victims) - gone, gone),
        percent=percent if fleet.canary is not None else None,
    )


def with_missing(spec: Spec, stage: Stage, fleet: Fleet, decision: Decision) -> Split | None:
    """The workers of both versions when the canaries are too few and more may be started; else None.

    Where there are as many workers as there may be, canaries take the place of others, which finish what they
    have in hand as in any rollout: a queue that is always busy gets its new version, too.
    """
    missing = _missing(spec, stage, fleet, decision)
    if not missing or _waits_for(spec, fleet, missing):
        return None
    stable, canary = fleet.split
    if (room := _room(spec, fleet)) > 0:
        return Split(stable, canary + min(missing, room))
    swapped = min(missing, stable - 1)
    return Split(stable - swapped, canary + swapped)


def may_start(spec: Spec) -> bool:
    """Whether a worker may be started beside the others: not where somebody else chooses their number."""
    return spec.scaling.mode in ("Auto", "UpOnly") and spec.replicas is None


def explained(rollout: Rollout | None) -> list[str]:
    """The last trial in words; nothing when there was none."""
    if rollout is None:
        return []
    counts = "; ".join(
        f"{which} {tally.done} handled, {tally.failed} failed, {tally.dead_letters} dead letters"
        for which, tally in (("new:", rollout.tally), ("old:", rollout.stable))
    )
    said = f"{rollout.reason}: {rollout.message}" if rollout.reason else "not judged yet"
    return [f"Rollout of template {rollout.hash}: {rollout.phase}, {said} ({counts})"]


def _missing(spec: Spec, stage: Stage, fleet: Fleet, decision: Decision) -> int:
    percent = percent_of(spec, stage)
    if percent is None or fleet.canary is None:
        return 0
    return missing_canaries(decision.to_replicas, decision.wanted_replicas, fleet.split.canary, percent)


def _waits_for(spec: Spec, fleet: Fleet, missing: int) -> str:
    """What keeps canaries that are missing from being started, and the way out; empty when nothing does."""
    if not missing:
        return ""
    if not may_start(spec):
        return NUMBER_IS_FIXED
    if _room(spec, fleet) < 1 and fleet.split.stable < 2:
        most = spec.scaling.max_replicas
        return (
            f"no more than {most} may run, and the only worker is needed: raise maxReplicas, or the"
            " RedisQueueBudget where one leaves it fewer, or wait until it is not"
        )
    return fleet.replica_failure


def _room(spec: Spec, fleet: Fleet) -> int:
    return spec.scaling.max_replicas - sum(fleet.split)


def percent_of(spec: Spec, stage: Stage) -> float | None:
    """The canaries' part of the workers, in percent; None where none is started."""
    return spec.rollout.canary_percent if stage is Stage.CANARY else None


def _tally(sample: QueueSample | Exception | None, config_hash: str) -> Tally | None:
    if sample is None or isinstance(sample, Exception):
        return None
    for version in sample.versions:
        if version.config_hash == config_hash:
            return Tally(version.done, version.failed, version.dead_letters)
    return Tally()
