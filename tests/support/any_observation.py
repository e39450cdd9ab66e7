"""Any queue, fleet and policy, for hypothesis."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from tests.support.observations import queue, seen

from redisqueue_operator.decide.scaling import Policy
from redisqueue_operator.decide.scaling.limits import Limits
from redisqueue_operator.observe.facts import (
    Observation,
    PodObservation,
    QueueObservation,
    WorkerObservation,
)

on_a_busy_machine = settings(deadline=None, max_examples=60)
counts = st.integers(0, 60)
modes = st.sampled_from(["Auto", "Paused", "UpOnly", "DownOnly", "DryRun", "External"])
maybe_count = st.none() | st.integers(1, 20)
limits = st.builds(
    Limits,
    st.none() | st.sampled_from([0.1, 1.0, 50.0]),
    st.none() | st.integers(1, 30),
    st.none() | st.integers(1, 60),
)
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
    limits=limits,
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
                draw(st.sampled_from([False, False, True])),
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
