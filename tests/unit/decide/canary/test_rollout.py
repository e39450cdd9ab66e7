"""The way of a new version: stages, phases, and what is kept of them over a restart."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redisqueue_operator.decide.canary import (
    Gate,
    Phase,
    Rollout,
    Seen,
    Stage,
    Tally,
    Versions,
    advance,
    stage_of,
)

GATE = Gate(hold_seconds=60, min_messages=20, max_failure_percent=10, max_dead_letters=0)
TRIAL = Rollout(Phase.CANARY, "new", "old", since=1000)
REFUSED = replace(TRIAL, phase=Phase.ROLLED_BACK)
PASSED = replace(TRIAL, phase=Phase.PROMOTING)
BOTH = Versions("new", stable="old", canary="new")


@pytest.mark.parametrize(
    ("versions", "rollout", "stage"),
    [
        (Versions("new"), None, Stage.ROLL),  # the first of all
        (Versions("new", stable="new"), None, Stage.ROLL),
        (Versions("new", stable="old"), None, Stage.CANARY),
        (BOTH, TRIAL, Stage.CANARY),
        (BOTH, None, Stage.CANARY),  # the status was lost
        (BOTH, PASSED, Stage.PROMOTE),
        (BOTH, REFUSED, Stage.STAY),
        (replace(BOTH, wanted="newer"), REFUSED, Stage.CANARY),  # the spec changed
        (replace(BOTH, wanted="newer"), PASSED, Stage.CANARY),
        (replace(BOTH, stable="new"), PASSED, Stage.PROMOTE),  # the old pods are being replaced
        (replace(BOTH, stable="new", rolled=True), PASSED, Stage.ROLL),
        (replace(BOTH, wanted="old"), TRIAL, Stage.ROLL),  # taken back by its owner
    ],
)
def test_stages(versions: Versions, rollout: Rollout | None, stage: Stage) -> None:
    assert stage_of(versions, rollout, versioned=True) is stage
    assert stage_of(versions, rollout, versioned=False) is Stage.ROLL


def seen(canary: Tally | None, stable: Tally | None = None) -> Seen:
    return Seen(canary, stable or Tally(1000), ready=1)


def looked_at(rollout: Rollout | None, facts: Seen, now: float = 1010.0) -> Rollout:
    after = advance(rollout, Stage.CANARY, BOTH, facts, GATE, now)
    assert after is not None
    return after


def test_only_what_came_since_the_start_counts() -> None:
    rollout = looked_at(None, seen(Tally(5, 100, 7)), 1000.4)
    assert (rollout.phase, rollout.since, rollout.tally) == (Phase.CANARY, 1000, Tally())
    rollout = looked_at(rollout, seen(Tally(8, 101, 7), Tally(1030)))
    assert (rollout.tally, rollout.stable, rollout.reason) == (Tally(3, 1), Tally(30), "FewMessages")
    assert looked_at(rollout, seen(Tally(8, 104, 7))).phase is Phase.ROLLED_BACK


def test_counts_that_redis_forgot_begin_anew() -> None:
    rollout = looked_at(looked_at(None, seen(Tally(500))), seen(Tally(4)))
    assert rollout.tally == Tally(4)


def test_a_trial_counts_from_when_redis_could_be_read() -> None:
    rollout = looked_at(None, Seen(None, None, ready=0))
    assert (rollout.reason, rollout.base) == ("RedisUnreadable", None)
    assert looked_at(rollout, seen(Tally(5))).base == Tally(5)


def test_the_whole_way_of_a_good_version() -> None:
    rollout = looked_at(None, seen(Tally()), 1000)
    rollout = looked_at(rollout, seen(Tally(50)), 1070)
    assert (rollout.phase, rollout.since) == (Phase.PROMOTING, 1070)
    rolling = replace(BOTH, stable="new")
    assert advance(rollout, Stage.PROMOTE, rolling, seen(None), GATE, 1080) == rollout
    done = advance(rollout, Stage.ROLL, rolling, seen(None), GATE, 1090)
    assert done is not None
    assert (done.phase, done.since) == (Phase.PROMOTED, 1090)
    assert advance(done, Stage.ROLL, rolling, seen(None), GATE, 2000) == done
    assert advance(
        done, Stage.CANARY, replace(BOTH, wanted="newer", stable="new"), seen(Tally()), GATE, 3000
    ) == (
        Rollout(
            Phase.CANARY,
            "newer",
            "new",
            3000,
            "FewMessages",
            "0 of 20 messages were handled",
            Tally(),
            Tally(1000),
        )
    )


def test_a_refused_version_stays_refused_until_another_is_wanted() -> None:
    rollout = looked_at(looked_at(None, seen(Tally())), seen(Tally(0, 9)), 1020)
    assert (rollout.phase, rollout.reason, rollout.since) == (Phase.ROLLED_BACK, "Failures", 1020)
    assert advance(rollout, Stage.STAY, BOTH, seen(Tally(99)), GATE, 5000) == rollout
    back = Versions("old", stable="old")
    assert advance(rollout, Stage.ROLL, back, seen(None), GATE, 5000) is None


def test_no_rollout_without_a_trial() -> None:
    assert advance(None, Stage.ROLL, Versions("new", stable="old"), seen(None), GATE, 5000) is None
    assert advance(TRIAL, Stage.ROLL, BOTH, seen(None), GATE, 5000) is None, "the strategy became Rolling"


counts = st.builds(Tally, st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))


@given(
    st.builds(
        Rollout,
        st.sampled_from(Phase),
        st.text("abcdef0123456789", min_size=10, max_size=10),
        st.text("abcdef0123456789", min_size=10, max_size=10),
        st.integers(0, 2 * 10**9),
        st.sampled_from(["", "FewMessages"]),
        st.text(max_size=20),
        counts,
        counts,
        counts,
        counts,
    )
)
def test_the_status_keeps_all_of_it(rollout: Rollout) -> None:
    assert Rollout.of_status({"rollout": rollout.to_status()}) == rollout


@pytest.mark.parametrize("status", [{}, {"rollout": {}}, {"rollout": {"phase": "Unheard", "hash": "x"}}])
def test_a_status_that_says_something_else_says_nothing(status: dict[str, object]) -> None:
    assert Rollout.of_status(status) is None
