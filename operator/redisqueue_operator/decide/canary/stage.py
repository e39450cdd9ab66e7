"""Which Deployment shall have which template, from what is there and what was decided before."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from redisqueue_operator.decide.canary.state import Phase

if TYPE_CHECKING:
    from redisqueue_operator.decide.canary.state import Rollout


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
