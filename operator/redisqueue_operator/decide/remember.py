"""What is remembered of a RedisQueue once its plan was carried out, as far as that went. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from redisqueue_operator.decide.children.plan import Applied
from redisqueue_operator.decide.ended_workers import remembered_ends
from redisqueue_operator.decide.look import LONG_AGO
from redisqueue_operator.errors import PlatformError

if TYPE_CHECKING:
    from redisqueue_operator.decide.look import Done, Memory, Now, Plan

SPREAD_SECONDS = 10.0
"""Queues that began together shall not write their counters together for ever."""


def remembered(plan: Plan, done: Done, now: Now) -> Memory:
    """What is remembered once the plan was carried out as far as `done` says."""
    memory = plan.memory
    if done.returned is not None:
        memory = remembered_ends(memory, plan, done.returned)
    elif plan.give_back:
        memory = replace(memory, unreturned=done.unreturned)
    if plan.protect or plan.release:
        memory = replace(memory, protection=memory.protection.after(done.unprotected))
    if plan.children is not None and done.written is not None:
        written = done.written
        applied = Applied(plan.children.wanted, written.live, written.outcome, now.clock)
        memory = replace(memory, children=replace(memory.children, applied=applied)).after("children")
    if done.failed:
        memory = _after_failure(memory, done, now)
    elif plan.finalizer is not None:
        memory = memory.after("finalizer")
    if plan.finalizer is False and plan.events:
        memory = replace(memory, deletion_reported=True)
    if plan.remark is not None and not done.failed:
        memory = replace(memory, remark=plan.remark)
    if plan.scale is not None and done.scaled is not None:
        memory = replace(memory, hindrance=None).after("scale")
        if (decision := plan.scale.decision) is not None:
            scaled = replace(decision, to_replicas=sum(done.scaled))
            memory = replace(memory, scaled=scaled, scaled_at=now.clock, looked_at=LONG_AGO)
    if done.told:
        precedence = memory.precedence.told(memory.outcome, now.clock)
        written_at = now.clock + now.chance * SPREAD_SECONDS
        memory = replace(
            memory, written_at=written_at, lost=done.lost, scaled=None, precedence=precedence
        ).after("status")
    return memory


def _after_failure(memory: Memory, done: Done, now: Now) -> Memory:
    """With what is to be told of the step that failed, once that is to be told."""
    step, lasts = "scale" if done.failed == "recall" else done.failed, True
    if isinstance(done.error, PlatformError):
        attempt = memory.attempt(step).failed(done.error, now.clock)
        memory, lasts = memory.after(step, attempt), attempt.error is not None
    if step == "scale":
        decision = memory.decision.refused() if memory.decision is not None else None
        memory = replace(memory, decision=decision, hindrance=done.hindrance if lasts else None)
    return memory


def is_to_be_raised(memory: Memory, done: Done, now: float) -> bool:
    """Whether the look has failed as a whole: it is repeated after a while, longer each time.

    Not where people are told what is refused: that waits its own time.
    """
    if done.failed in ("scale", "recall"):
        return memory.hindrance is None or memory.hindrance.until <= now
    return done.error is not None and memory.attempt(done.failed).error is None
