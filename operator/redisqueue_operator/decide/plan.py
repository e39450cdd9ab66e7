"""What one look at a RedisQueue leads to: what is seen, what is remembered, and the time → a Plan. Pure.

A plan either changes something or tells about it: what was changed, or could not be, is remembered, and told
by the plan of the next look. So a status never says more than what was seen.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from redisqueue_operator.api.objects import annotation_of, conditions_of
from redisqueue_operator.decide.attempt import RETRY_SECONDS
from redisqueue_operator.decide.canary import Stage, trial
from redisqueue_operator.decide.children import plan as children_plan
from redisqueue_operator.decide.children.identity import OPERATOR
from redisqueue_operator.decide.ended_workers import with_ended_workers
from redisqueue_operator.decide.finalizer import is_held, may_go, messages_left, refused, shall_be_held
from redisqueue_operator.decide.look import LONG_AGO, NO_SPEC, Facts, Memory, Now, Object, Plan, Scale
from redisqueue_operator.decide.protection import with_protection
from redisqueue_operator.decide.queue_conflict import claimant_of, conflict_message, owners_of, prior_of
from redisqueue_operator.decide.scaling import Policy, decide, survivors, to_retire
from redisqueue_operator.decide.status import (
    EventRecord,
    build_status,
    events_between,
    remarks,
    worth_writing,
)
from redisqueue_operator.decide.status.conditions import unmade_in_seconds
from redisqueue_operator.decide.version_skew import ANSWER_SECONDS, FOREIGN
from redisqueue_operator.errors import Conflict
from redisqueue_operator.observe.facts import REMARKS, ApplyOutcome

if TYPE_CHECKING:
    from collections.abc import Collection

    from redisqueue_operator.api.model import RedisQueue, Spec
    from redisqueue_operator.decide.queue_conflict import Claimant
    from redisqueue_operator.decide.scaling import Decision
    from redisqueue_operator.observe.facts import ChildrenSeen, Fleet, Observation

SOONEST_SECONDS = 0.05
DELETION_LOOK_SECONDS = 0.5
LOOK_SECONDS = 1.0
"""The status of a busy queue is looked at this often."""
UNTOLD_SECONDS = 30.0
"""Who waits for room for its status is called when there is some, and looks by itself after that time."""
SETTLE_SECONDS = 2.0
"""From a shrink until it shows whom it took."""


def is_looked_at(rq: RedisQueue, memory: Memory, now: float, failed: Collection[str] = ()) -> bool:
    """Whether what belongs to the object is to be seen: not while it leaves, nor before it is held."""
    if rq.deletion and not is_held(rq):
        return False
    return is_held(rq) == shall_be_held(rq) or _is_barred("finalizer", memory, now, failed)


def plan_of(facts: Facts, memory: Memory, now: Now, failed: Collection[str] = ()) -> Plan:
    """What to do now; `failed` are the steps that were tried and refused at this very look."""
    plan = with_ended_workers(_plan_of(facts, memory, now, failed), facts, now.clock)
    plan = with_protection(plan, facts, now.clock)
    tried = (plan.memory.attempt(step) for step in ("finalizer", "children"))
    waits = [max(SOONEST_SECONDS, each.until - now.clock) for each in tried if each.error is not None]
    return replace(plan, again=min(plan.again, *waits)) if waits else plan


def _plan_of(facts: Facts, memory: Memory, now: Now, failed: Collection[str]) -> Plan:
    rq = facts.rq
    if "status" in failed:
        return _of_refused_status(memory)
    if facts.problem:
        return _of_unusable(facts, memory, now, failed)
    if rq.deletion and not is_held(rq):
        return Plan(memory, sampled=False)  # on its way out: touch nothing that runs
    if not is_looked_at(rq, memory, now.clock, failed):
        return Plan(memory, finalizer=shall_be_held(rq), again=0)
    if is_held(rq) == shall_be_held(rq) and not rq.deletion:
        memory = memory.after("finalizer")
    assert facts.children is not None  # noqa: S101  (it is looked at)
    prior_claimant = _prior_claimant(facts, memory)
    judged = _judged(facts, memory, prior_claimant, now)
    if judged.writes is None:
        memory = memory.after("children")
    outcome = _with_refusals(rq, memory, judged.outcome)
    precedence = memory.precedence.after(outcome, facts.raw.get("status"), now.clock)
    memory = replace(
        memory, outcome=outcome, children=judged.known, precedence=precedence, prior_claimant=prior_claimant
    )
    again = math.inf if precedence.may_scale(outcome, now.clock) else ANSWER_SECONDS
    if memory.yields(now.clock):
        again = min(again, precedence.yields_until - now.clock)
        return Plan(memory, sampled=False, again=again)
    if outcome.reason == FOREIGN and precedence.may_scale(outcome, now.clock):
        return _take_over(facts.children, memory)
    if judged.writes is not None and not _is_barred("children", memory, now.clock, failed):
        return Plan(memory, children=judged.writes, again=0)
    return _of_numbers(facts, memory, judged, now, failed, again)


def _is_barred(step: str, memory: Memory, now: float, failed: Collection[str]) -> bool:
    """Whether that was refused a moment ago, and is not tried again yet."""
    return step in failed or memory.attempt(step).waits(now)


def _of_unusable(facts: Facts, memory: Memory, now: Now, failed: Collection[str]) -> Plan:
    """The spec says nothing usable: touch nothing that runs, and say why."""
    outcome = replace(NO_SPEC, message=facts.problem)
    if facts.rq.deletion and is_held(facts.rq):
        if not _is_barred("finalizer", memory, now.clock, failed):
            return Plan(memory, sampled=False, finalizer=False)
        if (error := memory.attempt("finalizer").error) is not None:
            outcome = replace(refused(facts.rq, error), ok=False)
    memory = replace(memory, outcome=outcome, decision=None, observation=None)
    return replace(_told(facts, memory, now, math.inf), sampled=False)


def _of_refused_status(memory: Memory) -> Plan:
    """The status cannot be written: where that lasts, an Event says so once, and the work goes on."""
    attempt = memory.attempt("status")
    if attempt.error is None or attempt.announced:
        return Plan(memory, again=RETRY_SECONDS)
    reason = "StatusConflict" if isinstance(attempt.error, Conflict) else "StatusRefused"
    text = f"The status is not what is the case, it cannot be written: {attempt.error}"
    memory = memory.after("status", replace(attempt, announced=True))
    return Plan(memory, events=(EventRecord("Warning", reason, text, "Report"),), again=RETRY_SECONDS)


def _with_refusals(rq: RedisQueue, memory: Memory, outcome: ApplyOutcome) -> ApplyOutcome:
    """The outcome, or that the children cannot be written, or, where all else is well, the finalizer."""
    children, finalizer = memory.attempt("children").error, memory.attempt("finalizer").error
    if isinstance(children, Conflict):
        text = f"Something else changes the children all the time: {children}"
        return ApplyOutcome(False, "ApplyConflict", text)
    if children is not None:
        return ApplyOutcome(False, "ApplyRefused", str(children))
    return refused(rq, finalizer) if finalizer is not None and outcome.ok else outcome


def _prior_claimant(facts: Facts, memory: Memory) -> Claimant | None:
    """Who has the older right to the queue."""
    if facts.sample is None or isinstance(facts.sample, Exception):
        return memory.prior_claimant  # unknown: as it was
    pods = {pod.uid for pod in facts.fleet.pods} if facts.fleet else set()
    owners = owners_of(facts.sample, facts.rq.uid, pods)
    if memory.prior_claimant is None and owners <= {facts.rq.uid}:
        return None
    return prior_of(claimant_of(facts.rq), owners, facts.claimants, memory.prior_claimant)


def _judged(facts: Facts, memory: Memory, prior_claimant: Claimant | None, now: Now) -> children_plan.Judged:
    """How the children are, unless somebody has the older right to the queue, or the object leaves."""
    assert facts.children is not None  # noqa: S101  (it is looked at)
    if prior_claimant is not None:
        conflict = ApplyOutcome(False, "Conflict", conflict_message(prior_claimant))
        return children_plan.Judged(conflict, memory.children)
    if facts.rq.deletion:  # what runs may go on; nothing new is made for an object that leaves
        text = "The queue is emptied first, as deletionPolicy says."
        return children_plan.Judged(ApplyOutcome(True, "Deleting", text), memory.children)
    return children_plan.judge(facts.rq, facts.children, memory.rollout, memory.children, now.clock)


def _take_over(children: ChildrenSeen, memory: Memory) -> Plan:
    """The operator that wrote the children is not at work any more: they are ours to write."""
    author = annotation_of(children.workers, OPERATOR) if children.workers is not None else ""
    return Plan(replace(memory, children=replace(memory.children, applied=None, gone=author)), again=0)


def _of_numbers(
    facts: Facts,
    memory: Memory,
    judged: children_plan.Judged,
    now: Now,
    failed: Collection[str],
    again: float,
) -> Plan:
    """The children are as they are: how many workers, and how the trial of a template goes on."""
    assert facts.fleet is not None  # noqa: S101  (it is looked at)
    assert facts.observation is not None  # noqa: S101  (it is looked at)
    fleet, observation = facts.fleet, facts.observation
    if memory.unreturned is not None:
        observation = replace(observation, unreturned=memory.unreturned.message)
    if judged.stage is Stage.PROMOTE:
        fleet = fleet.without_canary()
        observation = fleet.seen_in(observation)
    policy = Policy.of(facts.rq.spec, now.wall, facts.ceiling)
    decision, history = decide(observation, policy, memory.history, now.clock)
    waits = memory.hindrance is not None and now.clock < memory.hindrance.until
    barred = waits or "scale" in failed or "recall" in failed
    if decision.changes and (not_ours := memory.not_ours(now.clock)):
        decision = decision.refused(not_ours)
    elif decision.changes and barred:
        decision = decision.refused()
    elif decision.changes and "retire" in failed:
        decision = decision.refused("BusyWorkers")
    memory = replace(memory, history=history, observation=observation, decision=decision)
    again = min(again, _recheck(facts, memory, decision, judged.stage, now))
    if facts.rq.deletion:
        memory = _with_deletion(memory, observation)
        if (end := _of_deletion(facts, memory, observation, now, failed)) is not None:
            return end
        again = min(again, DELETION_LOOK_SECONDS)
    before = memory.rollout
    if memory.outcome.ok and observation.redis_reason:  # else nothing can be told yet
        memory = _after_trial(facts, memory, judged, fleet, decision, now)
    if trial.is_a_step(before, memory.rollout):  # it is written down before anything is done about it
        return _told(facts, replace(memory, looked_at=LONG_AGO), now, 0.0, failed)
    if barred:
        return _told(facts, memory, now, again, failed)
    if (scale := _scale(facts, memory, fleet, decision, judged.stage, now)) is not None:
        shrinks = scale.decision is not None and decision.to_replicas < decision.from_replicas
        retire = to_retire(decision, observation) if shrinks else ()
        return Plan(memory, retire=retire, scale=scale, again=0)
    return _of_settled(facts, memory, observation, now, failed, again)


def _of_deletion(
    facts: Facts, memory: Memory, observation: Observation, now: Now, failed: Collection[str]
) -> Plan | None:
    """Let the object go; None while its deletion waits."""
    why = may_go(facts.rq, observation, memory.deletion_seen_ms or 0, now.wall)
    if not why or _is_barred("finalizer", memory, now.clock, failed):
        return None
    applied = memory.children.applied
    made = applied is not None and applied.outcome.ok
    left = None if memory.deletion_reported else messages_left(observation, made=made)
    return Plan(memory, events=(left,) if left else (), finalizer=False, why=why)


def _of_settled(
    facts: Facts, memory: Memory, observation: Observation, now: Now, failed: Collection[str], again: float
) -> Plan:
    """The number is as it shall be: whom a shrink has spared claims again, and all is told."""
    recall = survivors(observation)
    settles_in = memory.scaled_at + SETTLE_SECONDS - now.clock
    if recall and settles_in > 0:
        recall, again = (), min(again, settles_in)
    memory = memory if memory.hindrance is None else replace(memory, hindrance=None)
    plan = _told(facts, memory.after("scale"), now, again, failed)
    return replace(plan, recall=recall) if recall else plan


def _in_force(facts: Facts, now: Now) -> Spec:
    """The spec with the bounds of its schedules, and no more workers than its budget leaves it."""
    spec, ceiling = facts.rq.spec, facts.ceiling
    if not spec.scaling.schedules and ceiling is None:
        return spec
    has = facts.fleet.replicas if facts.fleet is not None else None
    return Policy.of(spec, now.wall, ceiling).bounding(spec, has or 0)


def _after_trial(
    facts: Facts, memory: Memory, judged: children_plan.Judged, fleet: Fleet, decision: Decision, now: Now
) -> Memory:
    """With what a look at the canaries has shown."""
    if judged.versions is None:
        return memory
    rollout = trial.look(
        _in_force(facts, now),
        memory.rollout,
        judged.stage,
        judged.versions,
        fleet=fleet,
        decision=decision,
        sample=facts.sample,
        wall=now.wall,
    )
    return memory if rollout is memory.rollout else replace(memory, rollout=rollout)


def _with_deletion(memory: Memory, observation: Observation) -> Memory:
    """With the moment in which the deletion was first seen."""
    if memory.deletion_seen_ms is not None:
        return memory
    return replace(memory, deletion_seen_ms=observation.queue.time_ms if observation.queue else 0)


def _recheck(facts: Facts, memory: Memory, decision: Decision, stage: Stage, now: Now) -> float:
    """Time alone can change the answer, and so can a Secret."""
    looks = trial.LOOK_SECONDS if stage is Stage.CANARY else math.inf
    hindered = memory.hindrance.until - now.clock if memory.hindrance else math.inf
    unmade = unmade_in_seconds(memory.observation) if memory.observation else math.inf
    soonest = min(decision.recheck_after_seconds, facts.settings_for, looks, hindered, unmade)
    return max(SOONEST_SECONDS, min(soonest, memory.outcome.again_after_seconds))


def _scale(
    facts: Facts, memory: Memory, fleet: Fleet, decision: Decision, stage: Stage, now: Now
) -> Scale | None:
    """The change of the number of workers that was decided and is ours to make; else canaries that miss."""
    spec = _in_force(facts, now)
    if decision.changes:
        percent = trial.percent_of(spec, stage)
        by_hand = spec.replicas is not None
        split = trial.placed(fleet, decision.to_replicas, decision.victims, percent, by_hand=by_hand)
        return Scale(fleet, split, decision.victims, decision, percent)
    if not memory.outcome.ok or memory.observation is None or memory.observation.queue is None:
        return None  # without the need nobody knows how many canaries are missing
    split_up = trial.with_missing(spec, stage, fleet, decision)
    return None if split_up is None else Scale(fleet, split_up)


def _told(facts: Facts, memory: Memory, now: Now, again: float, failed: Collection[str] = ()) -> Plan:
    """Status and Events, when they are worth a write."""
    unread = memory.observation is not None and not memory.observation.redis_reason
    if unread and memory.outcome.ok:  # the first sample, or why there is none, is here in a moment
        return Plan(memory, again=again)
    if _says_too_much(facts, memory, failed):
        return Plan(memory, again=again)
    if now.clock - memory.looked_at < LOOK_SECONDS:
        return Plan(memory, again=min(again, LOOK_SECONDS))
    previous = facts.raw.get("status") or {}
    status = build_status(
        facts.raw if facts.problem else facts.rq,
        memory.observation,
        memory.scaled or memory.decision,
        memory.outcome,
        previous,
        now.wall,
        memory.rollout,
        memory.hindrance,
    )
    plan = _remarked(facts, replace(memory, looked_at=now.clock), again, status)
    if not worth_writing(previous, status, now.clock - memory.written_at, memory.lost):
        return plan
    if (attempt := memory.attempt("status")).waits(now.clock):
        return replace(plan, again=min(again, attempt.until - now.clock))
    if now.crowded:
        again = min(again, (1 + now.chance) * UNTOLD_SECONDS)
        return replace(plan, memory=replace(plan.memory, looked_at=LONG_AGO), again=again, untold=True)
    return replace(plan, status=status, events=(*plan.events, *events_between(previous, status)))


def _remarked(facts: Facts, memory: Memory, again: float, status: Object) -> Plan:
    """Tell what is not right although all was applied: once, also where the operator has started anew."""
    plan, applied = Plan(memory, shown=status, again=again), memory.outcome
    if facts.problem or not applied.ok or applied.reason not in ("Applied", *REMARKS):
        return plan
    before = memory.remark
    if before is None:
        reasons = {each["reason"] for each in conditions_of(facts.raw.get("status")).values()}
        before = next((reason for reason in REMARKS if reason in reasons), "")
    remark = applied.reason if applied.reason in REMARKS else ""
    return replace(plan, remark=remark, events=tuple(remarks(before, applied)))


def _says_too_much(facts: Facts, memory: Memory, failed: Collection[str]) -> bool:
    """Whether a status would say that a spec is in force which could not be applied just now."""
    if "children" not in failed or memory.attempt("children").error is not None:
        return False
    told = (facts.raw.get("status") or {}).get("observedGeneration")
    return memory.children.applied is None or told != facts.rq.generation
