"""Growing: at once by default, within the limits that were asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.observations import Story, fleet, once, pod, queue, seen, settled, worker

from redisqueue_operator.decide.scaling import STEP_SECONDS, Policy

if TYPE_CHECKING:
    from redisqueue_operator.observe.facts import PodObservation


HOLD = Policy(hold_unschedulable=True)


def test_from_zero_to_the_whole_need_in_one_write() -> None:
    decision = once(seen(queue(500), replicas=0), Policy(max_replicas=100))
    assert (decision.from_replicas, decision.to_replicas, decision.blocked_by) == (0, 100, "")


def test_more_work_adds_workers_at_once() -> None:
    story = Story(Policy(max_replicas=100))
    assert not story.at(0.0, fleet(queue(2, in_flight=3), busy=1)).changes
    assert story.at(0.2, fleet(queue(97, in_flight=3), busy=1)).to_replicas == 20


def test_max_step_bounds_the_growth_of_any_ten_seconds() -> None:
    story = Story(Policy(max_replicas=100, up_max_step=3))
    first = story.at(0.0, seen(queue(999), replicas=0))
    assert (first.to_replicas, first.wanted_replicas) == (3, 100)
    assert (first.clamps, first.blocked_by) == (("MaxReplicas", "MaxStep"), "MaxStep")
    assert first.recheck_after_seconds == STEP_SECONDS
    soon = story.at(4.0, seen(queue(500), replicas=3))
    assert (soon.to_replicas, soon.recheck_after_seconds) == (3, STEP_SECONDS)
    again = story.at(4.0 + STEP_SECONDS, seen(queue(500), replicas=3))
    assert again.to_replicas == 6


@pytest.mark.parametrize(
    ("replicas", "percent", "to"), [(0, 50, 10), (1, 50, 2), (4, 50, 6), (4, 100, 8), (7, 10, 8)]
)
def test_max_percent_of_those_that_run_at_least_one(replicas: int, percent: int, to: int) -> None:
    decision = once(seen(queue(500), replicas=replicas), Policy(up_max_percent=percent))
    assert decision.to_replicas == to


def test_the_tighter_of_step_and_percent_wins() -> None:
    policy = Policy(max_replicas=100, up_max_step=3, up_max_percent=50)
    assert once(seen(queue(500), replicas=4), policy).to_replicas == 6
    assert once(seen(queue(500), replicas=20), policy).to_replicas == 23


def test_up_stabilization_wants_a_lasting_need() -> None:
    story = Story(Policy(up_stabilization_seconds=30))
    story.at(0.0, fleet(queue(1, in_flight=1), busy=1))
    burst = fleet(queue(49, in_flight=1), busy=1)
    held = story.at(10.0, burst)
    assert (held.to_replicas, held.blocked_by) == (1, "StabilizationWindow")
    assert held.recheck_after_seconds == 30.0
    assert story.at(39.0, burst).to_replicas == 1
    assert story.at(40.0, burst).to_replicas == 10


def test_a_dip_starts_the_up_window_again() -> None:
    story = Story(Policy(up_stabilization_seconds=30))
    burst, calm = fleet(queue(49, in_flight=1), busy=1), fleet(queue(1, in_flight=1), busy=1)
    story.at(0.0, burst)
    story.at(20.0, calm)
    story.at(21.0, burst)
    assert story.at(45.0, burst).to_replicas == 1
    assert story.at(51.0, burst).to_replicas == 10


def test_waking_up_waits_for_no_window() -> None:
    story = Story(Policy(up_stabilization_seconds=30))
    story.at(0.0, seen(queue(), replicas=0))
    assert story.at(1.0, seen(queue(50), replicas=0)).to_replicas == 1


def test_no_growth_while_the_cluster_has_no_room() -> None:
    pods = [pod("a"), pod("b", ready=False, unschedulable=True)]
    decision = once(seen(queue(50), pods, [worker("a")]), HOLD)
    assert (decision.to_replicas, decision.blocked_by) == (2, "UnschedulablePods")


def test_by_default_a_node_autoscaler_hears_of_all_pods_that_are_missing() -> None:
    pods = [pod("a"), pod("b", ready=False, unschedulable=True)]
    decision = once(seen(queue(50), pods, [worker("a")]))
    assert (decision.to_replicas, decision.blocked_by) == (10, "")


@pytest.mark.parametrize(
    "elsewhere",
    [
        pod("b", ready=False, unschedulable=True, outdated=True),
        pod("b", ready=False, unschedulable=True, canary=True),
        pod("b", ready=False, unschedulable=True, age=1.0),
    ],
)
def test_pods_of_another_template_and_new_ones_hold_nothing(elsewhere: PodObservation) -> None:
    assert once(seen(queue(50), [pod("a"), elsewhere], [worker("a")], replica_sets=2), HOLD).to_replicas == 10


QUOTA = 'pods "mails-worker-7d4" is forbidden: exceeded quota: few'


def test_no_growth_while_no_pod_can_be_created() -> None:
    refused = seen(queue(50), [pod("a")], [worker("a")], replicas=2, replica_failure=QUOTA)
    decision = once(refused)
    assert (decision.to_replicas, decision.blocked_by) == (2, "ReplicaFailure")
    unreadable = seen(None, [pod("a")], replicas=2, replica_failure=QUOTA)
    assert once(unreadable, Policy(min_replicas=4)).to_replicas == 2


def test_a_refusal_blocks_nothing_once_every_pod_is_there() -> None:
    """What is told of a pod that could not be deleted, or of one that has been made meanwhile."""
    assert once(seen(queue(50), [pod("a")], [worker("a")], replica_failure=QUOTA)).to_replicas == 10


def test_a_refusal_blocks_no_shrink_and_no_person() -> None:
    refused = seen(queue(), [pod("a")], [worker("a")], replicas=3, replica_failure=QUOTA)
    assert settled(refused).to_replicas == 0
    assert once(refused, Policy(manual_replicas=5)).to_replicas == 5


def test_a_terminating_pod_without_a_node_blocks_nothing() -> None:
    leaving = pod("b", ready=False, unschedulable=True, terminating=True)
    assert once(seen(queue(50), [pod("a"), leaving], [worker("a")]), HOLD).to_replicas == 10


def test_growth_is_free_during_a_rollout() -> None:
    assert once(seen(queue(50), [pod("a")], [worker("a")], replica_sets=2)).to_replicas == 10


def test_without_a_deployment_there_is_nothing_to_scale() -> None:
    decision = once(seen(queue(50), replicas=None))
    assert (decision.changes, decision.reason) == (False, "DeploymentMissing")
