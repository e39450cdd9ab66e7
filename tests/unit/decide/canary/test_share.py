"""Who gets how many of the workers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redisqueue_operator.decide.canary import Split, missing_canaries, share, split

NOBODY = Split(0, 0)
percents = st.integers(1, 50).map(float)


@pytest.mark.parametrize(
    ("total", "percent", "canaries"),
    [(0, 10, 0), (1, 10, 1), (2, 10, 1), (2, 50, 1), (3, 50, 2), (10, 10, 1), (11, 10, 2), (100, 25, 25)],
)
def test_share(total: int, percent: float, canaries: int) -> None:
    assert share(total, percent) == canaries


@pytest.mark.parametrize(
    ("target", "now", "victims", "percent", "expected"),
    [
        (5, Split(0, 0), NOBODY, 10, Split(4, 1)),  # from zero, at once
        (1, Split(0, 0), NOBODY, 10, Split(1, 0)),  # nobody waits for a canary that may never start
        (2, Split(0, 1), NOBODY, 10, Split(1, 1)),
        (20, Split(4, 1), NOBODY, 10, Split(18, 2)),
        (5, Split(4, 0), NOBODY, 50, Split(4, 1)),  # growth takes nobody away
        (8, Split(4, 1), NOBODY, None, Split(7, 1)),
        (3, Split(4, 1), Split(2, 0), 10, Split(2, 1)),
        (1, Split(4, 1), Split(4, 0), 10, Split(0, 1)),
        (0, Split(4, 1), Split(4, 1), 10, Split(0, 0)),
        (0, Split(4, 1), Split(2, 0), 10, Split(0, 0)),  # a pod that was never seen is no victim
        (3, Split(4, 0), Split(1, 0), 50, Split(3, 0)),
    ],
)
def test_split(target: int, now: Split, victims: Split, percent: float | None, expected: Split) -> None:
    assert split(target, now, victims=victims, percent=percent) == expected


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 5), percents | st.none())
def test_growth_removes_nobody(target: int, stable: int, canary: int, percent: float | None) -> None:
    after = split(target, Split(stable, canary), victims=NOBODY, percent=percent)
    assert sum(after) == target
    assert min(after) >= 0
    if target >= stable + canary:
        assert after.stable >= stable
        assert after.canary >= canary


@given(st.integers(1, 50), st.integers(0, 10), st.data(), percents)
def test_a_shrink_takes_its_victims(stable: int, canary: int, data: st.DataObject, percent: float) -> None:
    victims = Split(data.draw(st.integers(0, stable)), data.draw(st.integers(0, canary)))
    target = stable + canary - sum(victims)
    after = split(target, Split(stable, canary), victims=victims, percent=percent)
    assert after == Split(stable - victims.stable, canary - victims.canary)


def test_missing_canaries() -> None:
    assert missing_canaries(to=4, wanted=4, canaries=0, percent=10) == 1
    assert missing_canaries(to=4, wanted=4, canaries=1, percent=10) == 0
    assert missing_canaries(to=1, wanted=1, canaries=0, percent=10) == 1, "beside the first"
    assert missing_canaries(to=5, wanted=4, canaries=2, percent=50) == 0, "what is held back adds nothing"
    assert missing_canaries(to=1, wanted=0, canaries=0, percent=10) == 0, "nobody is needed"
    assert missing_canaries(to=0, wanted=3, canaries=0, percent=10) == 0
