"""Which pods are left on their nodes: those in which a handler has run for long. Pure.

What moves pods to save nodes asks each of them first whether it may (`KEEPS_NODE`). An idle worker may go at
any time, and one that has just begun loses little: only long work is worth a node that cannot be given back.
Each answer is a write, so it lasts for a while after the work has ended, and few are given at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from redisqueue_operator.decide.children.identity import KEEPS_NODE, PROTECTED
from redisqueue_operator.decide.scaling import Policy, is_hung, reports_by_pod
from redisqueue_operator.decide.status import EventRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redisqueue_operator.api.model import RedisQueue
    from redisqueue_operator.decide.look import Facts, Plan, Protection
    from redisqueue_operator.observe.facts import Observation, PodObservation, WorkerObservation

LONG_SECONDS = 60.0
"""A handler that has run for longer is worth a node."""
RELEASE_SECONDS = 120.0
"""A pod stays protected for that long after such a handler: many in a row are one write."""
MOST_AT_ONCE = 10
PACE_SECONDS = 2.0
"""From one such batch of a RedisQueue to the next."""
UNKNOWN_SECONDS = 5.0
"""A worker may tell of a handler before it tells since when it runs: its pod is looked at again."""
REASON = "ProtectionRefused"

Pod = tuple[str, str]
"""Name and uid."""


@dataclass(frozen=True, slots=True)
class PodChanges:
    """Whom to protect and whom no longer, what to remember, and in how many seconds to look again."""

    memory: Protection
    protect: tuple[Pod, ...] = ()
    release: tuple[Pod, ...] = ()
    again: float = math.inf


def with_protection(plan: Plan, facts: Facts, now: float) -> Plan:
    """The plan, and whose protection changes; that pods cannot be written to is told once."""
    memory, observation = plan.memory, facts.observation
    ours = memory.prior_claimant is None and memory.precedence.may_scale(memory.outcome, now)
    if not plan.sampled or observation is None or not ours:
        return plan
    judged = judge(observation, facts.rq, memory.protection, now)
    events, kept = plan.events, judged.memory
    if kept.hindrance is not None and kept.hindrance.message and not kept.told:
        events = (*events, EventRecord("Warning", REASON, kept.hindrance.message, "Protect"))
        kept = replace(kept, told=True)
    if judged == PodChanges(memory.protection) and events is plan.events:
        return plan
    again = min(plan.again, max(PACE_SECONDS / 2, judged.again))
    memory = replace(memory, protection=kept)
    found = replace(plan, memory=memory, events=events, again=again)
    return replace(found, protect=judged.protect, release=judged.release)


def judge(observation: Observation, rq: RedisQueue, memory: Protection, now: float) -> PodChanges:
    """Whom to protect now, the longest work first, and whom no longer; `now` is the engine's clock."""
    mode, names = rq.spec.worker.protect, annotations_of(rq, protect=True)
    pods = [pod for pod in observation.pods if pod.protected is not None]
    if mode == "Always" or not names or not pods:  # the template says it, or the user's own does
        return PodChanges(memory)
    policy, reports = Policy.of(rq.spec), reports_by_pod(observation)
    needed_at: dict[str, float] = {}
    missing: list[tuple[float, str, str]] = []
    spent: list[tuple[float, str, str]] = []
    again = math.inf
    for pod in pods:
        said = reports.get(pod.uid) or reports.get(pod.name, [])
        wait = _long_in(pod, said, policy, known=observation.queue is not None)
        if not pod.protected:
            if mode == "WhileBusy" and wait is None:
                again = min(again, UNKNOWN_SECONDS) if said else again
            elif mode == "WhileBusy" and wait is not None:
                missing += [(wait, pod.name, pod.uid)] if wait <= 0 else []
                again = min(again, wait) if wait > 0 else again
            continue
        needs = wait is None or wait <= 0
        needed_at[pod.uid] = now if needs else memory.needed_at.get(pod.uid, now)
        left = needed_at[pod.uid] + RELEASE_SECONDS - now if mode == "WhileBusy" else 0.0
        if left <= 0 and not pod.terminating:  # one that goes takes it along
            spent.append((needed_at[pod.uid], pod.name, pod.uid))
        elif left > 0:
            again = min(again, left)
    memory = memory if needed_at == memory.needed_at else replace(memory, needed_at=needed_at)
    return _paced(
        memory, [each[1:] for each in sorted(missing)], [each[1:] for each in sorted(spent)], again, now
    )


def _paced(
    memory: Protection, missing: Sequence[Pod], spent: Sequence[Pod], again: float, now: float
) -> PodChanges:
    """As many of them as may be written to now: work goes first."""
    if not missing and not spent:
        return PodChanges(memory, again=again)
    rest = memory.hindrance.until if memory.hindrance is not None else -math.inf
    wait = max(memory.written_at + PACE_SECONDS, rest) - now
    if wait > 0:
        return PodChanges(memory, again=min(again, wait))
    protect, release = missing[:MOST_AT_ONCE], spent[: max(0, MOST_AT_ONCE - len(missing))]
    written = replace(memory, written_at=now)
    return PodChanges(written, tuple(protect), tuple(release), min(again, PACE_SECONDS))


def _long_in(
    pod: PodObservation, said: Sequence[WorkerObservation], policy: Policy, *, known: bool
) -> float | None:
    """Seconds until a handler has run for long there, 0 or less when it has.

    Infinite when none runs, None when nobody knows. A handler that hangs is no work.
    """
    fresh = [worker for worker in said if worker.is_fresh]
    working = [
        worker for worker in fresh if worker.busy and not (is_hung(worker, policy) and worker.busy == 1)
    ]
    ages = [worker.oldest_start_age_seconds for worker in working]
    wait = LONG_SECONDS - max((age for age in ages if age is not None), default=-math.inf)
    if wait <= 0:
        return wait
    if not known or len(fresh) < len(said) or None in ages:
        return None
    works_not = pod.failing or pod.unschedulable or not pod.ready
    return wait if said or works_not else None


def annotations_of(rq: RedisQueue, *, protect: bool) -> dict[str, str | None]:
    """What a pod's annotations become when it is protected, or is so no longer; none to leave them alone.

    What the user's template says of one of them is not ours to change.
    """
    metadata: dict[str, Any] = rq.spec.worker.template.get("metadata") or {}
    theirs = metadata.get("annotations") or {}
    names = {name: value for name, value in KEEPS_NODE.items() if name not in theirs}
    marks = {**names, PROTECTED: "true"} if names else {}
    return {name: value if protect else None for name, value in marks.items()}
