"""The whole `.status` of a RedisQueue, from what was observed, decided and applied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redisqueue_operator.api.model import RedisQueue
from redisqueue_operator.api.objects import QUEUE_LABEL, conditions_of, dated
from redisqueue_operator.decide.scaling import Policy
from redisqueue_operator.decide.scaling.live_pods import LivePods, State
from redisqueue_operator.decide.status import conditions
from redisqueue_operator.decide.status.ready import NOT_OBSERVED, UNREADABLE, Condition, is_enough, summary
from redisqueue_operator.decide.status.worth import rounded, significant
from redisqueue_operator.timestamps import timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redisqueue_operator.decide.canary import Rollout
    from redisqueue_operator.decide.scaling import Ceiling, Decision, Rates
    from redisqueue_operator.decide.scaling.schedules import Bounds
    from redisqueue_operator.observe.facts import ApplyOutcome, Hindrance, Observation, QueueObservation

Json = dict[str, Any]
KINDS = (
    *("Ready", "RedisReachable", "RedisDurable", "ScalingActive", "Progressing", "Degraded", "Paused"),
    *("Reconciling", "Stalled"),
)


def build_status(
    rq: RedisQueue | Mapping[str, Any],
    observation: Observation | None,
    decision: Decision | None,
    applied: ApplyOutcome,
    previous: Mapping[str, Any],
    now: float,
    rollout: Rollout | None = None,
    hindrance: Hindrance | None = None,
) -> Json:
    """The status to write in place of `previous`; `now` in seconds since the epoch.

    Pass the raw object when its spec is not valid. What could not be observed, or read from Redis, stays as
    it was; `queue.sampledAt` says how old the counters are.
    """
    if isinstance(rq, RedisQueue):
        name, generation, policy = rq.key.name, rq.generation, Policy.of(rq.spec, now)
        verdicts = _verdicts(rq, policy, observation, decision, previous)
        verdicts["Progressing"] = conditions.progressing(observation, decision, applied, rollout)
        if hindrance is not None:
            verdicts["ScalingActive"] = Condition("False", hindrance.reason, hindrance.message)
    else:
        name, generation, policy = rq["metadata"]["name"], rq["metadata"].get("generation", 0), None
        verdicts = {}
    if applied.reason in ("Conflict", "InvalidSpec"):
        verdicts["ScalingActive"] = Condition("False", applied.reason, applied.message)
    if applied.reason == UNREADABLE:
        unknown = Condition("Unknown", UNREADABLE, applied.message)
        verdicts |= dict.fromkeys(("ScalingActive", "Progressing", "Degraded"), unknown)
    kept = ("queue", "workers", "rates", "decision", "budget")
    status: Json = {
        "observedGeneration": generation,
        "replicas": previous.get("replicas", 0),
        "selector": f"{QUEUE_LABEL}={name}",
        **{part: previous[part] for part in kept if part in previous},
    }
    if policy is not None and observation is not None and decision is not None:
        _counters(status, observation, decision, now)
        if not observation.unseen:  # unknown is never zero
            _workers(status, policy, observation, decision)
            _budget(status, decision.ceiling)
    if policy is not None and policy.bounds is not None:
        status["schedule"] = _schedule(policy, policy.bounds)
    if rollout is not None:
        status["rollout"] = rollout.to_status()
    enough = policy is None or is_enough(observation, decision, policy)
    said, before = _summed_up(verdicts, applied, previous, enough), conditions_of(previous)
    whole = {kind: said.get(kind) or (None if kind in before else NOT_OBSERVED) for kind in KINDS}
    status["conditions"] = list(dated(whole, generation, previous, timestamp(now)))
    status["state"] = "NotReady" if not applied.ok else _state(status)
    return status


def _summed_up(
    verdicts: Mapping[str, Condition | None], applied: ApplyOutcome, previous: Mapping[str, Any], enough: bool
) -> dict[str, Condition | None]:
    """With Ready and what goes with it; what is stalled needs attention, and Degraded says nothing else."""
    before = conditions_of(previous)
    said = {kind: verdicts.get(kind) or _kept(before.get(kind)) for kind in KINDS}
    whole = summary(applied, said, enough=enough)
    of_all = {"Ready": whole.ready, "Reconciling": whole.reconciling, "Stalled": whole.stalled}
    if whole.stalled.status == "True" and said["Degraded"].status == "False":
        return {**verdicts, **of_all, "Degraded": whole.stalled}
    return {**verdicts, **of_all}


def _kept(condition: Json | None) -> Condition:
    if condition is None:
        return NOT_OBSERVED
    return Condition(condition["status"], condition["reason"], condition["message"])


def _verdicts(
    rq: RedisQueue,
    policy: Policy,
    observation: Observation | None,
    decision: Decision | None,
    previous: Mapping[str, Any],
) -> dict[str, Condition | None]:
    before = conditions_of(previous).get("Degraded", {})
    trouble = before.get("reason", "") if before.get("status") == "True" else ""
    return {
        "RedisReachable": conditions.redis_reachable(observation),
        "RedisDurable": conditions.redis_durable(observation),
        "ScalingActive": conditions.scaling_active(observation, decision, policy),
        "Degraded": conditions.degraded(observation, policy, rq.spec.dead_letter.warn_above, trouble),
        "Paused": conditions.paused(policy),
    }


def _workers(status: Json, policy: Policy, observation: Observation, decision: Decision) -> None:
    live = sum(not pod.terminating for pod in observation.pods)
    busy = status.get("workers", {}).get("busy")  # as it was, where only Redis knows and cannot be read
    if observation.queue is not None or not live:
        busy = LivePods.of(observation, policy).count(State.BUSY, State.HUNG)
    status["replicas"] = live
    status["workers"] = {
        "desired": decision.to_replicas,
        "ready": observation.ready_replicas,
        **({} if busy is None else {"busy": busy}),
        "draining": sum(pod.terminating for pod in observation.pods),
    }


def _schedule(policy: Policy, bounds: Bounds) -> Json:
    return {
        "minReplicas": policy.min_replicas,
        "maxReplicas": policy.max_replicas,
        "inForce": bounds.text,
        "nextChange": timestamp(bounds.until),
    }


def _counters(status: Json, observation: Observation, decision: Decision, now: float) -> None:
    if observation.queue is not None:
        status["queue"] = _queue(observation.queue, decision.rates)
        rates = _rates(decision.rates)
        # A queue in which nothing ever moved has none: to say so is not worth a write of its own.
        if any(rates.values()) or (rates and "rates" in status):
            status["rates"] = rates
    if change := _change(decision, status.get("decision", {}), now):
        status["decision"] = change


def _budget(status: Json, ceiling: Ceiling | None) -> None:
    """What `decide.budget.held_by_budget` reads."""
    status.pop("budget", None)
    if ceiling is not None and ceiling.budget:
        status["budget"] = {"name": ceiling.budget}
        if (share := ceiling.share) is not None:
            numbers = {"wanted": share.wanted, "share": share.target, "ceiling": share.ceiling}
            status["budget"] |= {**numbers, "reason": share.verdict}


def _queue(queue: QueueObservation, rates: Rates) -> Json:
    counters: Json = {
        "pending": rounded(queue.pending),
        "delayed": rounded(queue.delayed),
        "delayedDue": rounded(queue.delayed_due),
        "inFlight": rounded(queue.in_flight),
        "expired": rounded(queue.expired),
        "orphaned": rounded(queue.orphaned),
        "failed": rounded(queue.failed),
        "deadLetter": rounded(queue.dead_letter),
        "sampledAt": timestamp(queue.time_ms / 1000),
    }
    if queue.next_due_seconds is not None:
        counters["nextDue"] = timestamp(round(queue.time_ms + queue.next_due_seconds * 1000) / 1000)
    if rates.oldest_age_seconds is not None:
        counters["oldestAgeSeconds"] = rounded(round(rates.oldest_age_seconds))
    return counters


def _rates(rates: Rates) -> Json:
    known = {
        "arrivals": rates.arrivals_per_second,
        "claims": rates.claims_per_second,
        "etaSeconds": rates.eta_seconds,
        "handlerSeconds": rates.handler_seconds,
    }
    return {name: significant(value) for name, value in known.items() if value is not None}


def _change(decision: Decision, last: Mapping[str, Any], now: float) -> Json | None:
    """The decision, when it is another change than the last one; a dry run shows what it would have changed.

    What holds the number where it is is shown with the last change, or as the first decision.

    Two equal ones in a row are the same one, made again before the observation caught up.
    """
    to = decision.wanted_replicas if decision.reason == "DryRun" else decision.to_replicas
    if to == decision.from_replicas and last:
        return _held(decision, last)
    if to == decision.from_replicas and not decision.blocked_by:
        return None
    change: Json = {
        "from": decision.from_replicas,
        "to": to,
        "reason": decision.reason,
        "terms": [{"name": term.name, "value": term.value} for term in decision.terms],
        "clamps": list(decision.clamps),
        "blockedBy": decision.blocked_by,
    }
    if decision.schedule:
        change["schedule"] = decision.schedule
    if decision.budget:
        change["budget"] = decision.budget
    if all(last.get(part) == change[part] for part in ("from", "to", "reason")):
        return None
    return {"at": timestamp(now), **change}


def _held(decision: Decision, last: Mapping[str, Any]) -> Json:
    """The last change, with what holds the number now; a budget is named as long as one of the two is its."""
    held = {**last, "blockedBy": decision.blocked_by}
    if decision.budget:
        held["budget"] = decision.budget
    elif last.get("reason") != "Budget":
        held.pop("budget", None)
    return held


def _state(status: Json) -> str:
    """One word for the column: the worst thing first."""
    found: dict[str, tuple[str, str]] = {
        kind: (each["status"], each["reason"]) for kind, each in conditions_of(status).items()
    }
    if found["RedisReachable"][0] == "False":
        return "NoRedis"
    if found["Degraded"][0] == "True" and found["Progressing"][1] != "RolledBack":
        return "Degraded"
    progress, pause = found["Progressing"][1], found["Paused"]
    if progress in (
        "UnschedulablePods",
        "PodsMissing",
        "RollingOut",
        "ScalingUp",
        "Canary",
        "Promoted",
        "RolledBack",
    ):
        return "Unschedulable" if progress == "UnschedulablePods" else progress
    if pause[0] == "True":
        return "Manual" if pause[1] == "ManualReplicas" else pause[1]
    return "Running" if status.get("workers", {}).get("desired") else "Idle"
