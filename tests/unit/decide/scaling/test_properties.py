"""What holds for every queue, fleet and policy, at any one decision."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from tests.support.any_observation import observations, on_a_busy_machine, policies, queues
from tests.support.observations import Story, fleet, once, queue, seen

from redisqueue_operator.decide.scaling import Decision, History, Policy, decide, explain
from redisqueue_operator.observe.facts import FRESH_SECONDS

if TYPE_CHECKING:
    from redisqueue_operator.observe.facts import Observation, QueueObservation

readable = observations(st.just(True))
unreadable = observations(st.just(False))
rows = st.lists(observations(), min_size=1, max_size=6)


def _story(row: list[Observation], policy: Policy, pause: float = 7.0) -> list[Decision]:
    story = Story(policy)
    return [story.at(step * pause, observation) for step, observation in enumerate(row)]


def _later(observation: Observation, policy: Policy) -> Decision:
    story = Story(policy)
    story.at(0.0, observation)
    return story.at(10_000.0, observation)


@given(rows, policies)
@on_a_busy_machine
def test_between_the_bounds_or_on_the_way_to_them(row: list[Observation], policy: Policy) -> None:
    for decision in _story(row, policy):
        current = decision.from_replicas
        low, high = min(current, policy.min_replicas), max(current, policy.max_replicas)
        assert low <= decision.to_replicas <= high
        assert low <= decision.wanted_replicas <= high
        assert decision.recheck_after_seconds >= 0


@given(rows, policies)
@on_a_busy_machine
def test_modes_bound_the_direction(row: list[Observation], policy: Policy) -> None:
    for decision in _story(row, policy):
        step = decision.to_replicas - decision.from_replicas
        assert step >= 0 or policy.mode in ("Auto", "DownOnly")
        assert step <= 0 or policy.mode in ("Auto", "UpOnly")


@given(rows, policies, st.integers(0, 30))
@on_a_busy_machine
def test_a_persons_number_is_written_and_the_rules_go_on_to_advise(
    row: list[Observation], policy: Policy, number: int
) -> None:
    by_hand = _story(row, dataclasses.replace(policy, manual_replicas=number))
    advised = _story(row, dataclasses.replace(policy, mode="External"))
    assert {decision.to_replicas for decision in by_hand} == {number}
    assert [each.wanted_replicas for each in by_hand] == [each.wanted_replicas for each in advised]


@given(rows, policies)
@on_a_busy_machine
def test_a_held_number_says_by_what_and_every_decision_can_be_explained(
    row: list[Observation], policy: Policy
) -> None:
    for decision, observation in zip(_story(row, policy), row, strict=True):
        if decision.to_replicas != decision.wanted_replicas:
            assert decision.blocked_by
        assert explain(decision, observation, policy)


@given(readable, policies)
@on_a_busy_machine
def test_a_shrink_takes_no_worker_that_may_hold_a_message(observation: Observation, policy: Policy) -> None:
    live = {pod.name: pod for pod in observation.pods if not pod.terminating}
    observation = dataclasses.replace(observation, replicas=len(live))
    decision = _later(observation, dataclasses.replace(policy, drain_busy=False, max_replicas=25))
    assert observation.queue is not None
    reports = {each.id: each for each in observation.workers}
    for name in decision.victims:
        pod, report = live[name], reports.get(name)
        if report is not None and report.age_seconds <= FRESH_SECONDS:
            hung = report.busy == 1 and (report.oldest_start_age_seconds or 0) > 3600
            assert report.busy == 0 or hung
        elif report is not None:
            assert pod.unschedulable or pod.failing or observation.queue.in_flight == 0
        else:
            assert not pod.ready or pod.failing or observation.queue.in_flight == 0
    assert len(decision.victims) <= max(0, len(live) - decision.to_replicas)
    assert decision.changes or not decision.victims


@given(readable, policies)
@on_a_busy_machine
def test_a_shrink_leaves_as_many_as_may_be_busy(observation: Observation, policy: Policy) -> None:
    """Busy are those that say so, and those that say nothing while there are leases; hung ones are not."""
    policy = dataclasses.replace(policy, drain_busy=False, max_in_flight_seconds=None)
    decision = _later(observation, policy)
    assert observation.queue is not None
    fresh = {each.id: each for each in observation.workers if each.age_seconds <= FRESH_SECONDS}
    live = [pod for pod in observation.pods if not pod.terminating]
    busy = sum(pod.name in fresh and fresh[pod.name].busy > 0 for pod in live)
    floor = min(busy, observation.queue.in_flight, decision.from_replicas)
    assert decision.to_replicas >= floor


@given(busy=st.integers(0, 12), idle=st.integers(0, 12), policy=policies)
@on_a_busy_machine
def test_never_below_the_busy_workers(busy: int, idle: int, policy: Policy) -> None:
    policy = dataclasses.replace(policy, drain_busy=False, max_in_flight_seconds=None)
    assert _later(fleet(queue(in_flight=busy), busy=busy, idle=idle), policy).to_replicas >= busy


@given(st.lists(observations(), max_size=4), readable, policies, st.integers(1, 100))
@on_a_busy_machine
def test_more_pending_never_means_fewer_workers(
    before: list[Observation], observation: Observation, policy: Policy, more: int
) -> None:
    """Whatever happened before. Rates aside: of a backlog that jumps they say that much arrives, too."""
    policy = dataclasses.replace(policy, drain_within_seconds=None, max_message_age_seconds=None)
    assert observation.queue is not None
    fuller = dataclasses.replace(observation.queue, pending=observation.queue.pending + more)
    less = _story([*before, observation], policy)[-1]
    much = _story([*before, dataclasses.replace(observation, queue=fuller)], policy)[-1]
    assert much.to_replicas >= less.to_replicas
    assert much.wanted_replicas >= less.wanted_replicas


@given(rows, policies)
@on_a_busy_machine
def test_zero_only_when_there_is_nothing_to_do(row: list[Observation], policy: Policy) -> None:
    for decision, observation in zip(_story(row, policy, pause=100.0), row, strict=True):
        if decision.changes and decision.to_replicas == 0:
            of = observation.queue
            assert of is not None
            assert (of.pending, of.delayed_due, of.in_flight, of.expired) == (0, 0, 0, 0)


@given(st.lists(unreadable, min_size=1, max_size=6), policies)
@on_a_busy_machine
def test_unknown_holds_or_raises_and_the_fallback_is_a_floor(row: list[Observation], policy: Policy) -> None:
    for decision in _story(row, policy, pause=1000.0):
        floors = min(max(policy.min_replicas, policy.fallback_replicas or 0), policy.max_replicas)
        current = decision.from_replicas
        assert current <= decision.to_replicas <= max(current, floors)
        assert decision.victims == ()


@given(observations(), policies)
@on_a_busy_machine
def test_a_lost_history_shrinks_nothing(observation: Observation, policy: Policy) -> None:
    """A restart, or another leader: but a lowered maximum applies at once."""
    policy = dataclasses.replace(policy, idle_seconds=30.0, down_stabilization_seconds=60.0)
    decision = once(observation, policy)
    assert decision.to_replicas >= min(decision.from_replicas, policy.max_replicas)


@given(queues(), policies)
@on_a_busy_machine
def test_one_write_from_zero_to_the_need(of: QueueObservation, policy: Policy) -> None:
    policy = dataclasses.replace(policy, mode="Auto", up_stabilization_seconds=0, up_max_step=None)
    decision, history = decide(seen(of, replicas=0), policy, History.fresh(0.0), 0.0)
    assert decision.to_replicas == decision.wanted_replicas
    again, _ = decide(seen(of, replicas=decision.to_replicas), policy, history, 1.0)
    assert not again.changes


@given(observations(), policies)
@on_a_busy_machine
def test_the_same_facts_give_the_same_decision(observation: Observation, policy: Policy) -> None:
    history = History.fresh(0.0)
    assert decide(observation, policy, history, 1.0) == decide(observation, policy, history, 1.0)


@given(rows, policies)
@on_a_busy_machine
def test_canaries_go_only_when_all_go(row: list[Observation], policy: Policy) -> None:
    for observation, decision in zip(row, _story(row, policy), strict=True):
        canaries = {pod.name for pod in observation.pods if pod.canary}
        assert decision.to_replicas == 0 or not canaries & set(decision.victims)
