"""The trial of a new template: what the engine asks, answered from the pure decisions of `rollout`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis_message_queue.stats import QueueSample
from redisqueue_operator.decide.canary import (
    Gate,
    Seen,
    Split,
    Stage,
    Tally,
    advance,
    missing_canaries,
    split,
    stage_of,
)
from redisqueue_operator.decide.canary.judge import FAILING_SECONDS
from redisqueue_operator.decide.canary.rollout import NUMBER_IS_FIXED
from redisqueue_operator.observe.facts import CRASHED

if TYPE_CHECKING:
    from collections.abc import Callable

    from redisqueue_operator.api.model import Spec
    from redisqueue_operator.decide.canary import Versions
    from redisqueue_operator.decide.scaling import Decision
    from redisqueue_operator.loop.memory import Tracked
    from redisqueue_operator.observe.facts import PodObservation
    from redisqueue_operator.platform import Fleet

LOOK_SECONDS = 1.0
"""A trial is judged this often at least."""


def chooser(tracked: Tracked) -> Callable[[Versions], Stage]:
    """Who answers the platform which workers get the template of the spec, and remembers the answer."""
    tracked.versions, tracked.stage = None, Stage.ROLL

    def choose(versions: Versions) -> Stage:
        spec = tracked.rq.spec if tracked.rq is not None else None
        versioned = spec is not None and spec.rollout.strategy == "Versioned"
        may_start = spec is not None and _may_start(spec)
        tracked.versions = versions
        tracked.stage = stage_of(versions, tracked.rollout, versioned=versioned, may_start=may_start)
        return tracked.stage

    return choose


def seen_as(fleet: Fleet, tracked: Tracked) -> Fleet:
    """The fleet to decide about: while all get the new template, its canaries are about to leave."""
    return fleet.without_canary() if tracked.stage is Stage.PROMOTE else fleet


def look(tracked: Tracked, fleet: Fleet, sample: QueueSample | Exception | None, wall: float) -> bool:
    """Judge the trial, if there is one; whether that changed its phase. `wall`: seconds since the epoch."""
    if tracked.versions is None or tracked.rq is None:
        return False
    before, versions = tracked.rollout, tracked.versions
    canaries = [pod for pod in fleet.pods if pod.canary and not pod.terminating]
    seen = Seen(
        canary=_tally(sample, versions.wanted),
        stable=_tally(sample, versions.stable),
        ready=sum(pod.ready for pod in canaries),
        failing=next((pod.failing for pod in canaries if _cannot_start(pod)), ""),
        waits_for=_waits_for(tracked, fleet),
    )
    after = advance(before, tracked.stage, versions, seen, Gate.of(tracked.rq.spec.rollout), wall)
    tracked.rollout = after
    return (before and (before.phase, before.hash)) != (after and (after.phase, after.hash))


def _cannot_start(pod: PodObservation) -> bool:
    """Not for a moment, and not for the first time: one crash may have passed when the pod is up again."""
    return bool(pod.failing) and pod.failing != CRASHED and pod.age_seconds >= FAILING_SECONDS


def placed(tracked: Tracked, fleet: Fleet, target: int, victims: tuple[str, ...]) -> Split:
    """Who is to have how many of `target` workers, when these victims go."""
    canaries = {pod.name for pod in fleet.pods if pod.canary}
    gone = sum(name in canaries for name in victims)
    return split(
        target,
        fleet.split,
        victims=Split(len(victims) - gone, gone),
        percent=_percent(tracked) if fleet.canary is not None else None,
    )


def with_missing(tracked: Tracked, fleet: Fleet, decision: Decision) -> Split | None:
    """The workers of both versions when the canaries are too few and more may be started; else None.

    Where there are as many workers as there may be, canaries take the place of others, which finish what they
    have in hand as in any rollout: a queue that is always busy gets its new version, too.
    """
    missing = _missing(tracked, fleet, decision)
    if not missing or _waits_for(tracked, fleet, missing):
        return None
    stable, canary = fleet.split
    if (room := _room(tracked, fleet)) > 0:
        return Split(stable, canary + min(missing, room))
    swapped = min(missing, stable - 1)
    return Split(stable - swapped, canary + swapped)


def _missing(tracked: Tracked, fleet: Fleet, decision: Decision | None) -> int:
    percent = _percent(tracked)
    if percent is None or decision is None or fleet.canary is None:
        return 0
    return missing_canaries(decision.to_replicas, decision.wanted_replicas, fleet.split.canary, percent)


def _waits_for(tracked: Tracked, fleet: Fleet, missing: int | None = None) -> str:
    """What keeps canaries that are missing from being started, and the way out; empty when nothing does."""
    missing = _missing(tracked, fleet, tracked.decision) if missing is None else missing
    if not missing or tracked.rq is None:
        return ""
    if not _may_start(tracked.rq.spec):
        return NUMBER_IS_FIXED
    if _room(tracked, fleet) < 1 and fleet.split.stable < 2:
        most = tracked.rq.spec.scaling.max_replicas
        return f"maxReplicas is {most}, and the only worker is needed: raise it, or wait until it is not"
    return fleet.replica_failure


def _may_start(spec: Spec) -> bool:
    """Whether a worker may be started beside the others: not where somebody else chooses their number."""
    return spec.scaling.mode in ("Auto", "UpOnly") and spec.replicas is None


def _room(tracked: Tracked, fleet: Fleet) -> int:
    return tracked.rq.spec.scaling.max_replicas - sum(fleet.split) if tracked.rq is not None else 0


def explained(tracked: Tracked) -> list[str]:
    """The last trial in words; nothing when there was none."""
    if (rollout := tracked.rollout) is None:
        return []
    counts = "; ".join(
        f"{which} {tally.done} handled, {tally.failed} failed, {tally.dead_letters} dead letters"
        for which, tally in (("new:", rollout.tally), ("old:", rollout.stable))
    )
    said = f"{rollout.reason}: {rollout.message}" if rollout.reason else "not judged yet"
    return [f"Rollout of template {rollout.hash}: {rollout.phase}, {said} ({counts})"]


def _percent(tracked: Tracked) -> float | None:
    on_trial = tracked.stage is Stage.CANARY and tracked.rq is not None
    return tracked.rq.spec.rollout.canary_percent if on_trial and tracked.rq else None


def _tally(sample: QueueSample | Exception | None, config_hash: str) -> Tally | None:
    if not isinstance(sample, QueueSample):
        return None
    for version in sample.versions:
        if version.config_hash == config_hash:
            return Tally(version.done, version.failed, version.dead_letters)
    return Tally()
