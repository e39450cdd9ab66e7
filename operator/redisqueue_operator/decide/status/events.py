"""What is worth an Event: changes from one status to the next, each told once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from redisqueue_operator.api.objects import conditions_of
from redisqueue_operator.decide.status.ready import DERIVED
from redisqueue_operator.observe.facts import HINDRANCES, REMARKS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from redisqueue_operator.observe.facts import ApplyOutcome

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One Event about an object of ours, in the words of events.k8s.io/v1 (`message` is its note)."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    action: str


def events_between(previous: Mapping[str, Any], new: Mapping[str, Any]) -> list[EventRecord]:
    """The Events of the step from one status to the next; none when both say the same."""
    return [
        *_scaled(previous.get("decision") or {}, new.get("decision") or {}),
        *_ready(*_pair(previous, new, "Ready")),
        *_redis(*_pair(previous, new, "RedisReachable")),
        *_durable(*_pair(previous, new, "RedisDurable")),
        *_degraded(previous, new),
        *_without_pods(*_pair(previous, new, "Progressing")),
        *_hindered(*_pair(previous, new, "ScalingActive")),
        *_paused(*_pair(previous, new, "Paused")),
        *_rolled_out(previous.get("rollout") or {}, new.get("rollout") or {}),
    ]


def remarks(before: str, applied: ApplyOutcome) -> list[EventRecord]:
    """What is not right although all was applied, when it begins and when it is over.

    `before` is the last one's reason. Ready shows it only where nothing else is wrong.
    """
    if applied.reason in REMARKS:
        told = applied.reason == before
        return [] if told else [EventRecord("Warning", applied.reason, applied.message, "Apply")]
    return [EventRecord("Normal", "Recovered", f"{before} is over.", "Apply")] if before else []


def _pair(previous: Mapping[str, Any], new: Mapping[str, Any], kind: str) -> tuple[Json, Json]:
    return conditions_of(previous).get(kind, {}), conditions_of(new).get(kind, {})


def _became(before: Json, after: Json, status: str) -> bool:
    return after.get("status") == status and before.get("status") != status


def _scaled(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[EventRecord]:
    # What holds the number back now is shown with the last change, and is none itself.
    news = after and _without_holds(before) != _without_holds(after) and after["from"] != after["to"]
    if news and after["reason"] != "DryRun":
        budget = f" {after['budget']}" if after["reason"] == "Budget" and after.get("budget") else ""
        text = f"from {after['from']} to {after['to']} workers: {after['reason']}{budget}"
        if after["clamps"]:
            text += f", limited by {', '.join(after['clamps'])}"
        if after.get("schedule"):
            text += f", in the schedule {after['schedule']}"
        if after["blockedBy"] not in ("", after["reason"]):
            text += f", held back by {after['blockedBy']}"
        yield EventRecord("Normal", "Scaled", text, "Scale")


def _without_holds(decision: Mapping[str, Any]) -> Json:
    return {part: value for part, value in decision.items() if part not in ("blockedBy", "budget")}


def _ready(before: Json, after: Json) -> Iterator[EventRecord]:
    if after.get("reason") in DERIVED or (after.get("status") == "True" and before.get("reason") in DERIVED):
        return  # told by the condition that it comes from
    if after.get("status") == "False" and (before.get("status"), before.get("reason")) != (
        "False",
        after["reason"],
    ):
        yield EventRecord("Warning", after["reason"], after["message"], "Apply")
    elif after.get("reason") == "Deleting" != before.get("reason"):
        yield EventRecord("Normal", "Deleting", after["message"], "Delete")
    elif _became(before, after, "True") and before.get("status") == "False":
        yield EventRecord("Normal", "Applied", after["message"], "Apply")


def _redis(before: Json, after: Json) -> Iterator[EventRecord]:
    if _became(before, after, "False"):
        yield EventRecord("Warning", "RedisUnreachable", f"{after['reason']}: {after['message']}", "Sample")
    elif _became(before, after, "True") and before.get("status") == "False":
        yield EventRecord("Normal", "RedisReachable", "The queue can be read again.", "Sample")


def _durable(before: Json, after: Json) -> Iterator[EventRecord]:
    known = before.get("reason") if before.get("status") == "False" else None
    if after.get("status") == "False" and after["reason"] != known:
        yield EventRecord("Warning", after["reason"], after["message"], "Observe")
    elif after.get("status") == "True" and known:
        yield EventRecord("Normal", "RedisDurable", f"{known} is over.", "Observe")


def _degraded(previous: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[EventRecord]:
    before, after = _trouble(previous), _trouble(new)
    known = before.get("reason") if before.get("status") == "True" else None
    if after.get("status") == "True" and after["reason"] != known:
        yield EventRecord("Warning", after["reason"], after["message"], "Observe")
    elif after.get("status") == "False" and known:
        yield EventRecord("Normal", "Recovered", f"{known} is over.", "Observe")


def _trouble(status: Mapping[str, Any]) -> Json:
    """Degraded, unless it only repeats what stalls, and another Event tells that."""
    conditions = conditions_of(status)
    degraded, stalled = conditions.get("Degraded", {}), conditions.get("Stalled", {})
    repeats = stalled.get("status") == "True" and stalled.get("reason") == degraded.get("reason")
    return {**degraded, "status": "False"} if repeats and degraded["reason"] != "ReplicaFailure" else degraded


def _without_pods(before: Json, after: Json) -> Iterator[EventRecord]:
    now = after.get("reason")
    if now in ("UnschedulablePods", "PodsMissing") and now != before.get("reason"):
        yield EventRecord("Warning", after["reason"], after["message"], "Observe")


def _hindered(before: Json, after: Json) -> Iterator[EventRecord]:
    was, now = before.get("reason"), after.get("reason")
    if now in HINDRANCES and now != was:
        yield EventRecord("Warning", after["reason"], after["message"], "Scale")
    elif was in HINDRANCES and now not in HINDRANCES:
        yield EventRecord("Normal", "ScalingResumed", f"{was} is over.", "Scale")


def _paused(before: Json, after: Json) -> Iterator[EventRecord]:
    if _became(before, after, "True"):
        yield EventRecord("Normal", "Paused", after["message"], "Scale")
    elif _became(before, after, "False") and before:
        yield EventRecord("Normal", "Resumed", after["message"], "Scale")


def _rolled_out(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[EventRecord]:
    if not after or (before.get("phase"), before.get("hash")) == (after["phase"], after["hash"]):
        return
    why = f"{after['reason']}: {after['message']}"
    match after["phase"]:
        case "Waiting":
            yield EventRecord("Normal", "TrialWaits", f"template {after['hash']} waits, {why}", "Rollout")
        case "Canary":
            text = f"template {after['hash']} is on trial beside {after['stableHash']}"
            yield EventRecord("Normal", "Canary", text, "Rollout")
        case "Promoting":
            yield EventRecord("Normal", "Promoted", f"template {after['hash']} passed, {why}", "Rollout")
        case "RolledBack":
            yield EventRecord(
                "Warning", "RolledBack", f"template {after['hash']} was refused, {why}", "Rollout"
            )
