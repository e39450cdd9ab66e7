"""Whether a status is worth a write: an idle fleet costs none, a busy one few.

So numbers and times are rounded as it shows them: noise is not worth a write.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from redisqueue_operator.api.objects import conditions_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

Path = tuple[str, ...]
"""Names of fields, from the outermost one; those of all items of a list alike."""

COUNTERS_SECONDS = 30.0
"""Counters alone are written this often at most."""

NO_ROOM = ("UnschedulablePods", "ReplicaFailure")
"""Holds of the number of workers that people are to mend."""


def worth_writing(
    previous: Mapping[str, Any],
    new: Mapping[str, Any],
    seconds_since_last_write: float,
    lost: Collection[Path] = (),
) -> bool:
    """A decision or a condition at once, counters at most every 30 s, a newer sample alone never.

    `lost` are the fields that the API server does not keep.
    """
    new = without(new, lost)
    if _urgent(previous) != _urgent(new):
        return True
    return seconds_since_last_write >= COUNTERS_SECONDS and _lasting(previous) != _lasting(new)


def _urgent(status: Mapping[str, Any]) -> dict[str, Any]:
    """What somebody may wait for. Messages are left out: they may hold counters."""
    conditions = {
        kind: (each["status"], each["reason"], each.get("observedGeneration"))
        for kind, each in conditions_of(status).items()
    }
    decision = dict(status.get("decision") or {})
    if decision.get("blockedBy") not in NO_ROOM:  # the other holds come and go with every message
        decision.pop("blockedBy", None)
        decision.pop("budget", None)
    desired = (status.get("workers") or {}).get("desired")
    plain = {part: status.get(part) for part in ("observedGeneration", "selector", "state")}
    rollout = status.get("rollout") or {}
    trial = tuple(rollout.get(part) for part in ("phase", "hash", "reason"))
    plain["schedule"] = status.get("schedule")
    return {**plain, "decision": decision, "desired": desired, "trial": trial, "conditions": conditions}


def _lasting(status: Mapping[str, Any]) -> dict[str, Any]:
    """All of it but the time of the sample, which changes several times a second."""
    queue = {name: value for name, value in (status.get("queue") or {}).items() if name != "sampledAt"}
    return {**status, "queue": queue}


def lost_in(kept: Any, written: Any) -> Iterator[Path]:
    """The fields that were written and not kept: an older definition has none of that name."""
    if isinstance(kept, dict) and isinstance(written, dict):
        for name, value in written.items():
            inner = lost_in(kept[name], value) if name in kept else [()]
            yield from ((name, *path) for path in inner)
    elif isinstance(kept, list) and isinstance(written, list):
        for pair in zip(kept, written, strict=False):
            yield from lost_in(*pair)


def without(value: Any, lost: Collection[Path]) -> Any:
    """A status, or a part of one, without these fields."""
    if not lost:
        return value
    if isinstance(value, list):
        return [without(each, lost) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: without(each, [path[1:] for path in lost if path[0] == name])
        for name, each in value.items()
        if (name,) not in lost
    }


def rounded(count: int) -> int:
    """Exact up to 99, two significant digits beyond; nothing but zero is shown as zero."""
    return int(significant(float(count)))


def significant(value: float) -> float:
    """Two significant digits; whole numbers from ten on."""
    if value == 0:
        return 0.0
    digits = 1 - math.floor(math.log10(abs(value)))
    return round(value, digits)
