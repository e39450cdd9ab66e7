"""What dead workers hold is given back at once, each death once: by proof, never by silence. Pure.

Redis remembers who holds something, so an operator that begins anew does nothing twice.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from redisqueue_operator.decide.status import EventRecord

if TYPE_CHECKING:
    from redisqueue_operator.decide.look import Facts, Memory, Plan

REASON = "MessagesReturned"


def with_ended_workers(plan: Plan, facts: Facts, now: float) -> Plan:
    """The plan, and what dead workers hold that is to be given back; what was given back is told."""
    memory, events = plan.memory, plan.events
    if memory.returned:
        text = f"{memory.returned} messages of workers that had ended are pending again."
        events = (*events, EventRecord("Normal", REASON, text, "Return"))
    holders = _holders(facts)
    done = tuple(each for each in memory.given_back if each in holders)
    ended = _ended(facts, holders, done)
    refused = memory.unreturned if ended else None
    if (memory.returned, memory.given_back, memory.unreturned) != (0, done, refused):
        memory = replace(memory, returned=0, given_back=done, unreturned=refused)
    if not plan.sampled or not ended:
        return plan if memory is plan.memory else replace(plan, memory=memory, events=events)
    if refused is not None and refused.until > now:
        return replace(plan, memory=memory, events=events, again=min(plan.again, refused.until - now))
    return replace(plan, memory=memory, events=events, give_back=ended, again=0)


def _holders(facts: Facts) -> frozenset[str]:
    """Who holds messages, as far as it is known."""
    if facts.sample is None or isinstance(facts.sample, Exception):
        return frozenset()
    return frozenset(each.instance for each in facts.sample.holders)


def _ended(facts: Facts, holders: frozenset[str], done: tuple[str, ...]) -> tuple[str, ...]:
    if facts.fleet is None or not holders:
        return ()
    return tuple(each for each in facts.fleet.ended if each in holders and each not in done)


def remembered_ends(memory: Memory, plan: Plan, returned: int) -> Memory:
    """What is remembered once that was given back, so many messages."""
    given_back = (*memory.given_back, *plan.give_back)
    return replace(memory, given_back=given_back, returned=memory.returned + returned, unreturned=None)
