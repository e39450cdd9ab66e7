"""Whether a version on trial is promoted, rolled back, or watched: facts in, verdict with its reason out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import exp, lgamma
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from redisqueue_operator.api.model import RolloutSpec

BOTH_FAIL = "BothFail"
OUTAGE_MESSAGES = 50
"""Of so many messages at least one sees whether what both versions need is back."""
COMPARE_SECONDS = 10.0
"""The old version has this long to show how it does, before the new one is judged without it."""
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
        return 100 * self.failures.part

    @property
    def failures(self) -> Share:
        return Share(self.failed, self.handled)

    @property
    def given_up(self) -> Share:
        """Of the messages that came to an end."""
        return Share(self.dead_letters, self.done + self.dead_letters)

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

    def shows_an_outage(self, canary: Tally, stable: Tally) -> bool | None:
        """Whether both versions were at fault still; None as long as these are too few to tell."""
        if max(canary.handled, stable.handled) < max(self.min_messages, OUTAGE_MESSAGES):
            return None
        return self.fails(stable)


@dataclass(frozen=True, slots=True)
class Seen:
    """The facts about a trial. The tallies count from its start; None when Redis could not be read."""

    canary: Tally | None
    stable: Tally | None
    ready: int
    """Workers of the new version that are ready."""
    failing: str = ""
    """Why a worker of the new version has not been able to start for a while; empty when all can."""
    outage: bool = False
    """Both versions failed at the last look: until that has ended, failures of the new one say little."""
    waits_for: str = ""
    """Why no worker of the new version is started now; empty when there are enough."""


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
    verdict = _judged(seen, gate, age_seconds)
    if seen.outage and verdict.action is not Action.ROLL_BACK:
        return _hold(BOTH_FAIL, verdict.message)
    return verdict


def _judged(seen: Seen, gate: Gate, age_seconds: float) -> Verdict:
    if seen.canary is None or seen.stable is None:
        return _hold("RedisUnreadable", "Redis cannot be read, so nobody knows how the new version does")
    canary, stable = seen.canary, seen.stable
    if canary.dead_letters > gate.max_dead_letters:
        outage = seen.outage or gate.fails(stable)
        if not outage or _is_to_blame(canary.given_up, stable.given_up, seen.outage):
            text = f"{canary.dead_letters} dead letters, {gate.max_dead_letters} are allowed"
            return _roll_back("DeadLetters", text)
    if seen.failing and not seen.ready:
        return _roll_back("PodsFailing", f"no worker of it can start: {seen.failing}")
    if gate.fails(canary):
        return _of_failures(seen, canary, stable, gate, age_seconds)
    if canary.dead_letters > gate.max_dead_letters:
        return _hold(
            BOTH_FAIL, f"{canary.dead_letters} dead letters; the old version's: {stable.dead_letters}"
        )
    return _of_success(seen, canary, gate, age_seconds)


def _of_failures(seen: Seen, canary: Tally, stable: Tally, gate: Gate, age_seconds: float) -> Verdict:
    """Something that both versions need may be away: then the new one is not to blame."""
    text = f"{canary.failed} of {canary.handled} messages failed, {gate.max_failure_percent:g} % may"
    unseen = not stable.handled and not seen.outage and age_seconds >= COMPARE_SECONDS
    if unseen or _is_to_blame(canary.failures, stable.failures, seen.outage):
        return _roll_back("Failures", text)
    text = f"{text}; of the old version's {stable.failed} of {stable.handled}"
    return _hold(BOTH_FAIL if gate.fails(stable) else "TooFewToTell", text)


def _is_to_blame(canary: Share, stable: Share, outage: bool) -> bool:
    """Whether the new version does worse than the old one, or there is no other one to look at."""
    return is_alone(canary, stable) or is_worse(canary, stable, CHANCE_IN_AN_OUTAGE if outage else CHANCE)


def _of_success(seen: Seen, canary: Tally, gate: Gate, age_seconds: float) -> Verdict:
    if not seen.ready:
        why = f": {seen.waits_for}" if seen.waits_for else ""
        return _hold("NotReady", f"no worker of the new version is ready{why}")
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


CHANCE = 0.005
"""What two versions that are equally good show less often than this, in one look, is no chance."""
CHANCE_IN_AN_OUTAGE = 0.001
"""The same while both fail: there are many looks, and waiting costs less."""
MARGIN = 1.5
"""Up to so many times as often is as often: with many messages any difference would count."""
SILENT_MESSAGES = 20
"""So many more than twice the other's: then the other is hardly at work, and there is nothing to wait for."""


class Share(NamedTuple):
    """So many of so many messages."""

    bad: int
    of: int

    @property
    def part(self) -> float:
        return self.bad / self.of if self.of else 0.0


def is_worse(new: Share, old: Share, chance: float = CHANCE) -> bool:
    """Whether the new version's share is larger than the old one's by more than a margin and chance."""
    return new.part > MARGIN * old.part and _by_chance(new, old, enough=chance) < chance


def is_alone(new: Share, old: Share) -> bool:
    """Whether the old version does too little in the same time to be compared with."""
    return new.of > 2 * old.of + SILENT_MESSAGES


def _by_chance(new: Share, old: Share, enough: float) -> float:
    """Fisher's exact test, one-sided: how likely so many bad ones fall on the new version, or more.

    Exact for the small counts that decide; for large ones the terms fall off fast. Stops at `enough`.
    """
    bad, total = new.bad + old.bad, 0.0
    every = _choices(new.of + old.of, bad)
    for count in range(new.bad, min(bad, new.of) + 1):
        term = exp(_choices(new.of, count) + _choices(old.of, bad - count) - every)
        total += term
        if total >= enough or term < enough * 1e-6:
            break
    return total


def _choices(of: int, count: int) -> float:
    """The logarithm of the ways to choose `count` of so many."""
    return lgamma(of + 1) - lgamma(count + 1) - lgamma(of - count + 1)
