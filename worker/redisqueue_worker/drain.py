"""The life of a worker as a pure state machine: running → draining → drained → stopped.

It knows no clock, no signal and no socket: what happened and what time it is come in as arguments,
what shall be done comes out as effects. The clock of a drain starts once, at the first cause.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


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
    TICK = "tick"  # time passed, or the number in flight changed


@dataclass(frozen=True, slots=True)
class Drain:
    """Where the worker stands. `deadline` is on the caller's clock, in seconds; None while running."""

    timeout_seconds: float
    phase: Phase = Phase.RUNNING
    cause: Cause | None = None
    deadline: float | None = None
    signalled: bool = False  # SIGTERM or SIGINT was seen: there is no way back

    def remaining_seconds(self, now: float) -> float | None:
        return None if self.deadline is None else max(0.0, self.deadline - now)


Step = tuple[Drain, tuple[Effect, ...]]


def step(state: Drain, event: Event, *, now: float, in_flight: int) -> Step:
    """The next state and what to do, in order.

    Args:
        event: what happened.
        now: seconds on any clock that only goes forward, the same for all calls.
        in_flight: messages that are claimed and not yet settled.
    """
    if state.phase is Phase.STOPPED:
        return state, ()
    match event:
        case Event.SIGTERM | Event.SIGINT:
            return _signal(state, Cause(event.value), now, in_flight)
        case Event.DRAIN:
            return _begin(state, Cause.COMMAND, now, in_flight)
        case Event.RECYCLE:
            return _begin(state, Cause.RECYCLE, now, in_flight)
        case Event.RESUME:
            return _resume(state)
        case Event.TICK:
            return _progress(state, now, in_flight)


def _signal(state: Drain, cause: Cause, now: float, in_flight: int) -> Step:
    if state.signalled:
        return replace(state, phase=Phase.STOPPED), (Effect.FORCE_EXIT,)
    state = replace(state, signalled=True)
    if state.phase is Phase.RUNNING or state.cause is Cause.RECYCLE:
        return _begin(state, cause, now, in_flight)
    return _progress(replace(state, phase=Phase.DRAINING), now, in_flight)


def _begin(state: Drain, cause: Cause, now: float, in_flight: int) -> Step:
    """Start the drain, or take over a recycling that runs; an older deadline stays."""
    if state.phase is not Phase.RUNNING and (state.cause is not Cause.RECYCLE or cause is Cause.RECYCLE):
        return state, ()
    deadline = now + state.timeout_seconds if state.deadline is None else state.deadline
    begun = replace(state, phase=Phase.DRAINING, cause=cause, deadline=deadline)
    after, effects = _progress(begun, now, in_flight)
    return after, (Effect.STOP_CLAIMING, *effects)


def _resume(state: Drain) -> Step:
    if state.signalled or state.cause is not Cause.COMMAND:
        return state, ()
    return replace(state, phase=Phase.RUNNING, cause=None, deadline=None), (Effect.START_CLAIMING,)


def _progress(state: Drain, now: float, in_flight: int) -> Step:
    if state.phase is not Phase.DRAINING:
        return state, ()
    if in_flight == 0:
        if state.cause is Cause.RECYCLE:
            return replace(state, phase=Phase.STOPPED), (Effect.RECYCLE,)
        if state.signalled:
            return replace(state, phase=Phase.STOPPED), (Effect.EXIT,)
        return replace(state, phase=Phase.DRAINED), ()
    if state.deadline is not None and now >= state.deadline:
        last = Effect.RECYCLE if state.cause is Cause.RECYCLE else Effect.FORCE_EXIT
        return replace(state, phase=Phase.STOPPED), (last,)
    return state, ()
