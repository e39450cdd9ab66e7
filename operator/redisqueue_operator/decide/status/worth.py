"""Whether a status is worth a write: an idle fleet costs none, a busy one few."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

COUNTERS_SECONDS = 30.0
"""Counters alone are written this often at most."""

NO_ROOM = ("UnschedulablePods", "ReplicaFailure")
"""Holds of the number of workers that people are to mend."""


def worth_writing(
    previous: Mapping[str, Any], new: Mapping[str, Any], seconds_since_last_write: float
) -> bool:
    """A decision or a condition at once, counters at most every 30 s, a newer sample alone never."""
    if _urgent(previous) != _urgent(new):
        return True
    return seconds_since_last_write >= COUNTERS_SECONDS and _lasting(previous) != _lasting(new)


def _urgent(status: Mapping[str, Any]) -> dict[str, Any]:
    """What somebody may wait for. Messages are left out: they may hold counters."""
    conditions = {
        each["type"]: (each["status"], each["reason"], each.get("observedGeneration"))
        for each in status.get("conditions") or ()
    }
    decision = dict(status.get("decision") or {})
    if decision.get("blockedBy") not in NO_ROOM:  # the other holds come and go with every message
        decision.pop("blockedBy", None)
    desired = (status.get("workers") or {}).get("desired")
    plain = {part: status.get(part) for part in ("observedGeneration", "selector", "state")}
    rollout = status.get("rollout") or {}
    trial = tuple(rollout.get(part) for part in ("phase", "hash", "reason"))
    return {**plain, "decision": decision, "desired": desired, "trial": trial, "conditions": conditions}


def _lasting(status: Mapping[str, Any]) -> dict[str, Any]:
    """All of it but the time of the sample, which changes several times a second."""
    queue = {name: value for name, value in (status.get("queue") or {}).items() if name != "sampledAt"}
    return {**status, "queue": queue}
