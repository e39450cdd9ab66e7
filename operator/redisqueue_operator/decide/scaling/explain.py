"""A decision in sentences, for `redisqueue explain` and for logs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from redisqueue_operator.decide.scaling.decision import said
from redisqueue_operator.decide.scaling.live_pods import LivePods, State, pod_failures
from redisqueue_operator.timestamps import timestamp

if TYPE_CHECKING:
    from redisqueue_operator.decide.scaling.decision import Decision
    from redisqueue_operator.decide.scaling.policy import Policy
    from redisqueue_operator.observe.facts import Observation

BLOCKED = {
    "StabilizationWindow": "a need within the stabilization window was different",
    "RecentLoad": "the work of the last {window:g} s needs as many",
    "RecentShrink": "workers went a moment ago",
    "IdleSeconds": "the workers go when the queue was empty for {idle:g} s",
    "BusyWorkers": "{busy} workers are busy and {unknown} do not say",
    "MinRunSeconds": "idle workers are younger than {min_run:g} s",
    "RolloutInProgress": "a rollout is under way, and a shrink now could hit busy workers",
    "UnreadyWorkers": "a worker that may be busy is not ready, and a shrink would take it first",
    "UnschedulablePods": "the cluster has no room for the pods there are already",
    "ReplicaFailure": "the cluster refuses to create pods",
    "ScaleRefused": "the change was refused",
    "MaxStep": "at most {step} more at a time",
    "MaxPercent": "at most a part of the workers changes at a time",
    "Budget": "its budget leaves it no more",
    "UpOnly": "the mode forbids to shrink",
    "DownOnly": "the mode forbids to grow",
    "Paused": "scaling is paused",
    "DryRun": "a dry run writes nothing",
    "External": "somebody else scales the Deployment",
    "RedisUnreadable": "Redis cannot be read, and unknown is never zero",
    "Conflict": "another RedisQueue has the right to the queue",
    "NewerOperator": "a newer operator may be at work on it",
    "ForeignOperator": "another operator may be at work on it",
}

ADVISED = ("Paused", "DryRun", "External", "ManualReplicas")
"""Reasons of a number that somebody else chose."""


def explain(decision: Decision, observation: Observation, policy: Policy) -> list[str]:
    """The decision line by line: what was seen, what each rule says, what cuts or holds it, who goes."""
    fleet = LivePods.of(observation, policy)
    lines = [_seen(observation), _fleet(observation, fleet), *_troubles(observation)]
    lines += _schedule(policy)
    lines += [_rates(decision)] if decision.rates.arrivals_per_second is not None else []
    lines += [f"{said(term.name, term.value)}: {term.inputs}" for term in decision.terms]
    lines += _untold_limits(decision, policy)
    if decision.clamps:
        lines.append(f"limited by {', '.join(decision.clamps)}")
    lines.append(_result(decision))
    if decision.reason in ADVISED and decision.wanted_replicas != decision.to_replicas:
        lines.append(f"the rules would choose {decision.wanted_replicas}")
    if decision.ceiling is not None:
        lines.append(decision.ceiling.text)
    if decision.blocked_by:
        lines.append(f"held back: {_blocked(decision, fleet, policy)}")
    if decision.victims:
        lines.append(f"first to go: {', '.join(decision.victims)}")
    if math.isfinite(decision.recheck_after_seconds):
        lines.append(f"looks again in {decision.recheck_after_seconds:.1f} s at the latest")
    return lines


def _seen(observation: Observation) -> str:
    queue = observation.queue
    if queue is None:
        return f"Redis cannot be read: {observation.redis_reason}: {observation.redis_message}"
    text = f"{queue.pending} pending, {queue.in_flight} in flight, {queue.expired} expired"
    if queue.delayed:
        text += f", {queue.delayed} delayed ({queue.delayed_due} due)"
    return text


def _schedule(policy: Policy) -> list[str]:
    """What the schedules say now, and when that changes."""
    if (bounds := policy.bounds) is None:
        return []
    until = f"until {timestamp(bounds.until)}"
    if not bounds.windows:
        return [f"no schedule is in force {until}: {policy.min_replicas} to {policy.max_replicas} workers"]
    lines = [f"{policy.min_replicas} to {policy.max_replicas} workers {until}, by schedule: {bounds.text}"]
    if bounds.yielding is not None:
        gives_way = f"at least {bounds.yielding} gives way to at most {bounds.max_replicas}"
        lines.append(f"of schedules that overlap, {gives_way}")
    return lines


def _fleet(observation: Observation, fleet: LivePods) -> str:
    busy, unknown = fleet.count(State.BUSY, State.HUNG), fleet.count(State.UNKNOWN)
    text = f"{observation.replicas or 0} workers wanted, {observation.ready_replicas} ready, {busy} busy"
    return f"{text}, {unknown} of unknown state" if unknown else text


def _troubles(observation: Observation) -> list[str]:
    """What the cluster says of pods that cannot work or be made, each thing once."""
    waiting = {pod.words for pod in observation.pods if pod.unschedulable and not pod.terminating}
    return [
        *(f"pods fail: {failure}" for failure in pod_failures(observation)),
        *(f"pods find no room: {words}" for words in sorted(waiting) if words),
        *([f"pods cannot be created: {observation.replica_failure}"] if observation.replica_failure else []),
        *(
            [f"no pod is made for {observation.unmade_seconds:.0f} s"]
            if observation.unmade_seconds > 5
            else []
        ),
    ]


def _rates(decision: Decision) -> str:
    rates = decision.rates
    text = f"{rates.arrivals_per_second:.3g}/s arrive, {rates.claims_per_second:.3g}/s are claimed"
    if rates.oldest_age_seconds:
        text += f", the oldest waits for {rates.oldest_age_seconds:.3g} s"
    return text if rates.eta_seconds is None else f"{text}, empty in {rates.eta_seconds:.3g} s"


def _untold_limits(decision: Decision, policy: Policy) -> list[str]:
    """Limits that bound nothing yet, or never can."""
    if not decision.terms:
        return []
    known = {term.name for term in decision.terms}
    lines = []
    if policy.limits.rate_per_second is not None and "RateLimit" not in known:
        lines.append("the rate limit bounds nothing yet: how long a message takes is not known")
    if policy.key_limits:
        lines.append("limits of single keys bound nothing here: how many keys wait is not known")
    return lines


def _result(decision: Decision) -> str:
    if not decision.changes:
        return f"stays at {decision.to_replicas} ({decision.reason})"
    return f"goes from {decision.from_replicas} to {decision.to_replicas} ({decision.reason})"


def _blocked(decision: Decision, fleet: LivePods, policy: Policy) -> str:
    return BLOCKED[decision.blocked_by].format(
        idle=policy.idle_seconds,
        busy=fleet.count(State.BUSY),
        unknown=fleet.count(State.UNKNOWN),
        min_run=policy.min_run_seconds,
        window=policy.down_stabilization_seconds,
        step=policy.up_max_step,
    )
