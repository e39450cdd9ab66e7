"""What holds for every queue, fleet and policy."""

from __future__ import annotations

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.observations import Story, fleet, queue, seen

from redisqueue_operator.observation import (
    Observation,
    PodObservation,
    QueueObservation,
    WorkerObservation,
)
from redisqueue_operator.scaling import Decision, History, Policy, decide, explain

on_a_busy_machine = settings(deadline=None, max_examples=60)
counts = st.integers(0, 60)
modes = st.sampled_from(["Auto", "Paused", "UpOnly", "DownOnly", "DryRun", "External"])
maybe_count = st.none() | st.integers(1, 20)
policies = st.builds(
    Policy,
    mode=modes,
    manual_replicas=st.none(),
    min_replicas=st.integers(0, 5),
    max_replicas=st.integers(5, 25),
    concurrency=st.integers(1, 4),
    backlog_per_slot=st.integers(1, 6),
    drain_within_seconds=st.none() | st.floats(1, 100),
    max_message_age_seconds=st.none() | st.floats(1, 100),
    up_stabilization_seconds=st.sampled_from([0.0, 15.0]),
    up_max_step=maybe_count,
    up_max_percent=maybe_count,
    idle_seconds=st.sampled_from([0.0, 30.0]),
    down_stabilization_seconds=st.sampled_from([0.0, 60.0]),
    down_max_percent=maybe_count,
    min_run_seconds=st.sampled_from([0.0, 20.0]),
    drain_busy=st.booleans(),
    fallback_replicas=st.none() | st.integers(0, 9),
    fallback_after_seconds=st.sampled_from([0.0, 30.0]),
)


@st.composite
def queues(draw: st.DrawFn) -> QueueObservation:
    in_flight = draw(counts)
    due = draw(counts)
    return queue(
        draw(counts),
        in_flight=in_flight,
        expired=draw(st.integers(0, in_flight)),
        delayed=due + draw(counts),
        due=due,
        next_due=draw(st.none() | st.floats(0.1, 100)),
        claims=draw(st.none() | counts),
        at=draw(st.floats(1000, 1100)),
    )


@st.composite
def observations(draw: st.DrawFn, readable: st.SearchStrategy[bool] | None = None) -> Observation:
    pods, workers = [], []
    for n in range(draw(st.integers(0, 8))):
        name, ready = f"p{n}", draw(st.booleans())
        pods.append(
            PodObservation(
                name,
                f"uid-{name}",
                ready,
                draw(st.booleans()),
                draw(st.sampled_from([1.0, 1000.0])),
                not ready and draw(st.booleans()),
                draw(st.sampled_from(["", "", "CrashLoopBackOff"])),
            )
        )
        if draw(st.booleans()):
            busy = draw(st.integers(0, 3))
            age = draw(st.sampled_from([None, 5.0, 4000.0])) if busy else None
            fresh = draw(st.sampled_from([0.5, 30.0]))
            workers.append(
                WorkerObservation(
                    name,
                    f"uid-{name}",
                    4,
                    busy,
                    age,
                    draw(st.booleans()),
                    fresh,
                    not busy and draw(st.booleans()),
                )
            )
    known = draw(readable if readable is not None else st.booleans())
    return seen(
        draw(queues()) if known else None,
        pods,
        workers,
        replicas=draw(st.integers(0, 25)),
        replica_sets=draw(st.sampled_from([1, 1, 2])),
    )


def _later(observation: Observation, policy: Policy) -> Decision:
    story = Story(policy)
    story.at(0.0, observation)
    return story.at(10_000.0, observation)


@given(st.lists(observations(), min_size=1, max_size=6), policies)
@on_a_busy_machine
def test_between_the_bounds_or_on_the_way_to_them(row: list[Observation], policy: Policy) -> None:
    story = Story(policy)
    for step, observation in enumerate(row):
        decision = story.at(step * 7.0, observation)
        current = decision.from_replicas
        low, high = min(current, policy.min_replicas), max(current, policy.max_replicas)
        assert low <= decision.to_replicas <= high
        assert decision.recheck_after_seconds >= 0
        assert decision.changes or not decision.victims
        assert explain(decision, observation, policy)


@given(observations(st.just(True)))
@on_a_busy_machine
def test_a_shrink_takes_no_worker_that_may_hold_a_message(observation: Observation) -> None:
    live = sum(not pod.terminating for pod in observation.pods)
    observation = dataclasses.replace(observation, active_replica_sets=1, replicas=live)
    decision = _later(observation, Policy(backlog_per_slot=100))
    assert observation.queue is not None
    reports = {each.id: each for each in observation.workers}
    pods = {each.name: each for each in observation.pods}
    for name in decision.victims:
        pod, report = pods[name], reports.get(name)
        assert not pod.terminating
        if report is None:
            assert not pod.ready or pod.failing or observation.queue.in_flight == 0
        elif report.age_seconds <= 10:
            hung = report.busy == 1 and (report.oldest_start_age_seconds or 0) > 3600
            assert report.busy == 0 or hung
        else:
            assert pod.unschedulable or pod.failing or observation.queue.in_flight == 0
    assert len(decision.victims) <= max(0, live - decision.to_replicas)


@given(busy=st.integers(0, 12), idle=st.integers(0, 12), policy=policies)
@on_a_busy_machine
def test_never_below_the_busy_workers(busy: int, idle: int, policy: Policy) -> None:
    policy = dataclasses.replace(policy, drain_busy=False, max_in_flight_seconds=None)
    assert _later(fleet(queue(in_flight=busy), busy=busy, idle=idle), policy).to_replicas >= busy


@given(observations(st.just(True)), policies, st.integers(1, 100))
@on_a_busy_machine
def test_more_pending_never_means_fewer_workers(observation: Observation, policy: Policy, more: int) -> None:
    policy = dataclasses.replace(policy, mode="Auto", drain_within_seconds=None, max_message_age_seconds=None)
    assert observation.queue is not None
    fuller = dataclasses.replace(observation.queue, pending=observation.queue.pending + more)
    less = _later(observation, policy).to_replicas
    assert _later(dataclasses.replace(observation, queue=fuller), policy).to_replicas >= less


@given(
    st.lists(st.tuples(st.floats(0.1, 40), st.booleans()), min_size=1, max_size=20),
    st.sampled_from([0.0, 10.0, 60.0]),
)
@on_a_busy_machine
def test_zero_only_after_the_queue_was_empty_for_idle_seconds(
    steps: list[tuple[float, bool]], window: float
) -> None:
    story = Story(Policy(down_stabilization_seconds=window, min_run_seconds=0))
    now, empty_since = 0.0, None
    for pause, empty in steps:
        now += pause
        empty_since = (now if empty_since is None else empty_since) if empty else None
        decision = story.at(now, fleet(queue(0 if empty else 1), idle=1))
        if decision.to_replicas == 0:
            assert empty_since is not None
            assert now - empty_since >= 30.0


@given(st.lists(st.integers(0, 50), min_size=2, max_size=20), st.floats(0.1, 20))
@on_a_busy_machine
def test_no_flapping_inside_the_window(pendings: list[int], pause: float) -> None:
    """Replicas follow every decision at once: then no number is left again before the window has passed."""
    story, replicas, raised_at = Story(Policy(min_run_seconds=0, max_replicas=50)), 0, -1000.0
    for step, pending in enumerate(pendings):
        now = step * pause
        decision = story.at(now, fleet(queue(pending), idle=replicas))
        if decision.to_replicas > replicas:
            raised_at = now
        elif decision.to_replicas < replicas:
            assert now - raised_at >= 60.0
        replicas = decision.to_replicas


@given(st.lists(observations(st.just(False)), min_size=1, max_size=6), policies)
@on_a_busy_machine
def test_unknown_holds_or_raises(row: list[Observation], policy: Policy) -> None:
    story = Story(policy)
    for step, observation in enumerate(row):
        decision = story.at(step * 1000.0, observation)
        assert decision.to_replicas >= decision.from_replicas


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
