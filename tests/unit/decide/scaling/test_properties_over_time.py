"""What holds for many decisions in a row, when the replicas follow each of them at once."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.any_observation import maybe_count, observations, on_a_busy_machine, policies
from tests.support.observations import Story, fleet, queue, seen

from redisqueue_operator.decide.scaling import STEP_SECONDS, Decision, Policy

if TYPE_CHECKING:
    from redisqueue_operator.observe.facts import Observation

pauses = st.sampled_from([0.2, 1.0, 4.0, 9.9, 10.0, 31.0, 61.0])
loads = st.lists(st.tuples(pauses, st.none() | st.integers(0, 80)), min_size=1, max_size=25)
"""(pause before it, pending messages or None: nobody can read them), one after the other."""


def _followed(
    load: list[tuple[float, int | None]], policy: Policy, replicas: int = 0
) -> list[tuple[float, int | None, Decision]]:
    """(time, pending, decision) of each step; all workers are idle and old enough to go."""
    story, now, row = Story(policy), 0.0, []
    for pause, pending in load:
        now += pause
        observation = fleet(None if pending is None else queue(pending), idle=replicas)
        decision = story.at(now, observation)
        row.append((now, pending, decision))
        replicas = decision.to_replicas
    return row


@given(loads, maybe_count, maybe_count, st.integers(0, 20))
@on_a_busy_machine
def test_steps_are_bounded_over_any_ten_seconds(
    load: list[tuple[float, int | None]], step: int | None, percent: int | None, replicas: int
) -> None:
    policy = Policy(
        max_replicas=40,
        up_max_step=step,
        up_max_percent=percent,
        down_max_percent=percent,
        down_stabilization_seconds=0,
        idle_seconds=0,
        fallback_replicas=30,
        fallback_after_seconds=0,
    )
    row = _followed(load, policy, replicas)
    for number, (now, _, decision) in enumerate(row):
        at_the_time = [
            each.from_replicas
            for (_, _, each), (until, _, _) in itertools.pairwise(row[: number + 1])
            if until > now - STEP_SECONDS
        ] + [decision.from_replicas]
        fewest, most = min(at_the_time), max(at_the_time)
        if decision.to_replicas > decision.from_replicas:
            assert decision.to_replicas <= fewest + (step or math.inf)
            if percent and fewest:
                assert decision.to_replicas <= fewest + max(1, fewest * percent // 100)
        elif decision.changes and percent:
            assert decision.to_replicas >= most - max(1, most * percent // 100)


@given(loads, st.sampled_from([0.0, 10.0, 60.0]), st.sampled_from([0.0, 5.0, 30.0, 90.0]))
@on_a_busy_machine
def test_no_flapping_inside_the_window(
    load: list[tuple[float, int | None]], window: float, idle_seconds: float
) -> None:
    """A shrink goes no lower than what was wanted within the window, unless the queue fell asleep."""
    policy = Policy(max_replicas=100, down_stabilization_seconds=window, idle_seconds=idle_seconds)
    row = _followed(load, policy)
    empty_since = None
    for number, (now, pending, decision) in enumerate(row):
        empty_since = (now if empty_since is None else empty_since) if pending == 0 else None
        if decision.to_replicas >= decision.from_replicas:
            continue
        assert pending is not None
        if empty_since is not None and now - empty_since >= idle_seconds:
            continue
        needs = [
            each.from_replicas if of is None else math.ceil(of / 5)
            for (_, of, each), (until, _, _) in itertools.pairwise(row[: number + 1])
            if until > now - window
        ]
        assert decision.to_replicas >= max([*needs, math.ceil(pending / 5), 1])


@given(loads, st.sampled_from([0.0, 10.0, 60.0]), st.sampled_from([0.0, 5.0, 30.0, 90.0]))
@on_a_busy_machine
def test_zero_only_after_the_queue_was_empty_for_idle_seconds(
    load: list[tuple[float, int | None]], window: float, idle_seconds: float
) -> None:
    policy = Policy(down_stabilization_seconds=window, idle_seconds=idle_seconds)
    empty_since = None
    for now, pending, decision in _followed(load, policy, replicas=3):
        empty_since = (now if empty_since is None else empty_since) if pending == 0 else None
        if decision.changes and decision.to_replicas == 0:
            assert empty_since is not None
            assert now - empty_since >= idle_seconds


@given(st.integers(0, 3), st.integers(0, 12), policies)
@on_a_busy_machine
def test_nothing_is_forgotten_that_time_alone_changes(busy: int, idle: int, policy: Policy) -> None:
    """Looking only when the last decision asked for it, a fleet comes down to where it ends up anyway."""
    policy = dataclasses.replace(policy, mode="Auto", max_in_flight_seconds=None, drain_busy=False)
    story, now, age, replicas, looks = Story(policy), 0.0, 0.0, busy + idle, 0
    for second in range(-30, 0):
        of = queue(in_flight=busy, claims=second * 3 + 90, at=1000.0 + second)
        story.at(float(second), fleet(of, busy=min(busy, replicas), idle=max(0, replicas - busy), age=age))
    while True:
        of = queue(in_flight=busy, claims=90, at=1000.0 + now)
        decision = story.at(now, fleet(of, busy=min(busy, replicas), idle=max(0, replicas - busy), age=age))
        looks += 1
        if not decision.changes and math.isinf(decision.recheck_after_seconds):
            break
        pause = 0.01 if decision.changes else max(0.05, decision.recheck_after_seconds)
        replicas, now, age = decision.to_replicas, now + pause, age + pause
        if now > 400:  # a limit on steps may ask for another look for ever
            break
        assert looks < 300, "a busy loop"
    slots = policy.concurrency * policy.backlog_per_slot
    needed = min(max(math.ceil(busy / slots), policy.min_replicas), policy.max_replicas)
    assert replicas == max(needed, busy) or replicas == needed >= busy


@given(st.lists(observations(), min_size=40, max_size=40), policies)
@settings(deadline=None, max_examples=5)
def test_the_history_stays_small(row: list[Observation], policy: Policy) -> None:
    story = Story(policy)
    for step in range(1200):
        story.at(step * 0.15, row[step % len(row)])
    history = story.history
    assert len(history.highest) <= 60
    assert len(history.lowest) <= 60
    assert len(history.rates.points) <= 96


@given(st.integers(1, 10_000), st.integers(1, 50))
@on_a_busy_machine
def test_a_steady_queue_is_left_alone(pending: int, seconds: int) -> None:
    """Nothing changes, so nothing is written after the first decision."""
    story = Story(Policy(max_replicas=100))
    first = story.at(0.0, seen(queue(pending), replicas=0))
    for second in range(1, seconds):
        assert not story.at(float(second), fleet(queue(pending), idle=first.to_replicas)).changes
