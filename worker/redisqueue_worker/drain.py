"""The life of a worker as a pure state machine: running → draining → drained → stopped.

It knows no clock, no signal and no socket: what happened and what time it is come in as arguments,
what shall be done comes out as effects. The clock of a drain starts once, at the first cause.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

# How long a worker that is to stop tries to tell Redis what its handlers did, once none of them runs.
SETTLE_SECONDS = 30.0


class Phase(StrEnum):
    RUNNING = "running"
    DRAINING = "draining"
    DRAINED = "drained"  # nothing in hand, and staying: a drain by command waits for SIGTERM or resume
    STOPPED = "stopped"


class Cause(StrEnum):
    """What began the drain; the value is the reason that log lines give."""

    COMMAND = "command"
    SIGTERM = "SIGTERM"
    SIGINT = "SIGINT"
    RECYCLE = "recycle"
    EMPTY = "queue empty"
    IMPATIENCE = "no progress"


class Effect(StrEnum):
    STOP_CLAIMING = "stop claiming"
    START_CLAIMING = "start claiming"
    EXIT = "exit"  # everything is settled
    FORCE_EXIT = "force exit"  # give up what still runs, then leave without waiting for it
    RECYCLE = "recycle"  # replace this process by a fresh one


class Event(StrEnum):
    DRAIN = "drain"
    RESUME = "resume"
    SIGTERM = "SIGTERM"
    SIGINT = "SIGINT"
    RECYCLE = "recycle"
    EMPTY = "queue empty"  # and the worker runs for as long as it is not
    IMPATIENCE = "no progress"  # for longer than such a worker waits
    TICK = "tick"  # time passed, or the number in flight changed


class Load(NamedTuple):
    """What a worker has in hand: messages `in_flight`, of which handlers are still `running` on some."""

    in_flight: int
    running: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Where the worker stands. The deadlines are on the caller's clock, in seconds.

    Attributes:
        deadline: when handlers are given up; None while running.
        settle_deadline: when results that Redis does not hear of are given up; None while handlers run.
        signalled: SIGTERM or SIGINT was seen: there is no way back.
    """

    timeout_seconds: float
    phase: Phase = Phase.RUNNING
    cause: Cause | None = None
    deadline: float | None = None
    settle_deadline: float | None = None
    signalled: bool = False

    def remaining_seconds(self, now: float) -> float | None:
        deadlines = [one for one in (self.deadline, self.settle_deadline) if one is not None]
        return max(0.0, min(deadlines) - now) if deadlines else None


Step = tuple[Drain, tuple[Effect, ...]]


def step(state: Drain, event: Event, *, now: float, load: Load) -> Step:
    """The next state and what to do, in order.

    Args:
        event: what happened.
        now: seconds on any clock that only goes forward, the same for all calls.
        load: messages that are claimed and not yet settled.
    """
    if state.phase is Phase.STOPPED:
        return state, ()
    match event:
        case Event.SIGTERM | Event.SIGINT:
            return _signal(state, Cause(event.value), now, load)
        case Event.DRAIN:
            return _begin(state, Cause.COMMAND, now, load)
        case Event.RECYCLE:
            return _begin(state, Cause.RECYCLE, now, load)
        case Event.EMPTY:
            return _begin(state, Cause.EMPTY, now, load)
        case Event.IMPATIENCE:
            return _begin(state, Cause.IMPATIENCE, now, load)
        case Event.RESUME:
            return _resume(state)
        case Event.TICK:
            return _progress(state, now, load)


def _signal(state: Drain, cause: Cause, now: float, load: Load) -> Step:
    if state.signalled:
        return replace(state, phase=Phase.STOPPED), (Effect.FORCE_EXIT,)
    state = replace(state, signalled=True)
    if state.phase is Phase.RUNNING or state.cause is Cause.RECYCLE:
        return _begin(state, cause, now, load)
    return _progress(replace(state, phase=Phase.DRAINING), now, load)


def _begin(state: Drain, cause: Cause, now: float, load: Load) -> Step:
    """Start the drain, or take over a recycling that runs; an older deadline stays."""
    may_change = state.cause is Cause.RECYCLE and cause is not Cause.RECYCLE
    if state.phase is not Phase.RUNNING and not may_change:
        return state, ()
    deadline = now + state.timeout_seconds if state.deadline is None else state.deadline
    begun = replace(state, phase=Phase.DRAINING, cause=cause, deadline=deadline)
    after, effects = _progress(begun, now, load)
    return after, (Effect.STOP_CLAIMING, *effects)


def _resume(state: Drain) -> Step:
    if state.signalled or state.cause is not Cause.COMMAND:
        return state, ()
    running = replace(state, phase=Phase.RUNNING, cause=None, deadline=None, settle_deadline=None)
    return running, (Effect.START_CLAIMING,)


def _progress(state: Drain, now: float, load: Load) -> Step:
    if state.phase is not Phase.DRAINING:
        return state, ()
    recycling = state.cause is Cause.RECYCLE
    if load.in_flight == 0:
        if recycling:
            return replace(state, phase=Phase.STOPPED), (Effect.RECYCLE,)
        if state.signalled or state.cause in (Cause.EMPTY, Cause.IMPATIENCE):
            return replace(state, phase=Phase.STOPPED), (Effect.EXIT,)
        return replace(state, phase=Phase.DRAINED, settle_deadline=None), ()
    if load.running:
        state = replace(state, settle_deadline=None)
    elif recycling:  # nobody waits for its end: it stays until Redis knows every result
        return replace(state, deadline=None), ()
    elif state.settle_deadline is None:
        state = replace(state, settle_deadline=now + min(state.timeout_seconds, SETTLE_SECONDS))
    if state.remaining_seconds(now) == 0:
        return replace(state, phase=Phase.STOPPED), (Effect.RECYCLE if recycling else Effect.FORCE_EXIT,)
    return state, ()
