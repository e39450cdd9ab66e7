"""A good version on trial in bad times for both, and a bad one that may not hide behind them."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from redisqueue_operator.decide.canary import Gate, Phase, Rollout, Seen, Stage, Tally, Versions, advance
from redisqueue_operator.decide.canary.judge import Share, is_worse

ON_TRIAL = Versions("new", stable="old", canary="new")
GATE = Gate(hold_seconds=10, min_messages=20, max_failure_percent=5, max_dead_letters=10**9)
NOISE = 0.002


@dataclass
class Play:
    """Messages that fall on either version, and fail or not; a look after each few."""

    seed: int
    share: float
    gate: Gate = GATE
    counts: dict[bool, list[int]] = field(default_factory=lambda: {True: [0, 0, 0], False: [0, 0, 0]})
    rollout: Rollout | None = None
    now: float = 0.0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def handle(self, messages: int, *, failing: float = NOISE, new_failing: float = 0.0) -> Play:
        """So many messages, unless the trial ends before."""
        for number in range(messages):
            new = self.random.random() < self.share
            failed = self.random.random() < (max(failing, new_failing) if new else failing)
            self.counts[new][failed] += 1
            self.now += 0.1
            if number % 5 == 4 and self.phase is Phase.CANARY:
                self.look()
        return self

    def look(self, *, readable: bool = True) -> None:
        new, old = Tally(*self.counts[True]), Tally(*self.counts[False])
        seen = Seen(new, old, ready=1) if readable else Seen(None, None, ready=1)
        self.rollout = advance(self.rollout, Stage.CANARY, ON_TRIAL, seen, self.gate, self.now)

    @property
    def phase(self) -> Phase:
        return self.rollout.phase if self.rollout is not None else Phase.CANARY

    @property
    def reason(self) -> str:
        return self.rollout.reason if self.rollout is not None else ""


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("before", [0, 200])
@pytest.mark.parametrize("failing", [1.0, 0.6])
def test_an_outage_of_both_rolls_hardly_any_good_version_back(
    share: float, before: int, failing: float
) -> None:
    patient = Gate(10**9, 20, 5, 10**9)
    ends = Counter(
        Play(seed, share, patient).handle(before).handle(600, failing=failing).handle(900).phase
        for seed in range(30)
    )
    assert ends[Phase.CANARY] >= 28


def test_soon_after_an_outage_a_good_version_is_promoted() -> None:
    """Not only when a multiple of the messages that failed in it have been handled."""
    for seed in range(15):
        play = Play(seed, 0.1).handle(1000, failing=1.0)
        assert play.reason == "BothFail"
        assert play.handle(1000).phase is Phase.PROMOTING


@pytest.mark.parametrize("new_failing", [1.0, 0.3, 0.15])
def test_a_bad_version_is_found_out_before_in_and_after_an_outage(new_failing: float) -> None:
    thorough = Gate(10, 200, 5, 10**9)
    for seed in range(10):
        calm = Play(seed, 0.25, thorough).handle(4000, new_failing=new_failing)
        assert calm.phase is Phase.ROLLED_BACK
        story = Play(seed, 0.25, thorough).handle(400, failing=1.0)
        assert story.handle(4000, new_failing=new_failing).phase is Phase.ROLLED_BACK


def test_a_version_that_is_much_worse_than_a_bad_one_goes() -> None:
    for seed in range(10):
        assert Play(seed, 0.25).handle(2000, failing=0.4, new_failing=1.0).phase is Phase.ROLLED_BACK


def test_an_outage_is_remembered_while_redis_cannot_be_read_and_over_a_restart() -> None:
    play = Play(1, 0.25).handle(400, failing=1.0)
    play.look(readable=False)
    assert play.reason == "BothFail"
    assert play.rollout is not None
    play.rollout = Rollout.of_status({"rollout": play.rollout.to_status()})
    began = play.now
    assert play.handle(1000).phase is Phase.PROMOTING
    assert play.rollout is not None
    assert play.rollout.tally.failed < 10
    assert play.rollout.since - began >= GATE.hold_seconds - 1, (
        "it was watched for that long after the outage"
    )


def test_dead_letters_of_an_outage_are_held_against_neither() -> None:
    strict = Gate(hold_seconds=10, min_messages=20, max_failure_percent=5, max_dead_letters=0)
    play = Play(3, 0.25, strict).handle(200, failing=1.0)
    play.counts[True][2], play.counts[False][2] = 10, 31
    assert (play.handle(20, failing=1.0).phase, play.reason) == (Phase.CANARY, "BothFail")
    assert play.handle(1500).phase is Phase.PROMOTING


def test_a_dead_letter_of_the_new_version_alone_is() -> None:
    strict = Gate(hold_seconds=10, min_messages=20, max_failure_percent=5, max_dead_letters=0)
    play = Play(3, 0.25, strict).handle(50)
    play.counts[True][2] = 1
    assert (play.handle(5).phase, play.reason) == (Phase.ROLLED_BACK, "DeadLetters")


def test_when_the_old_version_has_nothing_to_do_nobody_waits_for_it() -> None:
    alone = Play(5, 1.0).handle(400, failing=1.0)
    assert (alone.phase, alone.reason) == (Phase.ROLLED_BACK, "Failures")


@pytest.mark.parametrize(
    ("new", "old", "worse"),
    [
        ((3, 3), (0, 200), True),
        ((2, 2), (0, 5), False),
        ((9, 9), (50, 100), True),
        ((9, 9), (90, 100), False),
        ((100, 1999), (899, 18_000), False),
        ((60_000, 1_000_000), (50_000, 1_000_000), False),
        ((80_000, 1_000_000), (50_000, 1_000_000), True),
        ((0, 0), (0, 0), False),
    ],
)
def test_worse_is_more_than_a_margin_and_chance(
    new: tuple[int, int], old: tuple[int, int], worse: bool
) -> None:
    assert is_worse(Share(*new), Share(*old)) is worse
