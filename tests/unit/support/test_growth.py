"""What is taken for growth, and what is not."""

from __future__ import annotations

import random

import pytest
from tests.support.growth import Sample, findings, growth, slope

ORDER = random.Random(7)


def over(values: list[float]) -> list[Sample]:
    """One value more with every thousand messages."""
    return [Sample(1000.0 * place, {"memory": value}) for place, value in enumerate(values)]


FLAT = [50.0 + ORDER.uniform(-3, 3) for _ in range(30)]


@pytest.mark.parametrize(
    ("values", "grows"),
    [
        (FLAT, False),
        ([value + place for place, value in enumerate(FLAT)], True),
        ([value - place for place, value in enumerate(FLAT)], False),
        ([*FLAT[:12], 500.0, *FLAT[13:]], False),  # one large value
        ([*FLAT[:-1], 500.0], False),
        ([5.0, 6.0, *FLAT[2:]], False),  # what it takes at the start
        ([*FLAT[:15], *(value + 20 for value in FLAT[15:])], True),  # a step that lasts
        ([50.0] * 10 + [50.0 + place for place in range(20)], True),  # a leak that begins late
        ([3.0] * 30, False),
        ([3.0] * 15 + [4.0] * 15, False),  # by one: less than may be
    ],
)
def test_what_grows_is_told(values: list[float], grows: bool) -> None:
    assert bool(findings(over(values), {"memory": 8})) is grows


def test_the_words_name_what_from_where_to_where_and_how_much_may_be() -> None:
    samples = [Sample(number * 100, {"threads": 10 + number}) for number in range(9)]
    assert findings(samples, {"threads": 0.5}) == [
        "threads: from 10 to 18 over 800 messages, by 6 where 0.5 may be"
    ]


def test_what_was_not_measured_is_not_flat() -> None:
    assert findings([], {"threads": 1}) == ["threads: 0 samples, which tell nothing"]
    few = [Sample(1, {"threads": 1}), Sample(2, {}), Sample(3, {"threads": 1})]
    assert findings(few, {"threads": 1}) == ["threads: 2 samples, which tell nothing"]


def test_a_slope_is_for_each_message_and_needs_two_moments() -> None:
    assert slope([(10 * place, place) for place in range(10)] + [(100, 500)]) == pytest.approx(0.1)
    assert slope([(5, 1), (5, 9)]) == 0
    assert growth([(0, 1), (1, 99)]) == 0
