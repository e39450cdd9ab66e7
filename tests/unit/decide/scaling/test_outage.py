"""Redis cannot be read: unknown is never zero."""

from __future__ import annotations

import dataclasses

import pytest
from tests.support.observations import Story, fleet, once, queue, seen

from redisqueue_operator.decide.scaling import Mode, Policy

AT_LEAST = Policy(fallback_replicas=3, fallback_after_seconds=30)


@pytest.mark.parametrize("replicas", [0, 1, 7])
def test_hold(replicas: int) -> None:
    story = Story()
    for now in (0.0, 10.0, 10_000.0):
        decision = story.at(now, seen(None, replicas=replicas))
        assert (decision.to_replicas, decision.reason) == (replicas, "RedisUnreadable")


@pytest.mark.parametrize(("replicas", "to"), [(0, 3), (1, 3), (3, 3), (7, 7)])
def test_at_least_is_a_floor_at_zero_too(replicas: int, to: int) -> None:
    story = Story(AT_LEAST)
    first = story.at(0.0, seen(None, replicas=replicas))
    assert (first.changes, first.recheck_after_seconds) == (False, 30.0)
    assert not story.at(29.0, seen(None, replicas=replicas)).changes
    assert story.at(30.0, seen(None, replicas=replicas)).to_replicas == to


def test_the_reason_is_the_fallback_while_it_holds_the_number() -> None:
    story = Story(AT_LEAST)
    story.at(0.0, seen(None, replicas=1))
    assert story.at(30.0, seen(None, replicas=1)).reason == "Fallback"
    assert story.at(31.0, seen(None, replicas=3)).reason == "Fallback"
    assert story.at(32.0, seen(None, replicas=5)).reason == "RedisUnreadable"


def test_the_fallback_keeps_within_the_maximum() -> None:
    story = Story(Policy(fallback_replicas=30, fallback_after_seconds=0, max_replicas=4))
    assert story.at(0.0, seen(None, replicas=1)).to_replicas == 4


def test_a_readable_sample_starts_the_time_again() -> None:
    story = Story(AT_LEAST)
    story.at(0.0, seen(None, replicas=0))
    story.at(20.0, seen(queue(), replicas=0))
    story.at(25.0, seen(None, replicas=0))
    assert story.at(50.0, seen(None, replicas=0)).to_replicas == 0
    assert story.at(55.0, seen(None, replicas=0)).to_replicas == 3


@pytest.mark.parametrize(
    ("mode", "to"), [("Auto", 3), ("UpOnly", 3), ("DownOnly", 0), ("Paused", 0), ("DryRun", 0)]
)
def test_the_mode_bounds_the_fallback(mode: Mode, to: int) -> None:
    story = Story(Policy(mode=mode, fallback_replicas=3, fallback_after_seconds=0))
    assert story.at(0.0, seen(None, replicas=0)).to_replicas == to


def test_the_minimum_needs_no_redis() -> None:
    decision = once(seen(None, replicas=0), Policy(min_replicas=2))
    assert (decision.to_replicas, decision.reason) == (2, "MinReplicas")


def test_more_than_the_maximum_is_held_too() -> None:
    assert once(seen(None, replicas=9), Policy(max_replicas=4)).to_replicas == 9


def test_after_an_outage_everything_was_just_active() -> None:
    story = Story(Policy(down_stabilization_seconds=20))
    story.at(0.0, fleet(queue(), idle=1))
    story.at(10.0, seen(None, replicas=1))
    assert story.at(900.0, fleet(queue(), idle=1)).blocked_by == "IdleSeconds"
    assert story.at(929.0, fleet(queue(), idle=1)).blocked_by == "IdleSeconds"
    assert story.at(930.0, fleet(queue(), idle=1)).to_replicas == 0


def test_after_an_outage_what_ran_counts_as_wanted() -> None:
    story = Story(Policy(down_stabilization_seconds=20))
    story.at(0.0, fleet(queue(1), idle=3))
    story.at(10.0, seen(None, replicas=3))
    back = story.at(900.0, fleet(queue(1), idle=3))
    assert (back.to_replicas, back.blocked_by) == (3, "StabilizationWindow")
    assert story.at(920.0, fleet(queue(1), idle=3)).to_replicas == 1


def test_demand_beyond_the_fallback_counts_as_soon_as_it_is_known() -> None:
    story = Story(AT_LEAST)
    story.at(0.0, seen(None, replicas=0))
    story.at(60.0, seen(None, replicas=0))
    assert story.at(61.0, seen(queue(40), replicas=3)).to_replicas == 8


def test_a_queue_that_was_not_sampled_yet_is_no_outage() -> None:
    never = dataclasses.replace(seen(None, replicas=1), redis_reason="", redis_message="")
    decision = once(never, Policy(fallback_replicas=3, fallback_after_seconds=0))
    assert (decision.to_replicas, decision.reason) == (1, "RedisUnreadable")
