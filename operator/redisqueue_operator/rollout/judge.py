"""Whether a version on trial is promoted, rolled back, or watched: facts in, verdict with its reason out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redisqueue_operator.api.model import Rollout as RolloutSpec

FAILING_SECONDS = 60.0
"""A pod that cannot work for this long will not get better by waiting."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of messages under one version, as its workers counted it."""

    done: int = 0
    failed: int = 0
    dead_letters: int = 0

    @property
    def handled(self) -> int:
        """Messages that say something about the version: handled or failed."""
        return self.done + self.failed

    @property
    def failed_percent(self) -> float:
        return 100 * self.failed / self.handled if self.handled else 0.0

    def since(self, base: Tally) -> Tally:
        """What came after `base`. Counts that are smaller than before were forgotten and began anew."""
        if self.done < base.done or self.failed < base.failed or self.dead_letters < base.dead_letters:
            return self
        return Tally(self.done - base.done, self.failed - base.failed, self.dead_letters - base.dead_letters)


@dataclass(frozen=True, slots=True)
class Gate:
    """What a version must show before it is promoted."""

    hold_seconds: float
    min_messages: int
    max_failure_percent: float
    max_dead_letters: int

    @classmethod
    def of(cls, rollout: RolloutSpec) -> Gate:
        gate = rollout.gate
        return cls(rollout.hold_seconds, gate.min_messages, gate.max_failure_percent, gate.max_dead_letters)

    def fails(self, tally: Tally) -> bool:
        """Whether it fails too often: said as soon as `min_messages` could not bring it below the limit."""
        return 100 * tally.failed > self.max_failure_percent * max(tally.handled, self.min_messages)


@dataclass(frozen=True, slots=True)
class Seen:
    """The facts about a trial. The tallies count from its start; None when Redis could not be read."""

    canary: Tally | None
    stable: Tally | None
    ready: int
    """Workers of the new version that are ready."""
    failing: str = ""
    """Why a worker of the new version has not been able to start for a while; empty when all can."""


class Action(StrEnum):
    HOLD = "Hold"
    PROMOTE = "Promote"
    ROLL_BACK = "RollBack"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do. `reason` is a CamelCase word and a stable API, `message` is for people."""

    action: Action
    reason: str
    message: str


def judge(seen: Seen, gate: Gate, age_seconds: float) -> Verdict:
    """What to do with a version that has been on trial for `age_seconds`."""
    if seen.canary is None or seen.stable is None:
        return _hold("RedisUnreadable", "Redis cannot be read, so nobody knows how the new version does")
    canary, stable = seen.canary, seen.stable
    if canary.dead_letters > gate.max_dead_letters:
        text = f"{canary.dead_letters} dead letters, {gate.max_dead_letters} are allowed"
        return _roll_back("DeadLetters", text)
    if seen.failing and not seen.ready:
        return _roll_back("PodsFailing", f"no worker of it can start: {seen.failing}")
    if gate.fails(canary):
        text = f"{canary.failed} of {canary.handled} messages failed, {gate.max_failure_percent:g} % may"
        # Something that both versions need may be away: then the new one is not to blame.
        if gate.fails(stable) and canary.failed_percent <= stable.failed_percent + gate.max_failure_percent:
            return _hold("BothFail", f"{text}; of the old version's {stable.failed} of {stable.handled}")
        return _roll_back("Failures", text)
    if not seen.ready:
        return _hold("NotReady", "no worker of the new version is ready")
    if canary.handled < gate.min_messages:
        return _hold("FewMessages", f"{canary.handled} of {gate.min_messages} messages were handled")
    if age_seconds < gate.hold_seconds:
        return _hold("HoldSeconds", f"watched for {age_seconds:.0f} of {gate.hold_seconds:g} s")
    text = f"{canary.failed} of {canary.handled} messages failed, {canary.dead_letters} dead letters"
    return Verdict(Action.PROMOTE, "GatePassed", text)


def _hold(reason: str, message: str) -> Verdict:
    return Verdict(Action.HOLD, reason, message)


def _roll_back(reason: str, message: str) -> Verdict:
    return Verdict(Action.ROLL_BACK, reason, message)
