"""Plans of the chaos are the same for the same seed, bounded, and leave no fault out."""

from __future__ import annotations

from itertools import pairwise

import pytest
from tests.chaos.plan import NOT_YET_HEALED_SECONDS, groups, plan

HOLDS = {"brief": (0.0, 0.0), "short": (1.0, 5.0), "long": (10.0, 30.0)}


def test_a_seed_is_a_plan() -> None:
    assert plan(7, 300, HOLDS) == plan(7, 300, dict(reversed(HOLDS.items())))
    assert plan(7, 300, HOLDS) != plan(8, 300, HOLDS)


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_is_bounded_and_has_each_fault_before_any_comes_again(seed: int) -> None:
    steps = plan(seed, 300, HOLDS)
    assert len(steps) > len(HOLDS)
    assert steps[-1].at_seconds + steps[-1].hold_seconds <= 300
    for step in steps:
        least, most = HOLDS[step.fault]
        assert least <= step.hold_seconds <= most
    for one, next_one in pairwise(steps):
        assert one.at_seconds + one.hold_seconds < next_one.at_seconds
    for start in range(0, len(steps) - len(HOLDS) + 1, len(HOLDS)):
        assert {step.fault for step in steps[start : start + len(HOLDS)]} == set(HOLDS)


def both(one: str, other: str) -> bool:
    return "long" in (one, other) and one != other


@pytest.mark.parametrize("seed", range(20))
def test_what_overlaps_may_and_begins_before_the_other_has_healed(seed: int) -> None:
    steps = plan(seed, 900, HOLDS, both)
    assert steps == plan(seed, 900, HOLDS, both)
    ended = 0.0
    for first, *others in groups(steps):
        assert ended < first.at_seconds
        ended = first.at_seconds + first.hold_seconds
        for each in others:
            assert both(first.fault, each.fault)
            assert first.at_seconds <= each.at_seconds
            assert each.at_seconds - ended <= NOT_YET_HEALED_SECONDS + 0.1  # as it is rounded
        ended = max(each.at_seconds + each.hold_seconds for each in (first, *others))
    assert [each.overlaps for each in steps].count(True) == len(steps) - len(groups(steps))
    for start in range(0, len(steps) - len(HOLDS) + 1, len(HOLDS)):
        assert {step.fault for step in steps[start : start + len(HOLDS)]} == set(HOLDS)


def test_a_share_of_the_faults_overlaps() -> None:
    seen = [len(group) for seed in range(100) for group in groups(plan(seed, 300, HOLDS, both))]
    assert set(seen) == {1, 2}
    assert 0.1 < seen.count(2) / len(seen) < 0.5
    assert all(len(group) == 1 for group in groups(plan(1, 300, HOLDS)))


def test_without_time_or_faults_there_is_no_step() -> None:
    assert plan(1, 0, HOLDS) == []
    assert plan(1, 300, {}) == []
