"""How many workers the work asks for, and the word for it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from tests.support.observations import Story, fleet, once, pod, queue, seen, worker

from redisqueue_operator.decide.scaling import Policy

if TYPE_CHECKING:
    from redisqueue_operator.observe.facts import QueueObservation


@pytest.mark.parametrize(
    ("of", "policy", "wanted", "reason"),
    [
        (queue(), Policy(), 0, "Idle"),
        (queue(1), Policy(), 1, "Activation"),
        (queue(5), Policy(), 1, "Activation"),
        (queue(6), Policy(), 2, "BacklogPerSlot"),
        (queue(50), Policy(), 10, "BacklogPerSlot"),
        (queue(50), Policy(concurrency=5), 2, "BacklogPerSlot"),
        (queue(3), Policy(backlog_per_slot=1), 3, "BacklogPerSlot"),
        (queue(delayed=40), Policy(), 0, "Idle"),
        (queue(delayed=40, due=11), Policy(), 3, "BacklogPerSlot"),
        (queue(4, due=4, in_flight=4), Policy(), 3, "BacklogPerSlot"),
        (queue(in_flight=1), Policy(), 1, "BacklogPerSlot"),
        (queue(in_flight=1, expired=1), Policy(), 1, "Activation"),
        (queue(orphaned=9, failed=9, dead_letter=9), Policy(), 0, "Idle"),
        (queue(), Policy(min_replicas=2), 2, "MinReplicas"),
        (queue(999), Policy(max_replicas=3), 3, "BacklogPerSlot"),
        (queue(999), Policy(max_replicas=0), 0, "BacklogPerSlot"),
    ],
)
def test_need(of: QueueObservation, policy: Policy, wanted: int, reason: str) -> None:
    decision = once(seen(of), policy)
    assert (decision.to_replicas, decision.reason) == (wanted, reason)


def test_clamps_are_named() -> None:
    assert once(seen(queue(999)), Policy(max_replicas=3)).clamps == ("MaxReplicas",)
    assert once(seen(queue()), Policy(min_replicas=3)).clamps == ("MinReplicas",)
    assert once(seen(queue(20))).clamps == ()


def test_every_term_is_shown() -> None:
    decision = once(seen(queue(20)))
    assert [(term.name, term.value) for term in decision.terms] == [("BacklogPerSlot", 4), ("Activation", 1)]


def test_what_draining_pods_work_on_needs_no_new_worker() -> None:
    leaving = pod("leaving", ready=False, terminating=True)
    report = worker("leaving", 2, slots=2, draining=True)
    assert once(seen(queue(in_flight=2), [leaving], [report])).to_replicas == 0
    assert once(seen(queue(in_flight=8), [leaving], [report])).to_replicas == 2


def test_a_lease_whose_draining_owner_fell_silent_needs_a_worker() -> None:
    leaving = pod("leaving", ready=False, terminating=True)
    report = worker("leaving", 1, draining=True, age=11.0)
    assert once(seen(queue(in_flight=1), [leaving], [report])).to_replicas == 1


def test_an_expired_lease_wakes_a_worker_even_beside_a_draining_pod() -> None:
    leaving = pod("leaving", ready=False, terminating=True)
    report = worker("leaving", 1, draining=True)
    decision = once(seen(queue(in_flight=1, expired=1), [leaving], [report]))
    assert (decision.to_replicas, decision.reason) == (1, "Activation")


def test_recheck_when_the_next_message_is_due() -> None:
    assert once(seen(queue(delayed=1, next_due=12.5))).recheck_after_seconds == 12.5


def test_drain_within_counts_arrivals_and_backlog_against_the_measured_speed() -> None:
    """Four busy slots make 2 claims/s each, 16/s arrive, 240 wait and have 20 s: (16 + 240 / 20) / 2."""
    story = Story(Policy(drain_within_seconds=20, backlog_per_slot=1000, max_replicas=100))
    pods = [pod(f"p{n}") for n in range(4)]
    reports = [worker(f"p{n}", 1) for n in range(4)]
    for second in range(31):
        sample = queue(second * 8, in_flight=4, claims=second * 8, at=1000.0 + second)
        decision = story.at(float(second), seen(sample, pods, reports))
    assert decision.terms[-1].name == "DrainWithin"
    assert decision.terms[-1].value == 14
    assert (decision.to_replicas, decision.reason) == (14, "DrainWithin")


def test_drain_within_lets_go_when_nothing_arrives_any_more() -> None:
    """No sample has news of that, so the last decision has to ask for another look."""
    story = Story(Policy(drain_within_seconds=20, idle_seconds=30))
    for second in range(31):
        sample = queue(in_flight=1, claims=second, at=1000.0 + second)
        story.at(float(second), fleet(sample, busy=1))
    now, decision = 31.0, story.at(31.0, fleet(queue(claims=31, at=1031.0), idle=1))
    while decision.to_replicas == 1:
        assert decision.recheck_after_seconds < math.inf
        now += decision.recheck_after_seconds
        decision = story.at(now, fleet(queue(claims=31, at=1000.0 + now), idle=1))
    assert (decision.to_replicas, now) == (0, 61.0)


def test_drain_within_is_off_until_the_speed_is_known() -> None:
    decision = once(seen(queue(100)), Policy(drain_within_seconds=1))
    assert "DrainWithin" not in [term.name for term in decision.terms]


def _stuck(second: float, *, ready: int, replicas: int) -> object:
    pods = [pod(f"p{n}", ready=n < ready) for n in range(replicas)]
    reports = [worker(f"p{n}", 1) for n in range(ready)]
    return seen(queue(9, in_flight=ready, claims=0, at=1000.0 + second), pods, reports)


def test_message_age_adds_workers_up_to_twice_once_the_last_step_is_ready() -> None:
    story = Story(Policy(max_message_age_seconds=60, backlog_per_slot=100))
    early = story.at(0.0, _stuck(0.0, ready=2, replicas=2))
    assert (early.to_replicas, early.recheck_after_seconds) == (2, 60.0)
    late = story.at(90.0, _stuck(90.0, ready=2, replicas=2))
    assert (late.to_replicas, late.reason) == (3, "MessageAge")
    waiting = story.at(180.0, _stuck(180.0, ready=2, replicas=3))
    assert waiting.to_replicas == 3
    again = story.at(181.0, _stuck(181.0, ready=3, replicas=3))
    assert (again.to_replicas, again.recheck_after_seconds) == (6, 1.0)
