"""The last hour of a queue: what a plot is made of."""

from __future__ import annotations

import gc
import tracemalloc

import pytest
from tests.support.observations import once, queue, seen
from tests.support.page_history import Told

from redisqueue_operator.api import Key
from redisqueue_operator.serve.page.history import BIN_SECONDS, BINS, CHANGES, Flow, Gauge, PageHistory, Ring

UNSEEN = (None, None, None, None)


def known(values: list[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def test_before_it_was_seen_nothing_is_known() -> None:
    ring = Ring(1000.0)
    for what in (*Gauge, *Flow):
        assert ring.series(1000.0, what) == [None] * BINS
    assert ring.per_second(1000.0, Flow.ARRIVED) is None


def test_a_half_minute_keeps_the_highest() -> None:
    ring = Ring(0.0)
    for at, waiting in ((0.0, 1), (5.0, 70), (10.0, 3)):
        ring.add(at, (waiting, 0, 0, 0), None)
    assert ring.series(10.0, Gauge.WAITING)[-1] == 70
    assert ring.series(BIN_SECONDS, Gauge.WAITING)[-2:] == [70, 3]


def test_what_was_the_case_goes_on_while_nobody_looks() -> None:
    ring = Ring(0.0)
    ring.add(0.0, (0, 0, 2, 2), (100, 100))
    later = 10 * BIN_SECONDS
    assert ring.series(later, Gauge.READY)[-11:] == [2] * 11
    assert known(ring.series(later, Flow.CLAIMED)) == [0] * 11
    assert ring.per_second(later, Flow.CLAIMED) == 0


def test_what_could_not_be_read_is_a_gap_and_no_zero() -> None:
    ring = Ring(0.0)
    ring.add(0.0, (5, 1, 2, 2), (10, 5))
    ring.add(BIN_SECONDS + 1, (None, None, 2, 2), None)
    assert ring.per_second(2 * BIN_SECONDS, Flow.CLAIMED) is None
    at = 4 * BIN_SECONDS
    ring.add(at, (7, 1, 2, 2), (500, 400))
    assert ring.series(at, Gauge.WAITING)[-5:] == [5, 5, None, None, 7]
    assert ring.series(at, Gauge.READY)[-5:] == [2] * 5
    assert ring.series(at, Flow.CLAIMED)[-3:-1] == [None, None]
    ring.add(at + 10, (7, 1, 2, 2), (520, 410))
    # What happened meanwhile counts for no rate: it is not known when it did.
    assert ring.per_second(at + 10, Flow.ARRIVED) == pytest.approx(2.0)


def test_rates_are_of_what_the_counters_moved() -> None:
    ring = Ring(0.0)
    for second in range(91):
        ring.add(float(second), (0, 0, 0, 0), (second * 3, second * 2))
    assert ring.per_second(90.0, Flow.ARRIVED) == pytest.approx(3.0, rel=0.05)
    assert ring.series(90.0, Flow.CLAIMED)[-3:-1] == pytest.approx([2.0, 2.0])


def test_counters_that_fall_begin_anew() -> None:
    ring = Ring(0.0)
    ring.add(0.0, (0, 0, 0, 0), (1000, 1000))
    ring.add(10.0, (0, 0, 0, 0), (4, 4))
    ring.add(20.0, (0, 0, 0, 0), (14, 9))
    assert ring.per_second(20.0, Flow.ARRIVED) == pytest.approx(1.0)
    assert ring.per_second(20.0, Flow.CLAIMED) == pytest.approx(0.5)


def test_after_an_hour_the_oldest_goes_also_when_nobody_looked_for_days() -> None:
    ring = Ring(0.0)
    ring.add(0.0, (99, 0, 0, 0), None)
    ring.add(1.0, (1, 0, 0, 0), None)
    assert max(known(ring.series(BINS * BIN_SECONDS - 1, Gauge.WAITING))) == 99
    assert known(ring.series(BINS * BIN_SECONDS, Gauge.WAITING)) == [1] * BINS
    assert known(ring.series(1e7, Gauge.WAITING)) == [1] * BINS


def test_the_latest_changes_are_kept_and_go_with_their_queue() -> None:
    told = Told()
    key = Key("shop", "emails")
    for number in range(CHANGES + 3):
        told.now += 1
        told.history.scaled(key, number, number + 1, "Backlog")
    changes = told.history.queues[key].changes
    assert [change.after for change in changes] == list(range(4, CHANGES + 4))
    assert changes[-1].at == told.now
    told.history.forget(key)
    told.history.forget(key)
    assert not told.history.queues


def test_a_thousand_queues_of_an_hour_take_less_than_five_mebibytes() -> None:
    """Beside what the operator keeps of them anyway: the last observation, decision and status."""
    now = 0.0
    keys = [Key("a-namespace", f"a-queue-{number}") for number in range(1000)]
    observation = seen(queue(100_000, claims=10**9))
    decision, status = once(observation), {"state": "Running", "conditions": []}
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        history = PageHistory(lambda: now)
        for number in range(CHANGES + 1):
            now += 3600.0 / CHANGES
            for key in keys:
                history.observe(key, observation, decision, status)
                history.scaled(key, 1000 + number, 2000 + number, "Backlog")
        gc.collect()  # what is kept, whatever ran before in this process
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(history.queues) == 1000
    assert used < 5 << 20
