"""One function per condition: facts in, verdict out. The reasons are a stable API; messages are for people.

A verdict of None leaves the condition as it was: what could not be observed has not changed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from redisqueue_operator.decide.scaling.decision import LIMITS
from redisqueue_operator.decide.scaling.live_pods import is_hung, pod_failures
from redisqueue_operator.decide.status.ready import Condition
from redisqueue_operator.decide.status.worth import rounded
from redisqueue_operator.timestamps import timestamp

if TYPE_CHECKING:
    from redisqueue_operator.decide.canary import Rollout
    from redisqueue_operator.decide.scaling import Decision, Policy
    from redisqueue_operator.observe.facts import ApplyOutcome, Observation, QueueObservation

UNMADE_SECONDS = 120.0
"""Controllers make pods within seconds, or say why not: after this without either they are not at work."""


def redis_reachable(observation: Observation | None) -> Condition | None:
    """The queue could be read at the last sample."""
    if observation is None or _not_sampled(observation):
        return None
    if observation.queue is not None:
        return Condition("True", "Connected", "The queue is sampled.")
    return Condition("False", observation.redis_reason, observation.redis_message)


def redis_durable(observation: Observation | None) -> Condition | None:
    """Redis keeps what it was given: it evicts nothing, writes to disk, and is no replica."""
    if observation is None or observation.server is None:
        return None
    concerns, unknown = observation.server.concerns, observation.server.unknown
    untold = f"it does not tell the operator's login {', '.join(unknown)} (INFO, CONFIG GET)"
    if concerns:
        texts = [text for _, text in concerns] + [untold] * bool(unknown)
        return Condition("False", concerns[0][0], f"Messages are not safe on this Redis: {'; '.join(texts)}.")
    if unknown:
        return Condition(
            "Unknown", "NotTold", f"Whether messages are safe on this Redis is not known: {untold}."
        )
    return Condition("True", "Durable", "Redis evicts nothing, writes to disk and is no replica.")


def _not_sampled(observation: Observation) -> bool:
    """The first answer is still to come. After a restart that is no reason to write every status twice."""
    return observation.queue is None and not observation.redis_reason


_INACTIVE = {
    "ManualReplicas": "spec.replicas is set: the number of workers is fixed until it is removed.",
    "Paused": "spec.scaling.mode is Paused: the number of workers is left as it is.",
    "DryRun": "spec.scaling.mode is DryRun: decisions are made and shown, nothing is written.",
    "External": "spec.scaling.mode is External: another autoscaler chooses the number of workers.",
}
_WITHOUT_SCALE = " Its /scale cannot be read before spec.replicas is there: `kubectl scale` sets it."
_UNABLE = {
    "RedisUnreadable": "Redis cannot be read: the number of workers is held.",
    "Fallback": "Redis cannot be read: at least spec.scaling.fallback.replicas workers are kept.",
    "DeploymentMissing": "There is no Deployment to scale yet.",
}


def _choice(policy: Policy) -> str:
    """Who chooses the number of workers. An external autoscaler may do it through `spec.replicas`, too."""
    by_hand = policy.manual_replicas is not None and policy.mode != "External"
    return "ManualReplicas" if by_hand else policy.mode


def _fixed(policy: Policy) -> Condition | None:
    """Whoever else chooses the number of workers, with status False; None where the rules do."""
    if (choice := _choice(policy)) not in _INACTIVE:
        return None
    off = choice == "External" and policy.manual_replicas is None
    return Condition("False", choice, _INACTIVE[choice] + _WITHOUT_SCALE * off)


def scaling_active(
    observation: Observation | None, decision: Decision | None, policy: Policy
) -> Condition | None:
    """The number of workers follows the queue."""
    if observation is None or decision is None:
        return None
    if (fixed := _fixed(policy)) is not None:
        return fixed
    if observation.replicas is None:
        return Condition("False", "DeploymentMissing", _UNABLE["DeploymentMissing"])
    if _not_sampled(observation):
        return None
    if observation.queue is None:
        reason = "Fallback" if decision.reason == "Fallback" else "RedisUnreadable"
        return Condition("False", reason, _UNABLE[reason])
    bounds = f"between {policy.min_replicas} and {policy.max_replicas} workers"
    text = f"The number of workers follows the queue, {bounds}."
    if policy.bounds is not None and policy.bounds.windows:
        text = f"{text[:-1]}, as spec.scaling.schedules say until {timestamp(policy.bounds.until)}."
    if decision.reason in LIMITS:
        text += f" spec.queue.limits let {decision.limit} of them work ({decision.reason}): more would wait."
    if decision.ceiling is not None:
        text += f" It has less than it wants: {decision.ceiling.text}."
    return Condition("True", policy.mode, text)


def paused(policy: Policy) -> Condition:
    """Somebody wanted the number of workers not to follow the queue."""
    if (fixed := _fixed(policy)) is not None:
        return fixed._replace(status="True")
    return Condition("False", "NotPaused", "Nobody has fixed the number of workers.")


def progressing(
    observation: Observation | None, decision: Decision | None, applied: ApplyOutcome, rollout: Rollout | None
) -> Condition | None:
    """Workers are on their way to what is wanted: their number, or their template."""
    if observation is None or decision is None:
        return None
    if observation.replicas is None:
        why = "yet." if applied.ok else "and Ready says why."
        return Condition(
            "True" if applied.ok else "False", "DeploymentMissing", f"There is no Deployment {why}"
        )
    if lacks_pods(observation):
        return Condition("False", "ReplicaFailure", f"Pods cannot be created: {observation.replica_failure}")
    if is_overdue(observation):
        return Condition(
            "False", "ProgressDeadlineExceeded", f"New workers do not get ready: {observation.overdue}"
        )
    if any(pod.unschedulable and not pod.terminating for pod in observation.pods):
        words = next((pod.words for pod in observation.pods if pod.unschedulable and pod.words), "")
        text = f": {words}" if words else ": the cluster has no room for them."
        return Condition("False", "UnschedulablePods", f"Some worker pods cannot be scheduled{text}")
    if is_unmade(observation):
        missing = (observation.replicas or 0) - len(observation.pods)
        text = f"{missing} pods are wanted and not made, and the cluster does not say why: see the Deployment"
        return Condition("False", "PodsMissing", f"{text}, and whether kube-controller-manager is at work.")
    if (trial := _trial(rollout)) is not None:
        return trial
    if observation.active_replica_sets > 1:
        return Condition("True", "RollingOut", "Workers of an older template are being replaced.")
    if observation.ready_replicas < decision.to_replicas:
        return Condition("True", "ScalingUp", "Workers are starting.")
    spec = "" if applied.ok else ", though not as the spec says"
    return Condition("False", "Stable", f"All wanted workers are ready{spec}.")


def lacks_pods(observation: Observation) -> bool:
    """Whether workers are missing that the cluster refuses to create."""
    live = sum(not pod.terminating for pod in observation.pods)
    return bool(observation.replica_failure) and live < (observation.replicas or 0)


def is_unmade(observation: Observation) -> bool:
    """Whether nobody makes the pods that are missing, without a word."""
    return observation.unmade_seconds >= UNMADE_SECONDS and not observation.replica_failure


def unmade_in_seconds(observation: Observation) -> float:
    """Until that is told of pods that are missing; infinite where none is, or it is told already."""
    left = UNMADE_SECONDS - observation.unmade_seconds
    return left if len(observation.pods) < (observation.replicas or 0) and left > 0 else math.inf


def is_overdue(observation: Observation) -> bool:
    """Whether workers that are wanted have not got ready within the deadline of their Deployment."""
    missing = observation.ready_replicas < (observation.replicas or 0) or observation.active_replica_sets > 1
    return bool(observation.overdue) and missing


def _trial(rollout: Rollout | None) -> Condition | None:
    """A new template on trial, on its way to all workers, or refused."""
    if rollout is None:
        return None
    why = f"{rollout.reason}: {rollout.message}."
    match rollout.phase.value:
        case "Waiting":
            return Condition("False", "TrialWaits", f"Template {rollout.hash} is not tried yet. {why}")
        case "Canary":
            return Condition("True", "Canary", f"Template {rollout.hash} is on trial. {why}")
        case "Promoting":
            return Condition("True", "Promoted", f"Template {rollout.hash} passed, all workers get it. {why}")
        case "RolledBack":
            text = f"Template {rollout.hash} was rolled back; change the spec to try another. {why}"
            return Condition("False", "RolledBack", text)
    return None


_TOLD_BY_REDIS = ("WorkersFailing", "HungHandler", "OrphanedMessages", "DeadLetters")


def degraded(
    observation: Observation | None, policy: Policy, warn_above: int, before: str
) -> Condition | None:
    """Something needs a person. `before` is the reason of the last time, empty when nothing was wrong.

    `warn_above`: more dead letters than this are a problem.
    """
    if observation is None:
        return None
    problems = (
        _not_created(observation)
        + _not_in_time(observation)
        + _pods_failing(observation, before)
        + _tripped(observation)
        + _hung(observation, policy)
        + _unreturned(observation)
    )
    if observation.queue is not None:
        problems += _lost(observation.queue, warn_above)
    elif not problems and (_not_sampled(observation) or before in _TOLD_BY_REDIS):
        return None
    elif not problems:
        return Condition("Unknown", "RedisUnreadable", "What became of messages is not known.")
    if not problems:
        return Condition("False", "Healthy", "No worker and no message needs attention.")
    return Condition("True", problems[0][0], "; ".join(text for _, text in problems) + ".")


def _not_created(observation: Observation) -> list[tuple[str, str]]:
    text = f"pods cannot be created: {observation.replica_failure}"
    return [("ReplicaFailure", text)] if lacks_pods(observation) else []


def _not_in_time(observation: Observation) -> list[tuple[str, str]]:
    text = f"new workers do not get ready: {observation.overdue}"
    return [("ProgressDeadlineExceeded", text)] if is_overdue(observation) else []


def _pods_failing(observation: Observation, before: str) -> list[tuple[str, str]]:
    live = [pod for pod in observation.pods if not pod.terminating]
    if failing := pod_failures(observation):
        return [("PodsFailing", f"worker pods fail: {', '.join(failing)}")]
    # Between two crashes a pod looks like one that starts: it is well again once it is ready.
    if before == "PodsFailing" and any(not pod.ready for pod in live):
        return [("PodsFailing", "worker pods that failed are not ready yet")]
    return []


def _tripped(observation: Observation) -> list[tuple[str, str]]:
    fresh = [worker for worker in observation.workers if worker.is_fresh]
    if not (tripped := sum(worker.tripped for worker in fresh)):
        return []
    text = f"{tripped} of {len(fresh)} workers failed several times in a row and try one message now and then"
    return [("WorkersFailing", text)]


def _hung(observation: Observation, policy: Policy) -> list[tuple[str, str]]:
    hung = sorted(w.id for w in observation.workers if w.is_fresh and is_hung(w, policy))
    if not hung:
        return []
    some = ", ".join(hung[:3]) + (", …" if len(hung) > 3 else "")
    return [("HungHandler", f"a handler runs for longer than {policy.max_in_flight_seconds:g} s in {some}")]


def _unreturned(observation: Observation) -> list[tuple[str, str]]:
    return [("ReturnRefused", observation.unreturned)] if observation.unreturned else []


def _lost(queue: QueueObservation, warn_above: int) -> list[tuple[str, str]]:
    problems = []
    if queue.orphaned:
        text = f"{rounded(queue.orphaned)} messages in processing have no lease and are never taken back"
        text += ": see 'redisqueue repair'"
        problems.append(("OrphanedMessages", text))
    if queue.dead_letter > warn_above:
        problems.append(("DeadLetters", f"{rounded(queue.dead_letter)} dead letters"))
    return problems
