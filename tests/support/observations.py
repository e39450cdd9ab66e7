"""Observations in one line each, for tests of what is decided from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from redis_message_queue.stats import QueueSample
from redisqueue_operator.decide.scaling import Decision, History, Policy, decide
from redisqueue_operator.observe.facts import (
    Observation,
    PodObservation,
    QueueObservation,
    ServerObservation,
    WorkerObservation,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

HEALTHY = ServerObservation()
EMPTY_SAMPLE = QueueSample(
    pending=0,
    in_flight=0,
    expired=0,
    processing=0,
    completed=0,
    failed=0,
    dead_letter=0,
    delayed=0,
    delayed_due=0,
    next_due_seconds=None,
    next_expiry_seconds=None,
    claims_total=None,
    time_ms=1_000_000,
    workers=(),
)
"""What the library reads of a queue without work and without workers."""
OLD = 1000.0
"""Seconds: older than every limit of the default policy but the one for hung handlers."""


def queue(
    pending: int = 0,
    *,
    in_flight: int = 0,
    expired: int = 0,
    delayed: int = 0,
    due: int = 0,
    next_due: float | None = None,
    orphaned: int = 0,
    failed: int = 0,
    dead_letter: int = 0,
    claims: int | None = 0,
    at: float = 1000.0,
) -> QueueObservation:
    """One sample of a queue, taken `at` (seconds)."""
    return QueueObservation(
        pending=pending,
        delayed=delayed,
        delayed_due=due,
        next_due_seconds=next_due,
        in_flight=in_flight,
        expired=expired,
        orphaned=orphaned,
        failed=failed,
        dead_letter=dead_letter,
        claims_total=claims,
        time_ms=round(at * 1000),
    )


def pod(
    name: str,
    *,
    ready: bool = True,
    terminating: bool = False,
    age: float = OLD,
    unschedulable: bool = False,
    failing: str = "",
    canary: bool = False,
    words: str = "",
    outdated: bool = False,
    protected: bool | None = None,
) -> PodObservation:
    """A pod whose uid follows from its name."""
    return PodObservation(
        name=name,
        uid=f"uid-{name}",
        ready=ready,
        terminating=terminating,
        age_seconds=age,
        unschedulable=unschedulable,
        failing=failing,
        canary=canary,
        words=words,
        outdated=outdated,
        protected=protected,
    )


def worker(
    name: str,
    busy: int = 0,
    *,
    slots: int = 1,
    running: float | None = None,
    draining: bool = False,
    age: float = 0.5,
    retired: bool = False,
    tripped: bool = False,
    uid: str | None = None,
) -> WorkerObservation:
    """The report of the worker in the pod of the same name."""
    uid = f"uid-{name}" if uid is None else uid
    return WorkerObservation(name, uid, slots, busy, running, draining, age, retired, tripped)


def seen(
    of: QueueObservation | None,
    pods: Iterable[PodObservation] = (),
    workers: Iterable[WorkerObservation] = (),
    *,
    replicas: int | None = -1,
    ready: int | None = None,
    replica_sets: int = 1,
    canaries: int = 0,
    server: ServerObservation | None = HEALTHY,
    replica_failure: str = "",
    overdue: str = "",
    unmade: float = 0.0,
) -> Observation:
    """An observation; replicas and ready pods follow from the pods unless they are given."""
    pods = tuple(pods)
    live = [each for each in pods if not each.terminating]
    return Observation(
        queue=of,
        redis_reason="Connected" if of else "ConnectionRefused",
        redis_message="" if of else "Nothing accepts connections at Redis' address.",
        workers=tuple(workers),
        pods=pods,
        replicas=len(live) if replicas == -1 else replicas,
        ready_replicas=sum(each.ready for each in live) if ready is None else ready,
        active_replica_sets=replica_sets,
        canaries=canaries,
        server=server,
        replica_failure=replica_failure,
        overdue=overdue,
        unmade_seconds=unmade,
    )


def fleet(
    of: QueueObservation | None, *, busy: int = 0, idle: int = 0, age: float = OLD, replica_sets: int = 1
) -> Observation:
    """Ready pods `busy-0`, … with one message each, and `idle-0`, …, all with fresh reports."""
    names = {f"busy-{n}": 1 for n in range(busy)} | {f"idle-{n}": 0 for n in range(idle)}
    return seen(
        of,
        [pod(name, age=age) for name in names],
        [worker(name, count, running=1.0 if count else None) for name, count in names.items()],
        replica_sets=replica_sets,
    )


@dataclass
class Story:
    """Decisions in a row: each one gets the history of the one before."""

    policy: Policy = field(default_factory=Policy)
    history: History = field(default_factory=lambda: History.fresh(0.0))

    def at(self, now: float, observation: Observation) -> Decision:
        """Decide at this time, in seconds."""
        decision, self.history = decide(observation, self.policy, self.history, now)
        return decision


def once(observation: Observation, policy: Policy | None = None) -> Decision:
    """The first decision about a queue: nothing is remembered."""
    return Story(policy or Policy()).at(0.0, observation)


def settled(observation: Observation, policy: Policy | None = None) -> Decision:
    """The decision when the same was observed for longer than every window."""
    story = Story(policy or Policy())
    story.at(0.0, observation)
    return story.at(10_000.0, observation)
