"""A rollout from look to look: where it stands, and which Deployment so gets which template.

All of it is in `.status.rollout`: a restart of the operator changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from redisqueue_operator.decide.canary.judge import BOTH_FAIL, Action, Tally, judge
from redisqueue_operator.timestamps import timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redisqueue_operator.decide.canary.judge import Gate, Seen


LONGEST_MESSAGE = 1024
"""Characters: a status with more is refused as a whole. It may have the cluster's words in it."""


class Phase(StrEnum):
    WAITING = "Waiting"  # not on trial yet: nobody may start a worker for it
    CANARY = "Canary"  # on trial
    PROMOTING = "Promoting"  # passed: all workers are getting it
    PROMOTED = "Promoted"  # all have it
    ROLLED_BACK = "RolledBack"  # refused: not tried again until the spec changes


@dataclass(frozen=True, slots=True)
class Rollout:
    """The last rollout of a new version.

    Attributes:
        hash: the new version.
        stable_hash: the version that it is to replace.
        since: when the phase began, in seconds since the epoch, whole.
        reason: why it is where it is: that of the last verdict.
        base, stable_base: the tallies when the trial began; None until Redis could be read.
        tally, stable: the tallies since then.
        mark: both tallies when the present piece of an outage began; a restart begins a new piece.
    """

    phase: Phase
    hash: str
    stable_hash: str
    since: int
    reason: str = ""
    message: str = ""
    base: Tally | None = None
    stable_base: Tally | None = None
    tally: Tally = field(default_factory=Tally)
    stable: Tally = field(default_factory=Tally)
    mark: tuple[Tally, Tally] | None = None

    @classmethod
    def of_status(cls, status: Mapping[str, Any]) -> Rollout | None:
        """What `to_status` wrote; None for anything else."""
        try:
            known = status["rollout"]
            return cls(
                phase=Phase(known["phase"]),
                hash=known["hash"],
                stable_hash=known["stableHash"],
                since=int(datetime.fromisoformat(known["since"]).timestamp()),
                reason=known.get("reason", ""),
                message=known.get("message", ""),
                base=_tally(known["base"]) if "base" in known else None,
                stable_base=_tally(known["stableBase"]) if "stableBase" in known else None,
                tally=_tally(known),
                stable=_tally(known.get("stable", {})),
            )
        except (KeyError, TypeError, ValueError):
            return None

    def to_status(self) -> dict[str, Any]:
        """The value of `.status.rollout`."""
        status: dict[str, Any] = {
            "phase": str(self.phase),
            "hash": self.hash,
            "stableHash": self.stable_hash,
            "since": timestamp(self.since),
            "reason": self.reason,
            "message": self.message[:LONGEST_MESSAGE],
            **_shown(self.tally),
            "stable": _shown(self.stable),
        }
        if self.base is not None and self.stable_base is not None:
            status |= {"base": _shown(self.base), "stableBase": _shown(self.stable_base)}
        return status


def _tally(shown: Mapping[str, int]) -> Tally:
    return Tally(shown.get("successes", 0), shown.get("failures", 0), shown.get("deadLetters", 0))


def _shown(tally: Tally) -> dict[str, int]:
    return {"successes": tally.done, "failures": tally.failed, "deadLetters": tally.dead_letters}


NUMBER_IS_FIXED = (
    "a trial starts workers, and their number is not the operator's to choose: "
    "leave out spec.replicas and set scaling.mode to Auto or UpOnly, or rollout.strategy to Rolling"
)


class Stage(StrEnum):
    ROLL = "Roll"  # the spec's template for all workers, no canary
    CANARY = "Canary"  # the old template for most, the spec's for the canary
    PROMOTE = "Promote"  # the spec's template for all; the canary works on until they have it
    STAY = "Stay"  # the old template for all: the spec's was refused
    WAIT = "Wait"  # the old template for all: nobody may start a worker to try the spec's


@dataclass(frozen=True, slots=True)
class Versions:
    """Config hashes of pod templates; empty where there is no such Deployment."""

    wanted: str
    """What the spec says."""
    stable: str = ""
    canary: str = ""
    rolled: bool = False
    """All workers of the stable Deployment have its template, and are available."""


def stage_of(
    versions: Versions, rollout: Rollout | None, *, versioned: bool, may_start: bool = True
) -> Stage:
    """Where the rollout of `versions.wanted` stands.

    Args:
        versioned: whether a new template is tried at all.
        may_start: whether a trial may begin; one that has begun goes on.
    """
    if not versioned or not versions.stable:
        return Stage.ROLL
    ours = rollout if rollout is not None and rollout.hash == versions.wanted else None
    if versions.stable == versions.wanted:
        under_way = versions.canary == versions.wanted and not versions.rolled
        return Stage.PROMOTE if under_way else Stage.ROLL
    if ours is not None and ours.phase is Phase.ROLLED_BACK:
        return Stage.STAY
    if ours is not None and ours.phase is Phase.PROMOTING:
        return Stage.PROMOTE
    return Stage.CANARY if may_start or versions.canary == versions.wanted else Stage.WAIT


def advance(
    rollout: Rollout | None, stage: Stage, versions: Versions, seen: Seen, gate: Gate, now: float
) -> Rollout | None:
    """The rollout after a look at it; None when there is none to tell of.

    Args:
        stage: what the Deployments are being made now.
        seen: its tallies are those that Redis has, from whenever on.
        now: seconds since the epoch.
    """
    ours = rollout if rollout is not None and rollout.hash == versions.wanted else None
    match stage:
        case Stage.CANARY:
            if ours is None or ours.phase is not Phase.CANARY or ours.stable_hash != versions.stable:
                ours = Rollout(Phase.CANARY, versions.wanted, versions.stable, int(now))
            return _judged(ours, seen, gate, now)
        case Stage.PROMOTE | Stage.STAY:
            return ours
        case Stage.WAIT:
            if ours is not None and ours.phase is Phase.WAITING:
                return ours
            why = ("NumberIsFixed", NUMBER_IS_FIXED)
            return Rollout(Phase.WAITING, versions.wanted, versions.stable, int(now), *why)
        case Stage.ROLL if ours is None or versions.stable != versions.wanted:
            return None
        case Stage.ROLL if ours.phase is Phase.PROMOTING:
            return replace(ours, phase=Phase.PROMOTED, since=int(now))
        case _:
            return ours if ours.phase is Phase.PROMOTED else None


def _judged(rollout: Rollout, seen: Seen, gate: Gate, now: float) -> Rollout:
    seen = replace(seen, outage=rollout.reason == BOTH_FAIL)
    if seen.canary is not None and seen.stable is not None:
        rollout, seen = _counted(rollout, seen, seen.canary, seen.stable, gate, now)
    verdict = judge(seen, gate, now - rollout.since)
    rollout = replace(rollout, reason=verdict.reason, message=verdict.message)
    match verdict.action:
        case Action.PROMOTE:
            return replace(rollout, phase=Phase.PROMOTING, since=int(now))
        case Action.ROLL_BACK:
            return replace(rollout, phase=Phase.ROLLED_BACK, since=int(now))
        case Action.HOLD:
            return rollout


def _counted(
    rollout: Rollout, seen: Seen, canary: Tally, stable: Tally, gate: Gate, now: float
) -> tuple[Rollout, Seen]:
    """What came since the trial, or the end of an outage of both, began.

    How many messages failed in an outage says nothing of what comes after it. It has ended when the old
    version did well in the last piece of it; then the trial begins anew.
    """
    if seen.outage:
        mark = rollout.mark or (canary, stable)
        goes_on = gate.shows_an_outage(canary.since(mark[0]), stable.since(mark[1]))
        rollout = replace(rollout, mark=mark if goes_on is None else (canary, stable))
        if goes_on is False:
            seen = replace(seen, outage=False)
            rollout = replace(rollout, since=int(now), base=canary, stable_base=stable, mark=None)
    base, stable_base = rollout.base or canary, rollout.stable_base or stable
    tally, stable_tally = canary.since(base), stable.since(stable_base)
    rollout = replace(rollout, base=base, stable_base=stable_base, tally=tally, stable=stable_tally)
    return rollout, replace(seen, canary=tally, stable=stable_tally)
