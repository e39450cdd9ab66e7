"""One look at a rollout: from what it was and what is seen now to what it is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from redisqueue_operator.decide.canary.judge import BOTH_FAIL, Action, Tally, judge
from redisqueue_operator.decide.canary.stage import NUMBER_IS_FIXED, Stage
from redisqueue_operator.decide.canary.state import Phase, Rollout

if TYPE_CHECKING:
    from redisqueue_operator.decide.canary.judge import Gate, Seen
    from redisqueue_operator.decide.canary.stage import Versions


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
