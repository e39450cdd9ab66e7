"""Pods joined with what their workers last said: who is busy, who may go, and in which order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redisqueue_operator.decide.scaling.decision import Decision
    from redisqueue_operator.decide.scaling.policy import Policy
    from redisqueue_operator.observe.facts import Observation, PodObservation, WorkerObservation


class State(IntEnum):
    """What one live pod is doing, in the order in which pods are given up."""

    UNSTARTED = 0
    """Cannot hold a message: unschedulable, failing, or not ready and never reported."""
    RETIRED = 1
    """Idle, and told already to claim nothing."""
    IDLE = 2
    HUNG = 3
    """Its only handler runs for longer than any may."""
    UNKNOWN = 4
    """Runs, but has no fresh report: it may be busy."""
    BUSY = 5


@dataclass(frozen=True, slots=True)
class Member:
    """A live (not terminating) pod."""

    name: str
    ready: bool
    state: State
    age_seconds: float
    canary: bool = False


@dataclass(frozen=True, slots=True)
class LivePods:
    """The live pods, best victim first, and what still runs outside of them."""

    members: tuple[Member, ...]
    busy_slots: int
    """Slots that work in live pods."""
    draining_busy: int
    """Messages that terminating pods still work on: these need no other worker."""
    hung_in_seconds: float
    """Until the next handler of a live pod has run for longer than any may; infinite when none runs."""

    @classmethod
    def of(cls, observation: Observation, policy: Policy) -> LivePods:
        """Join pods and reports by pod uid (by name where a worker knows no uid)."""
        members: list[Member] = []
        busy_slots = draining_busy = 0
        hung_in = math.inf
        reports_of = reports_by_pod(observation)
        for pod in observation.pods:
            reports = reports_of.get(pod.uid) or reports_of.get(pod.name, [])
            fresh = [worker for worker in reports if worker.is_fresh]
            busy = sum(worker.busy for worker in fresh)
            if pod.terminating:
                draining_busy += busy
                continue
            busy_slots += busy
            hung_in = min(hung_in, *(_hung_in(worker, policy) for worker in fresh), math.inf)
            state = _state(pod, reports, fresh, policy)
            members.append(Member(pod.name, pod.ready, state, pod.age_seconds, pod.canary))
        # A ReplicaSet deletes pods that are not ready before it looks at any deletion cost.
        members.sort(key=lambda m: (m.canary, m.ready, m.state, m.age_seconds, m.name))
        return cls(tuple(members), busy_slots, draining_busy, hung_in)

    def count(self, *states: State) -> int:
        """How many live pods are in one of these states."""
        return sum(member.state in states for member in self.members)

    def removable(self, policy: Policy, in_flight: int, *, all_go: bool = False) -> tuple[Member, ...]:
        """The pods that may go now, best first. Canaries go only when all workers do: a trial needs them."""
        return tuple(
            member
            for member in self._candidates(policy, in_flight)
            if not _too_young(member, policy) and (all_go or not member.canary)
        )

    def unready_but_needed(self, policy: Policy, in_flight: int, *, all_go: bool) -> bool:
        """Whether a shrink would hit a pod that may not go: unready ones are a ReplicaSet's first choice.

        A canary that is not ready does no work yet, so nobody goes in its favour.
        """
        removable = self.removable(policy, in_flight, all_go=all_go)
        return any(not member.ready and member not in removable for member in self.members)

    def young_for_seconds(self, policy: Policy, in_flight: int) -> float:
        """Until the next pod that could go has run for `minRunSeconds`; infinite when none is too young."""
        young = (m for m in self._candidates(policy, in_flight) if _too_young(m, policy))
        return min((policy.min_run_seconds - m.age_seconds for m in young), default=math.inf)

    def _candidates(self, policy: Policy, in_flight: int) -> list[Member]:
        """A pod of unknown state counts as busy, unless there is no lease at all: then nobody is busy."""
        last = State.BUSY if policy.drain_busy else State.UNKNOWN if in_flight == 0 else State.HUNG
        return [member for member in self.members if member.state <= last]


def is_hung(worker: WorkerObservation, policy: Policy) -> bool:
    """Whether the worker's oldest handler runs for longer than any may."""
    age, limit = worker.oldest_start_age_seconds, policy.max_in_flight_seconds
    return worker.busy > 0 and age is not None and limit is not None and age > limit


def _hung_in(worker: WorkerObservation, policy: Policy) -> float:
    age, limit = worker.oldest_start_age_seconds, policy.max_in_flight_seconds
    if age is None or limit is None or age > limit:
        return math.inf
    return limit - age


def to_retire(decision: Decision, observation: Observation) -> tuple[str, ...]:
    """Worker ids that must accept `retire` before the shrink is safe: the victims that reported to be idle.

    The other victims never started, drain already, are hung, or have no report; there is nobody to ask.
    """
    names = set(decision.victims)
    victims = names | {pod.uid for pod in observation.pods if pod.name in names}
    return tuple(
        worker.id
        for worker in observation.workers
        if (worker.pod_uid or worker.id) in victims
        and worker.is_fresh
        and worker.busy == 0
        and not worker.draining
    )


def survivors(observation: Observation) -> tuple[str, ...]:
    """Worker ids that were told to claim nothing more, but whose pods stay: the shrink took other ones."""
    live = {name for pod in observation.pods if not pod.terminating for name in (pod.uid, pod.name)}
    pods = sum(not pod.terminating for pod in observation.pods)
    if observation.replicas is None or pods > observation.replicas:
        return ()  # the ReplicaSet has not chosen yet
    return tuple(w.id for w in observation.workers if w.retired and (w.pod_uid or w.id) in live)


def pod_failures(observation: Observation) -> list[str]:
    """Why live pods fail, as "reason: words": each reason once, in the words of one of them."""
    found = {pod.failing: pod.words for pod in observation.pods if pod.failing and not pod.terminating}
    return [f"{reason}: {words}" if words else reason for reason, words in sorted(found.items())]


def reports_by_pod(observation: Observation) -> dict[str, list[WorkerObservation]]:
    """Reports by pod uid, or by name where a worker knows no uid."""
    reports: dict[str, list[WorkerObservation]] = {}
    for worker in observation.workers:
        reports.setdefault(worker.pod_uid or worker.id, []).append(worker)
    return reports


def _state(
    pod: PodObservation, reports: list[WorkerObservation], fresh: list[WorkerObservation], policy: Policy
) -> State:
    busy = sum(worker.busy for worker in fresh)
    if busy:
        hung = sum(is_hung(worker, policy) for worker in fresh)
        # Only the oldest start is known: with a second handler beside the hung one, the pod does work.
        return State.HUNG if hung and busy <= hung else State.BUSY
    if pod.unschedulable or pod.failing or (not pod.ready and not reports):
        return State.UNSTARTED
    if not fresh or len(fresh) < len(reports):
        return State.UNKNOWN
    return State.RETIRED if all(worker.retired or worker.draining for worker in fresh) else State.IDLE


def _too_young(member: Member, policy: Policy) -> bool:
    return member.state is not State.UNSTARTED and member.age_seconds < policy.min_run_seconds
