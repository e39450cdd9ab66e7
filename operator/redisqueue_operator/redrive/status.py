"""`.status` of a RedisQueueRedrive, from where it stands. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from redisqueue_operator.api.objects import Verdict, dated
from redisqueue_operator.timestamps import moment_of, timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from redis_message_queue import RedriveProgress
    from redisqueue_operator.redrive.resource import Redrive

Json = dict[str, Any]
Phase = Literal["Pending", "Running", "Succeeded", "Failed"]
FINISHED = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class RedriveState:
    """Where a redrive stands. `progress` of None leaves the counters as they were.

    `acts`: somebody must act, it does not go on by itself.
    """

    phase: Phase
    reason: str
    message: str
    progress: RedriveProgress | None = None
    acts: bool = False


def waiting(reason: str, message: str) -> RedriveState:
    """It cannot go on yet."""
    return RedriveState("Pending", reason, message)


def running(redrive: Redrive, progress: RedriveProgress | None) -> RedriveState:
    """It is under way."""
    return RedriveState("Running", "Running", f"Letters are {_doing(redrive)}.", progress)


def succeeded(redrive: Redrive, progress: RedriveProgress) -> RedriveState:
    """It has looked at all letters, or moved as many as it may."""
    parts = [f"{_letters(progress.moved)} {'would move' if redrive.spec.dry_run else 'moved'}"]
    if progress.skipped:
        parts.append(f"{progress.skipped} looked at and left")
    if progress.remaining:
        parts.append(f"{progress.remaining} not looked at, because of spec.max")
    return RedriveState(
        "Succeeded", "Counted" if redrive.spec.dry_run else "Moved", ", ".join(parts) + ".", progress
    )


def failed(reason: str, message: str) -> RedriveState:
    """It can never go on."""
    return RedriveState("Failed", reason, message, acts=True)


def build_status(generation: int, state: RedriveState, previous: Mapping[str, Any], now: float) -> Json:
    """The status to write in place of `previous`; `now` in seconds since the epoch."""
    kept = ("moved", "skipped", "remaining", "startedAt")
    status: Json = {
        "observedGeneration": generation,
        "phase": state.phase,
        **{part: previous[part] for part in kept if part in previous},
    }
    if state.progress is not None:
        status |= {part: getattr(state.progress, part) for part in ("moved", "skipped", "remaining")}
    if state.phase in ("Running", "Succeeded"):
        status.setdefault("startedAt", timestamp(now))
    if state.phase in FINISHED:
        status["finishedAt"] = previous.get("finishedAt") or timestamp(now)
    status["conditions"] = list(_conditions(generation, state, previous, timestamp(now)))
    return status


def unusable(generation: int, problem: str, previous: Mapping[str, Any], now: float) -> Json:
    """The status of one whose spec says nothing usable: an operator of another release may carry it out.

    One that has finished stays so.
    """
    if previous.get("phase") in FINISHED:
        return dict(previous)
    text = f"It moves nothing: {problem}; the spec cannot be changed: delete it and create another one"
    return build_status(generation, RedriveState("Pending", "InvalidSpec", text, acts=True), previous, now)


def news_of(status: Mapping[str, Any]) -> tuple[object, ...]:
    """What people are told at once when it changes."""
    conditions = status.get("conditions") or ()
    return (status.get("phase"), *((each["reason"], each["message"]) for each in conditions))


def seconds_to_live(redrive: Redrive, status: Mapping[str, Any], now: float) -> float | None:
    """How long a finished one stays; None for ever."""
    ttl, finished = redrive.spec.ttl_seconds_after_finished, moment_of(status.get("finishedAt"))
    if ttl is None or finished is None:
        return None
    return max(0.0, finished.timestamp() + ttl - now)


def _conditions(
    generation: int, state: RedriveState, previous: Mapping[str, Any], now: str
) -> Iterator[Json]:
    broken, over = state.phase == "Failed", state.phase in FINISHED
    done = state.phase == "Succeeded"
    verdicts: dict[str, Verdict] = {
        "Complete": (done, state.reason, state.message),
        "Failed": (broken, state.reason, state.message)
        if broken
        else (False, "NotFailed", "Nothing is wrong."),
        # For health checks, by the conventions of kstatus.
        "Ready": (done, state.reason, state.message),
        "Reconciling": (False, "Finished", "Nothing is under way.")
        if over or state.acts
        else (True, state.reason, state.message),
        "Stalled": (True, state.reason, state.message)
        if state.acts
        else (False, "NotStalled", "Nobody needs to act."),
    }
    yield from dated(verdicts, generation, previous, now)


def _doing(redrive: Redrive) -> str:
    if redrive.spec.dry_run:
        return "counted"
    rate = redrive.spec.rate_per_second
    return "moved" if rate is None else f"moved, {rate:g} a second"


def _letters(number: int) -> str:
    return f"{number} letter{'s' * (number != 1)}"
