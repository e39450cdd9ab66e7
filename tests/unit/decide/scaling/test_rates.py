"""Rates and ages from two counters."""

from __future__ import annotations

import pytest
from tests.support.observations import queue

from redisqueue_operator.decide.scaling.rates import ENOUGH_DONE, RateHistory


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
    assert measured.claims_per_slot() == 2.0
    assert measured.add(queue(9, claims=1, at=6.0), 2).claims_per_slot() == 2.0


def test_only_busy_slots_have_a_speed() -> None:
    """One of four works, on one message after the other, and nothing waits: two seconds each."""
    assert _after(*((n * 2.0, n, 0) for n in range(30)), busy=1).claims_per_slot() == 0.5
    assert _after((0, 0, 0), (5, 20, 0), busy=0).claims_per_slot() is None


def test_what_is_in_work_is_not_done() -> None:
    started = _after((0, 0, 5)).add(queue(4, claims=1, at=1.0), 1)
    assert started.claims_per_slot() is None
    assert started.add(queue(4, claims=1, at=4.0), 1).claims_per_slot() is None
    assert started.add(queue(3, claims=2, at=5.0), 1).claims_per_slot() == 0.25


def test_the_speed_is_that_of_the_last_messages() -> None:
    slow = [(n * 10.0, n, 0) for n in range(30)]
    fast = [(300.0 + n, 30 + n, 0) for n in range(ENOUGH_DONE + 20)]
    assert _after(*slow, busy=1).claims_per_slot() == pytest.approx(0.1)
    assert _after(*slow, *fast, busy=1).claims_per_slot() == pytest.approx(1.0)


def test_the_speed_is_a_mean_of_many_messages() -> None:
    """One second and three seconds, in turns: half a message a second, and not that of the last one."""
    looks = [(2.0 * n - (n % 2), n, 0) for n in range(300)]
    assert _after(*looks, busy=1).claims_per_slot() == pytest.approx(0.5, rel=0.02)
    assert _after(*looks[:-1], busy=1).claims_per_slot() == pytest.approx(0.5, rel=0.02)


def test_a_clock_that_goes_back_starts_the_history_anew() -> None:
    """A replica took over, whose clock is behind."""
    history = _after((100.0, 0, 10), (110.0, 5, 20), (50.0, 6, 20), busy=1)
    assert history.rates().arrivals_per_second is None
    assert history.busy(60) == (0.0, 0)


def test_the_mean_of_busy_slots() -> None:
    history = _after()
    for second in range(61):
        history = history.add(queue(claims=second, at=float(second)), 4 if second < 30 else 2)
    assert history.busy(60) == (3.0, 60)
    assert history.busy(20) == (2.0, 20)
    assert history.busy(0) == (0.0, 0)
    assert RateHistory().busy(60) == (0.0, 0)


def test_without_the_counter_nothing_is_known() -> None:
    history = _after((0, 0, 100)).add(queue(5, claims=None), 1)
    assert history.rates().oldest_age_seconds is None


def test_an_emptied_server_forgets_no_speed() -> None:
    """FLUSHALL takes the counter along: until the next claim there is none."""
    worked = _after((0, 0, 100), (10, 40, 60), busy=1)
    speed = worked.claims_per_slot()
    emptied = worked.add(queue(0, claims=None, at=11.0), 0)
    assert speed is not None
    assert emptied.claims_per_slot() == emptied.add(queue(5, claims=1, at=12.0), 1).claims_per_slot() == speed
    assert emptied.handler_seconds() == 1 / speed


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
