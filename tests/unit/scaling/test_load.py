"""What the workers had to do of late bounds a shrink: who is busy at one moment is chance."""

from __future__ import annotations

from tests.support.observations import Story, fleet, queue

from redisqueue_operator.scaling import Policy
from redisqueue_operator.scaling.load import LoadHistory

WINDOW = 60.0


def _after(*looks: tuple[float, int, int | None], window: float = WINDOW) -> LoadHistory:
    """Looks of (seconds, busy slots, claims)."""
    history = LoadHistory()
    for at, busy, claims in looks:
        history = history.add(queue(claims=claims, at=at), busy, window)
    return history


def _steady(busy: int, *, claims_per_second: int = 10, seconds: int = 60) -> LoadHistory:
    return _after(*((float(second), busy, second * claims_per_second) for second in range(seconds + 1)))


def test_one_spare_worker_for_every_four_busy_ones() -> None:
    needed = [_steady(busy).workers(Policy(), 10) for busy in (0, 1, 3, 4, 8, 10)]
    assert needed == [0, 1, 3, 5, 10, 12]


def test_slots_are_shared_out_to_workers() -> None:
    assert _steady(8).workers(Policy(concurrency=4), 10) == 2
    assert _steady(9).workers(Policy(concurrency=4), 10) == 3


def test_the_mean_counts_and_not_the_moment() -> None:
    looks = ((float(second), 8 if second % 2 else 0, second * 10) for second in range(61))
    assert _after(*looks).workers(Policy(), 10) == 5


def test_only_the_window_counts() -> None:
    busy = [(float(second), 20, second * 10) for second in range(100)]
    idle = [(100.0 + second, 2, 1000 + second) for second in range(66)]
    assert _after(*busy, *idle).workers(Policy(), 10) == 2


def test_a_look_holds_until_the_next_one() -> None:
    assert _after((0.0, 4, 0), (60.0, 0, 600)).workers(Policy(), 10) == 5


def test_handlers_that_outlast_the_window_are_counted_where_they_run() -> None:
    """Eight long handlers and two idle workers: nothing arrives, so there is nothing to spare them for."""
    assert _after(*((float(second), 8, 8) for second in range(61))).workers(Policy(), 10) == 0


def test_nothing_is_remembered_without_window_or_counter() -> None:
    assert _after((0.0, 4, 0), (60.0, 4, 600), window=0.0) == LoadHistory()
    assert _after((0.0, 4, 0), (60.0, 4, None)) == LoadHistory()


def test_a_counter_or_a_clock_that_falls_starts_anew() -> None:
    assert _after((0.0, 4, 0), (60.0, 4, 600), (61.0, 4, 5)).workers(Policy(), 1) == 0
    assert _after((100.0, 4, 0), (160.0, 4, 600), (50.0, 4, 700)).workers(Policy(), 1) == 0


def test_few_points_are_kept() -> None:
    looks = ((n * 0.2, n % 5, n) for n in range(20_000))
    assert len(_after(*looks).points) <= 14


def _run(policy: Policy, *, until: int, busy: int, idle: int) -> Story:
    """A while in which half-second messages keep so many of the workers busy."""
    story = Story(policy)
    for second in range(until):
        now = float(second)
        story.at(now, fleet(queue(in_flight=busy, claims=second * 8, at=1000 + now), busy=busy, idle=idle))
    return story


def test_a_shrink_leaves_what_the_recent_load_needs() -> None:
    story = _run(Policy(), until=120, busy=4, idle=6)
    lull = fleet(queue(claims=960, at=1120.0), idle=10)
    held = story.at(120.0, lull)
    assert (held.to_replicas, held.blocked_by) == (5, "RecentLoad")
    assert held.recheck_after_seconds == 5.0


def test_the_load_of_the_past_is_forgotten_with_the_window() -> None:
    story = _run(Policy(), until=120, busy=4, idle=6)
    for second in range(120, 181, 5):
        story.at(float(second), fleet(queue(claims=960, at=1000.0 + second), idle=5))
    assert story.at(190.0, fleet(queue(claims=960, at=1190.0), idle=5)).to_replicas == 0


def test_a_lowered_maximum_applies_whatever_the_load() -> None:
    story = _run(Policy(), until=120, busy=4, idle=6)
    story.policy = Policy(max_replicas=2)
    assert story.at(120.0, fleet(queue(claims=960, at=1120.0), idle=10)).to_replicas == 2


def test_without_a_window_the_load_holds_nothing() -> None:
    story = _run(Policy(down_stabilization_seconds=0), until=120, busy=4, idle=6)
    assert story.at(120.0, fleet(queue(claims=960, at=1120.0), idle=10)).to_replicas == 1
