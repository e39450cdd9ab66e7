"""Rates and ages from two counters."""

from __future__ import annotations

import pytest
from tests.support.observations import queue

from redisqueue_operator.scaling.rates import RateHistory


def _after(*samples: tuple[float, int, int], busy: int = 0) -> RateHistory:
    """Samples of (seconds, claims, pending)."""
    history = RateHistory()
    for at, claims, pending in samples:
        history = history.add(queue(pending, claims=claims, at=at), busy)
    return history


def test_unknown_at_first() -> None:
    rates = _after((0, 5, 3)).rates()
    assert (rates.arrivals_per_second, rates.claims_per_second, rates.eta_seconds) == (None, None, None)
    assert RateHistory().rates().oldest_age_seconds is None


def test_arrivals_are_claims_plus_what_the_backlog_grew() -> None:
    rates = _after((0, 100, 10), (5, 120, 40)).rates()
    assert (rates.arrivals_per_second, rates.claims_per_second) == (10.0, 4.0)


def test_the_last_ten_seconds_count() -> None:
    rates = _after(*((float(second), min(second, 10) * 7, 0) for second in range(31))).rates()
    assert rates.claims_per_second == 0.0


@pytest.mark.parametrize(("pending", "eta"), [(40, 10.0), (0, 0.0)])
def test_eta(pending: int, eta: float) -> None:
    assert _after((0, 0, pending + 20), (5, 20, pending)).rates().eta_seconds == eta


def test_no_eta_while_the_backlog_grows() -> None:
    assert _after((0, 0, 5), (5, 20, 50)).rates().eta_seconds is None


@pytest.mark.parametrize("after", [(10.0, 2, 30), (10.0, 150, 0)], ids=["claims fell", "messages removed"])
def test_a_falling_counter_is_a_reset(after: tuple[float, int, int]) -> None:
    history = _after((0, 100, 100), after)
    assert history.rates().claims_per_second is None
    assert history.rates().oldest_age_seconds == 0.0


def test_the_speed_of_a_slot_survives_a_reset() -> None:
    measured = _after((0, 0, 100), (5, 20, 80), busy=2)
    assert measured.claims_per_slot == 2.0
    assert measured.add(queue(9, claims=1, at=6.0), 2).claims_per_slot == 2.0


def test_an_idle_slot_says_nothing_of_its_speed() -> None:
    assert _after((0, 0, 0), (5, 20, 0), busy=2).claims_per_slot is None


def test_without_the_counter_nothing_is_known() -> None:
    history = _after((0, 0, 100)).add(queue(5, claims=None), 1)
    assert history.rates().oldest_age_seconds is None


def test_the_oldest_message_is_the_next_to_be_claimed() -> None:
    """Ten arrive at 0, ten at 20; after 15 claims the oldest waiting is of the second ten."""
    history = _after((0, 0, 10), (20, 5, 15), (50, 9, 11))
    assert history.rates().oldest_age_seconds == 50.0
    assert history.add(queue(5, claims=15, at=60.0), 1).rates().oldest_age_seconds == 40.0
    assert history.add(queue(0, claims=20, at=60.0), 1).rates().oldest_age_seconds == 0.0


def test_a_long_past_is_thinned_but_not_forgotten() -> None:
    samples = [(n * 0.2, 0, n + 1) for n in range(20_000)]
    history = _after(*samples)
    assert len(history.points) <= 96
    assert history.rates().oldest_age_seconds == pytest.approx(19_999 * 0.2)
