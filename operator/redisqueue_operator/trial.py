"""The trial of a new template: what the engine asks, answered from the pure decisions of `rollout`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis_message_queue.sample import QueueSample
from redisqueue_operator.rollout import (
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
from redisqueue_operator.rollout.judge import FAILING_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from redisqueue_operator.platform import Fleet
    from redisqueue_operator.rollout import Versions
    from redisqueue_operator.scaling import Decision
    from redisqueue_operator.tracked import Tracked

LOOK_SECONDS = 1.0
"""A trial is judged this often at least."""


def chooser(tracked: Tracked) -> Callable[[Versions], Stage]:
    """Who answers the platform which workers get the template of the spec, and remembers the answer."""
    tracked.versions, tracked.stage = None, Stage.ROLL

    def choose(versions: Versions) -> Stage:
        versioned = tracked.rq is not None and tracked.rq.spec.rollout.strategy == "Versioned"
        tracked.versions = versions
        tracked.stage = stage_of(versions, tracked.rollout, versioned=versioned)
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
        failing=next((p.failing for p in canaries if p.failing and p.age_seconds >= FAILING_SECONDS), ""),
    )
    after = advance(before, tracked.stage, versions, seen, Gate.of(tracked.rq.spec.rollout), wall)
    tracked.rollout = after
    return (before and (before.phase, before.hash)) != (after and (after.phase, after.hash))


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
    """The workers of both versions when the canaries are too few; None when they are not."""
    percent = _percent(tracked)
    if percent is None or fleet.canary is None:
        return None
    stable, canary = fleet.split
    more = missing_canaries(decision.to_replicas, decision.wanted_replicas, canary, percent)
    return Split(stable, canary + more) if more else None


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
