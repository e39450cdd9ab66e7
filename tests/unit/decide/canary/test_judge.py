"""Promote, roll back, or watch on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redisqueue_operator.decide.canary import Action, Gate, Seen, Tally, judge

GATE = Gate(hold_seconds=60, min_messages=20, max_failure_percent=10, max_dead_letters=1)
FINE = Seen(canary=Tally(20, 0), stable=Tally(200, 0), ready=1)


def failing(done: int, failed: int, dead: int = 0, *, stable: Tally | None = None) -> Seen:
    return replace(FINE, canary=Tally(done, failed, dead), stable=stable or FINE.stable)


@pytest.mark.parametrize(
    ("seen", "age", "action", "reason"),
    [
        (FINE, 60, Action.PROMOTE, "GatePassed"),
        (FINE, 59, Action.HOLD, "HoldSeconds"),
        (failing(18, 1), 60, Action.HOLD, "FewMessages"),
        (failing(18, 2), 60, Action.PROMOTE, "GatePassed"),
        (failing(180, 20), 60, Action.PROMOTE, "GatePassed"),
        (failing(179, 21), 60, Action.ROLL_BACK, "Failures"),
        (failing(0, 2), 0, Action.HOLD, "FewMessages"),
        (failing(0, 3), 0, Action.ROLL_BACK, "Failures"),  # even 17 successes more would be too few
        (failing(500, 0, 1), 60, Action.PROMOTE, "GatePassed"),
        (failing(500, 0, 2), 0, Action.ROLL_BACK, "DeadLetters"),
        (failing(0, 9, stable=Tally(10, 90)), 60, Action.HOLD, "BothFail"),
        (failing(0, 9, stable=Tally(50, 50)), 60, Action.ROLL_BACK, "Failures"),
        (failing(50, 50, stable=Tally(95, 5)), 60, Action.ROLL_BACK, "Failures"),
        (replace(FINE, canary=None), 600, Action.HOLD, "RedisUnreadable"),
        (replace(FINE, stable=None), 600, Action.HOLD, "RedisUnreadable"),
        (replace(FINE, ready=0), 600, Action.HOLD, "NotReady"),
        (replace(FINE, ready=0, failing="CrashLoopBackOff"), 600, Action.ROLL_BACK, "PodsFailing"),
        (
            replace(failing(0, 9, stable=Tally(10, 90)), ready=0, failing="CrashLoopBackOff"),
            *(0, Action.ROLL_BACK, "PodsFailing"),
        ),
        (replace(FINE, failing="CrashLoopBackOff"), 600, Action.PROMOTE, "GatePassed"),
    ],
)
def test_verdicts(seen: Seen, age: float, action: Action, reason: str) -> None:
    verdict = judge(seen, GATE, age)
    assert (verdict.action, verdict.reason) == (action, reason)
    assert verdict.message


def test_the_verdict_says_the_numbers() -> None:
    assert judge(failing(1, 4), GATE, 0).message == "4 of 5 messages failed, 10 % may"
    assert judge(failing(7, 0), GATE, 0).message == "7 of 20 messages were handled"


counts = st.integers(0, 1000)
tallies = st.none() | st.builds(Tally, counts, counts, st.integers(0, 5))
gates = st.builds(
    Gate,
    st.integers(0, 100).map(float),
    st.integers(0, 100),
    st.integers(0, 100).map(float),
    st.integers(0, 3),
)
facts = st.builds(
    Seen, canary=tallies, stable=tallies, ready=st.integers(0, 3), failing=st.sampled_from(["", "CrashLoop"])
)


@given(facts, gates, st.floats(0, 1000))
def test_nothing_is_promoted_that_has_not_shown_it(seen: Seen, gate: Gate, age: float) -> None:
    if judge(seen, gate, age).action is not Action.PROMOTE:
        return
    assert seen.canary is not None
    assert seen.ready > 0
    assert age >= gate.hold_seconds
    assert seen.canary.handled >= gate.min_messages
    assert seen.canary.failed_percent <= gate.max_failure_percent
    assert seen.canary.dead_letters <= gate.max_dead_letters


@given(facts, gates, st.floats(0, 1000), st.integers(1, 100))
def test_more_failures_never_help(seen: Seen, gate: Gate, age: float, more: int) -> None:
    order = [Action.PROMOTE, Action.HOLD, Action.ROLL_BACK]
    if seen.canary is None or judge(seen, gate, age).reason == "FewMessages":
        return
    worse = replace(seen, canary=replace(seen.canary, failed=seen.canary.failed + more))
    assert order.index(judge(worse, gate, age).action) >= order.index(judge(seen, gate, age).action)


@given(facts, gates, st.floats(0, 1000))
def test_what_nobody_could_read_decides_nothing(seen: Seen, gate: Gate, age: float) -> None:
    assert judge(replace(seen, canary=None), gate, age).action is Action.HOLD
