"""What the workers had to do of late bounds a shrink: who is busy at one moment is chance."""

from __future__ import annotations

import dataclasses

import pytest
from tests.support.observations import Story, fleet, pod, queue, seen, worker

from redisqueue_operator.decide.scaling import Policy


def _needed(*looks: tuple[float, int, int | None], policy: Policy | None = None, replicas: int = 20) -> int:
    """What a lull leaves of so many workers, after looks of (seconds, busy slots, claims)."""
    policy = policy or Policy(max_replicas=100)
    story = Story(dataclasses.replace(policy, idle_seconds=86400, backlog_per_slot=1000))
    story.at(-1000.0, fleet(queue(claims=None), idle=replicas))
    for at, busy, claims in looks:
        each = policy.concurrency
        pods = [pod(f"p{n}") for n in range(replicas)]
        reports = [worker(f"p{n}", min(each, max(0, busy - n * each)), slots=each) for n in range(replicas)]
        story.at(at, seen(queue(in_flight=busy, claims=claims, at=2000 + at), pods, reports))
    last, _, claims = looks[-1]
    held = story.at(last, fleet(queue(claims=claims, at=2000 + last), idle=replicas))
    assert held.blocked_by == ("RecentLoad" if held.to_replicas > 1 else "IdleSeconds")
    return held.to_replicas


def _steady(busy: int, *, claims_per_second: int = 10) -> list[tuple[float, int, int | None]]:
    return [(float(second), busy, second * claims_per_second) for second in range(121)]


@pytest.mark.parametrize(("busy", "needed"), [(0, 1), (1, 1), (3, 3), (4, 5), (8, 10), (10, 12)])
def test_one_spare_worker_for_every_four_busy_ones(busy: int, needed: int) -> None:
    assert _needed(*_steady(busy)) == needed


@pytest.mark.parametrize(("busy", "needed"), [(8, 2), (9, 3), (16, 5)])
def test_slots_are_shared_out_to_workers(busy: int, needed: int) -> None:
    assert _needed(*_steady(busy), policy=Policy(concurrency=4), replicas=10) == needed


def test_the_mean_counts_and_not_the_moment() -> None:
    assert _needed(*((float(second), 8 if second % 2 else 0, second * 10) for second in range(121))) == 5


def test_only_the_window_counts() -> None:
    busy = [(float(second), 20, second * 10) for second in range(100)]
    idle = [(100.0 + second, 2, 1000 + second) for second in range(66)]
    assert _needed(*busy, *idle) == 2


def test_a_look_holds_until_the_next_one() -> None:
    assert _needed((0.0, 4, 0), (120.0, 4, 600)) == 5


def test_what_pods_on_their_way_out_do_is_work_too() -> None:
    """A rollout has replaced eight busy workers, which finish; soon their work is that of the new ones."""
    story = Story(Policy(idle_seconds=86400, backlog_per_slot=1000, max_replicas=100))
    for second in range(121):
        leaving = [pod(f"old{n}", ready=False, terminating=True) for n in range(8)]
        new = [pod(f"new{n}") for n in range(20)]
        reports = [worker(f"old{n}", 1, draining=True) for n in range(8)]
        reports += [worker(f"new{n}") for n in range(20)]
        sample = queue(in_flight=8, claims=second * 10, at=1000.0 + second)
        held = story.at(float(second), seen(sample, [*new, *leaving], reports))
    assert (held.to_replicas, held.blocked_by) == (10, "RecentLoad")


def test_handlers_that_outlast_the_window_are_counted_where_they_run() -> None:
    """Eight long handlers and two idle workers: nothing arrives, so there is nothing to spare them for."""
    assert _needed(*((float(second), 8, 8) for second in range(121)), replicas=10) == 1


def test_without_the_counter_there_is_no_mean() -> None:
    assert _needed((0.0, 4, 0), (120.0, 4, None)) == 1


def test_a_counter_that_falls_starts_anew() -> None:
    assert _needed((0.0, 4, 0), (120.0, 4, 600), (121.0, 4, 5), replicas=5) == 1


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
