"""`.status` of a RedisQueueSchedule, from where it stands. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redisqueue_operator.api.objects import Verdict, dated
from redisqueue_operator.timestamps import timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from redisqueue_operator.decide.due import Progress
    from redisqueue_operator.schedule.resource import Schedule

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Readiness:
    """What conditions say. `acts`: somebody must act, it does not mend itself."""

    ready: bool
    reason: str
    message: str
    acts: bool = False


IN_FORCE = Readiness(True, "Scheduled", "The schedule is in force.")
SUSPENDED = Readiness(True, "Suspended", "Nothing is enqueued until spec.suspend is false.")


def build_status(
    schedule: Schedule,
    progress: Progress,
    readiness: Readiness,
    previous: Mapping[str, Any],
    now: datetime,
    *,
    queue: str = "",
    upcoming: datetime | None = None,
) -> Json:
    """The status to write in place of `previous`."""
    status: Json = {"observedGeneration": schedule.generation}
    if queue or "queue" in previous:
        status["queue"] = queue or previous["queue"]
    spec = {"schedule": progress.schedule, "timeZone": progress.time_zone, "suspend": progress.suspend}
    status |= {"inForce": spec, "countsFrom": timestamp(progress.counts_from)}
    moments = {
        "lastScheduleTime": progress.last,
        "lastSuccessfulTime": progress.last_success,
        "nextScheduleTime": upcoming,
    }
    status |= {name: timestamp(moment) for name, moment in moments.items() if moment is not None}
    status |= {"history": list(progress.history)} if progress.history else {}
    status["conditions"] = list(_conditions(schedule.generation, readiness, previous, timestamp(now)))
    return status


def unusable(generation: int, problem: str, previous: Mapping[str, Any], now: float) -> Json:
    """The status of one whose spec says nothing usable: what was done by then is kept, nothing is to come."""
    kept = {part: value for part, value in previous.items() if part != "nextScheduleTime"}
    readiness = Readiness(False, "InvalidSpec", f"It enqueues nothing: {problem}", acts=True)
    conditions = list(_conditions(generation, readiness, previous, timestamp(now)))
    return {**kept, "observedGeneration": generation, "conditions": conditions}


def news_of(status: Mapping[str, Any]) -> tuple[object, ...]:
    """What people are told at once when it changes."""
    conditions = status.get("conditions") or ()
    said = ((each["reason"], each["message"]) for each in conditions)
    return (status.get("observedGeneration"), status.get("queue"), status.get("inForce"), *said)


def _conditions(
    generation: int, readiness: Readiness, previous: Mapping[str, Any], now: str
) -> Iterator[Json]:
    stalled = not readiness.ready and readiness.acts
    verdicts: dict[str, Verdict] = {
        "Ready": (readiness.ready, readiness.reason, readiness.message),
        # For health checks, by the conventions of kstatus.
        "Reconciling": (True, readiness.reason, readiness.message)
        if not readiness.ready and not stalled
        else (False, "Finished", "Nothing is under way."),
        "Stalled": (True, readiness.reason, readiness.message)
        if stalled
        else (False, "NotStalled", "Nobody needs to act."),
    }
    yield from dated(verdicts, generation, previous, now)
