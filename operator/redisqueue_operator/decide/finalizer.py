"""`deletionPolicy: Drain`: a deleted RedisQueue stays until its queue is empty or its deadline passed. Pure.

The finalizer is what makes the API server wait. The other policies have none: garbage collection and each
pod's own grace period do the work without us, and nothing can hang on an operator that is away.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from redisqueue_operator.decide.status.events import EventRecord
from redisqueue_operator.observe.facts import FINALIZER_REFUSED, ApplyOutcome

if TYPE_CHECKING:
    from redisqueue_operator.api.model import RedisQueue
    from redisqueue_operator.observe.facts import Observation

FINALIZER = "redisqueue.dev/drain"


def is_held(rq: RedisQueue) -> bool:
    """Whether the API server waits for us when the object is deleted."""
    return FINALIZER in (rq.raw["metadata"].get("finalizers") or ())


def shall_be_held(rq: RedisQueue) -> bool:
    """Whether it should. A finalizer can only be added before the deletion."""
    return rq.spec.deletion_policy == "Drain" and (is_held(rq) or not rq.deletion)


def finalizers(rq: RedisQueue, held: bool) -> list[str]:
    """The whole list, with or without ours."""
    others = [name for name in rq.raw["metadata"].get("finalizers") or () if name != FINALIZER]
    return [*others, FINALIZER] if held else others


def refused(rq: RedisQueue, words: object) -> ApplyOutcome:
    """How people are told that the finalizer cannot be written; `words` are the server's."""
    text = (
        f"A deletion would not wait for a drain, the finalizer {FINALIZER} is refused: {words}"
        if shall_be_held(rq) and not rq.deletion
        else f"The finalizer {FINALIZER} cannot be taken off: {words}"
    )
    return ApplyOutcome(ok=True, reason=FINALIZER_REFUSED, message=text)


def seconds_left(rq: RedisQueue, now: float) -> float:
    """Until the deadline of the deletion; `now` in seconds since the epoch."""
    began = datetime.fromisoformat(rq.raw["metadata"]["deletionTimestamp"]).timestamp()
    return began + rq.spec.deletion_deadline_seconds - now


def may_go(rq: RedisQueue, observation: Observation, seen_ms: int, now: float) -> str:
    """Why a deleted RedisQueue is let go now; empty while its queue is still to be emptied.

    Redis that cannot be read says nothing about the queue, nor does a sample from `seen_ms` (Redis' time) or
    before, when the deletion was first seen: then only the deadline ends the wait.
    """
    if not shall_be_held(rq):
        return f"deletionPolicy is {rq.spec.deletion_policy}"
    if observation.replicas is None:
        return "it has no workers"
    if seconds_left(rq, now) <= 0:
        return f"the {rq.spec.deletion_deadline_seconds} s of deletionDeadlineSeconds have passed"
    queue = observation.queue
    if queue is None or queue.time_ms <= seen_ms:
        return ""
    return "the queue is empty" if queue.pending + queue.delayed + queue.in_flight == 0 else ""


def messages_left(observation: Observation, *, made: bool) -> EventRecord | None:
    """What is to be told when a drain ends for want of workers; None when that is not so, or nothing is left.

    `made`: they are known to have been there. Else the template may have been refused, or the deletion was
    faster than the first apply, or an operator that knew is gone: then nobody is said to have deleted them.
    """
    if observation.replicas is not None:
        return None
    queue = observation.queue
    left = "an unknown number of" if queue is None else queue.pending + queue.delayed + queue.in_flight
    if not left:
        return None
    reason, text = (
        ("WorkersVanished", "somebody deleted the workers before the queue was empty")
        if made
        else ("MessagesLeft", "there are no workers to empty the queue")
    )
    return EventRecord("Warning", reason, f"{text}: {left} messages are left in it", "Drain")
