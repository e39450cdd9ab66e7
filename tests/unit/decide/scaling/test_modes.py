"""Who chooses the number: the rules, a person, another autoscaler, or nobody for now."""

from __future__ import annotations

import pytest
from tests.support.observations import Story, fleet, once, pod, queue, seen, settled, worker

from redisqueue_operator.api import parse
from redisqueue_operator.decide.scaling import Mode, Policy


@pytest.mark.parametrize(
    ("mode", "grows", "shrinks"),
    [
        ("Auto", True, True),
        ("UpOnly", True, False),
        ("DownOnly", False, True),
        ("Paused", False, False),
        ("DryRun", False, False),
        ("External", False, False),
    ],
)
def test_directions(mode: Mode, grows: bool, shrinks: bool) -> None:
    policy = Policy(mode=mode)
    up, down = once(fleet(queue(50), idle=2), policy), settled(fleet(queue(), idle=2), policy)
    assert (up.to_replicas, down.to_replicas) == (10 if grows else 2, 0 if shrinks else 2)
    assert up.blocked_by == ("" if grows else mode)
    assert down.blocked_by == ("" if shrinks else mode)
    assert (up.wanted_replicas, down.wanted_replicas) == (10, 0)


@pytest.mark.parametrize("mode", ["Paused", "DryRun", "External"])
def test_the_reason_says_who_does_not_scale(mode: Mode) -> None:
    decision = once(fleet(queue(50), idle=2), Policy(mode=mode))
    assert (decision.reason, decision.terms[0].value) == (mode, 10)
    at_target = once(fleet(queue(6), idle=2), Policy(mode=mode))
    assert (at_target.reason, at_target.blocked_by) == (mode, "")


def test_a_dry_run_says_what_it_would_write() -> None:
    decision = once(seen(queue(50), replicas=2), Policy(mode="DryRun", up_max_step=3))
    assert (decision.to_replicas, decision.wanted_replicas) == (2, 5)


@pytest.mark.parametrize("mode", ["Auto", "Paused", "UpOnly", "DownOnly", "DryRun", "External"])
@pytest.mark.parametrize("number", [0, 3, 50])
def test_a_persons_number_wins_over_everything(mode: Mode, number: int) -> None:
    policy = Policy(mode=mode, manual_replicas=number, max_replicas=5)
    for observation in (
        fleet(queue(500, in_flight=3), busy=3, idle=1),
        fleet(queue(), idle=4, replica_sets=2),
        seen(None, replicas=4),
    ):
        decision = once(observation, policy)
        assert (decision.to_replicas, decision.reason) == (number, "ManualReplicas")


@pytest.mark.parametrize("mode", ["Auto", "External", "Paused", "UpOnly", "DownOnly", "DryRun"])
def test_what_the_rules_would_write_is_known_whoever_chooses(mode: Mode) -> None:
    """The number that another autoscaler follows must not be the one that it wrote itself."""
    policy = Policy(mode=mode, manual_replicas=4, up_max_step=3)
    step = once(fleet(queue(50), idle=4), policy)
    assert (step.wanted_replicas, step.to_replicas, step.blocked_by, step.clamps) == (7, 4, "", ())
    story = Story(policy)
    story.at(0.0, fleet(queue(), idle=4))
    held = story.at(29.0, fleet(queue(), idle=4))
    assert (held.wanted_replicas, held.recheck_after_seconds) == (4, 1.0)
    assert story.at(30.0, fleet(queue(), idle=4)).wanted_replicas == 0
    busy = settled(fleet(queue(in_flight=3), busy=3, idle=1), Policy(mode=mode, manual_replicas=4))
    assert busy.wanted_replicas == 3


@pytest.mark.parametrize("manual", [None, 4])
def test_unknown_is_never_zero_for_another_autoscaler_either(manual: int | None) -> None:
    decision = once(seen(None, replicas=4), Policy(mode="External", manual_replicas=manual))
    assert (decision.to_replicas, decision.wanted_replicas) == (4, 4)


def test_a_persons_number_still_takes_idle_pods_first() -> None:
    pods = [pod("busy"), pod("unknown"), pod("idle"), pod("young", age=1.0)]
    observation = seen(queue(in_flight=2), pods, [worker("busy", 1), worker("idle"), worker("young")])
    one_left = once(observation, Policy(manual_replicas=1))
    assert one_left.victims == ("young", "idle", "unknown")
    assert one_left.drain_busy
    assert once(observation, Policy(manual_replicas=0)).victims[-1] == "busy"


def test_policy_of_a_parsed_resource() -> None:
    scaling = {
        "mode": "UpOnly",
        "minReplicas": 1,
        "maxReplicas": 20,
        "backlogPerSlot": 7,
        "drainWithinSeconds": 60,
        "maxMessageAgeSeconds": 120,
        "scaleUp": {"stabilizationSeconds": 1, "maxStep": 2, "maxPercent": 3},
        "scaleDown": {
            "idleSeconds": 4,
            "stabilizationSeconds": 5,
            "maxPercent": 6,
            "minRunSeconds": 7,
            "busyPolicy": "Drain",
        },
        "fallback": {"behavior": "AtLeast", "replicas": 8, "afterSeconds": 9},
    }
    assert Policy.of(_spec(scaling=scaling, replicas=4)) == Policy(
        mode="UpOnly",
        manual_replicas=4,
        min_replicas=1,
        max_replicas=20,
        concurrency=6,
        backlog_per_slot=7,
        drain_within_seconds=60,
        max_message_age_seconds=120,
        up_stabilization_seconds=1,
        up_max_step=2,
        up_max_percent=3,
        idle_seconds=4,
        down_stabilization_seconds=5,
        down_max_percent=6,
        min_run_seconds=7,
        drain_busy=True,
        fallback_replicas=8,
        fallback_after_seconds=9,
        max_in_flight_seconds=1800,
    )


def test_a_fallback_that_holds_has_no_number() -> None:
    spec = _spec(scaling={"fallback": {"behavior": "Hold", "replicas": 8}})
    assert Policy.of(spec).fallback_replicas is None


def test_the_defaults_are_those_of_the_resource() -> None:
    assert Policy.of(_spec()) == Policy(concurrency=6, max_in_flight_seconds=1800)


def _spec(**more: object):  # type: ignore[no-untyped-def]
    spec = {
        "redis": {"url": "redis://redis:6379"},
        "queue": {"maxInFlightSeconds": 1800},
        "worker": {"handler": "tasks:handle", "concurrency": 6},
        **more,
    }
    metadata = {"namespace": "default", "name": "emails", "uid": "1", "generation": 1}
    return parse(
        {"apiVersion": "redisqueue.dev/v1alpha1", "kind": "RedisQueue", "metadata": metadata, "spec": spec}
    ).spec
