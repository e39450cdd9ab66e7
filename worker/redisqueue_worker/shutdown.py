"""How a worker stops: the drain as a pure state machine, and then the way out of the process.

The drain, running → draining → drained → stopped, knows no clock, no signal and no socket: what happened
and what time it is come in as arguments, what shall be done comes out as effects. Its clock starts once, at
the first cause.

On the way out comes first what others want done, then the last word to Redis, then the process is gone at
once: what handlers and their hooks leave behind must not keep it.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from redisqueue_worker.hooks import hooks
from redisqueue_worker.orphans import end_descendants
from redisqueue_worker.restart import LISTENER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redis_message_queue.leases import LeaseKeeper
    from redisqueue_worker.consumer_loop import ConsumerLoop
    from redisqueue_worker.executors import Executor
    from redisqueue_worker.health import HealthServer
    from redisqueue_worker.in_flight import InFlightTable
    from redisqueue_worker.restart import ProcessSnapshot


log = logging.getLogger("redisqueue_worker.worker")  # one name tells a worker's life from start to end


# ---- the drain: pure ----

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


class Drain(NamedTuple):
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
        return state._replace(phase=Phase.STOPPED), (Effect.FORCE_EXIT,)
    state = state._replace(signalled=True)
    if state.phase is Phase.RUNNING or state.cause is Cause.RECYCLE:
        return _begin(state, cause, now, load)
    return _progress(state._replace(phase=Phase.DRAINING), now, load)


def _begin(state: Drain, cause: Cause, now: float, load: Load) -> Step:
    """Start the drain, or take over a recycling that runs; an older deadline stays."""
    may_change = state.cause is Cause.RECYCLE and cause is not Cause.RECYCLE
    if state.phase is not Phase.RUNNING and not may_change:
        return state, ()
    deadline = now + state.timeout_seconds if state.deadline is None else state.deadline
    begun = state._replace(phase=Phase.DRAINING, cause=cause, deadline=deadline)
    after, effects = _progress(begun, now, load)
    return after, (Effect.STOP_CLAIMING, *effects)


def _resume(state: Drain) -> Step:
    if state.signalled or state.cause is not Cause.COMMAND:
        return state, ()
    running = state._replace(phase=Phase.RUNNING, cause=None, deadline=None, settle_deadline=None)
    return running, (Effect.START_CLAIMING,)


def _progress(state: Drain, now: float, load: Load) -> Step:
    if state.phase is not Phase.DRAINING:
        return state, ()
    recycling = state.cause is Cause.RECYCLE
    if load.in_flight == 0:
        if recycling:
            return state._replace(phase=Phase.STOPPED), (Effect.RECYCLE,)
        if state.signalled or state.cause in (Cause.EMPTY, Cause.IMPATIENCE):
            return state._replace(phase=Phase.STOPPED), (Effect.EXIT,)
        return state._replace(phase=Phase.DRAINED, settle_deadline=None), ()
    if load.running:
        state = state._replace(settle_deadline=None)
    elif recycling:  # nobody waits for its end: it stays until Redis knows every result
        return state._replace(deadline=None), ()
    elif state.settle_deadline is None:
        state = state._replace(settle_deadline=now + min(state.timeout_seconds, SETTLE_SECONDS))
    if state.remaining_seconds(now) == 0:
        return state._replace(phase=Phase.STOPPED), (Effect.RECYCLE if recycling else Effect.FORCE_EXIT,)
    return state, ()


# ---- the way out ----

EXIT_CRASHED = 1


def leave_at_once(code: int) -> NoReturn:
    """End this process with exit `code`, whatever its threads do; what it has printed is not lost."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # whoever read it may be gone
            stream.flush()
    os._exit(code)


def leave_within(seconds: float, code: int) -> None:
    """End this process with exit `code` after `seconds`, whatever its threads do."""
    _after(seconds, lambda: leave_at_once(code))


@contextlib.contextmanager
def bounded(seconds: float, what: str, otherwise: Callable[[], object]) -> Iterator[None]:
    """Within it `what` runs; if for longer than `seconds`, another thread calls `otherwise`, to leave."""

    def give_up() -> None:
        try:
            log.error("%s for longer than %g s: leaving without them", what, seconds)
            otherwise()
        finally:
            leave_at_once(EXIT_CRASHED)

    timer = _after(seconds, give_up)
    try:
        yield
    finally:
        timer.cancel()


def _after(seconds: float, action: Callable[[], object]) -> threading.Timer:
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()
    return timer


EXIT_DRAINED = 0
EXIT_FORCED = 4
EXIT_IMPATIENT = 5
# Within the 15 s that the grace period has beyond the drain timeout.
HOOK_SECONDS = 5.0
LEFTOVER_SECONDS = 3.0
LAST_WORDS_SECONDS = 8.0
CHILDREN_SECONDS = 0.5


@dataclass(kw_only=True)
class Ending:
    """The end of one worker. A handler that cannot be stopped works until the very end.

    Its message must not go to another worker before, so what becomes of it is the last that Redis is told.

    Attributes:
        release: whether messages that are given up go back to the front of the queue.
        reason: what began the drain, for the log.
        drained: the exit code when all is settled.
        told_to_stop: holds the stop signals back from now on; whether one of them has come.
    """

    loop: ConsumerLoop
    keeper: LeaseKeeper
    in_flight: InFlightTable
    slots: Executor
    health: HealthServer | None
    snapshot: ProcessSnapshot
    release: bool
    reason: str
    drained: int
    told_to_stop: Callable[[], bool]
    # Whoever has one of them goes on to the end of the process, and keeps it.
    _finishing: threading.Lock = field(default_factory=threading.Lock)
    _parting: threading.Lock = field(default_factory=threading.Lock)

    def give_up(self) -> None:
        """Tell Redis what it can still be told; the process must leave at once."""
        self._tell_what_runs()
        self._settle(deregister=True)
        log.info("forced to stop", extra=self._fields)

    def leave(self, *, recycle: bool) -> int:
        """Leave in order. Returns only when no handler runs and nothing replaces the process."""
        self._tell_what_runs()
        with bounded(HOOK_SECONDS, "shut-down hooks run", lambda: self._finish(recycle)):
            hooks.stop(self.slots.run, self.slots.context)
        if not self.in_flight.running():
            self.slots.close()
        code = self._finish(recycle)
        # Handlers may have left threads of their own, for which an orderly exit would wait for ever.
        leave_within(LEFTOVER_SECONDS, code)
        return code

    def _tell_what_runs(self) -> None:
        if running := [message.claim.id for message in self.in_flight.running() if not message.abandoned]:
            log.error(
                "giving up what still runs",
                extra={**self._fields, "release": self.release, "message_ids": running},
            )

    @property
    def _fields(self) -> dict[str, object]:
        return {"reason": self.reason, "in_flight": len(self.in_flight)}

    def _finish(self, recycle: bool) -> int:
        """What an orderly exit does, and then part; the exit code."""
        self._finishing.acquire()
        run_atexit(lambda: self._part(recycle))
        return self._part(recycle)

    def _part(self, recycle: bool) -> int:
        """Tell Redis the rest, and be gone before a handler can do more; the exit code when none runs."""
        self._parting.acquire()
        if recycle and not self.told_to_stop():
            end_descendants(CHILDREN_SECONDS)
            listener = self.health.hand_over() if self.health else None
            log.info("starting afresh", extra={**self._fields, "settled": self.loop.deliveries.settled_total})
            self._settle(deregister=False)
            start_afresh(self.snapshot, listener)
        code = self.drained if self._settle(deregister=True) else EXIT_FORCED
        if threading.current_thread() is not threading.main_thread():  # which hangs, as the log says
            leave_at_once(code)
        log.info("drained", extra=self._fields)
        if self.in_flight.running():
            leave_at_once(code)
        return code

    def _settle(self, *, deregister: bool) -> bool:
        """The worker's last call to Redis; whether it knows all results now."""
        self.loop.leave(release=self.release, deregister=deregister, timeout_seconds=LAST_WORDS_SECONDS)
        self.keeper.close(timeout_seconds=0)
        if unsettled := [message.claim.id for message in self.in_flight.all() if message.finished]:
            log.error(
                "results left behind: these messages come again when their leases end",
                extra={**self._fields, "message_ids": unsettled},
            )
        return not unsettled


def run_atexit(otherwise: Callable[[], object]) -> None:
    """Run what `atexit` has registered; when that takes long, another thread calls `otherwise`, to leave."""
    done = threading.Event()

    def hurry() -> None:
        end_descendants(CHILDREN_SECONDS)  # it may wait for some of them
        done.wait(CHILDREN_SECONDS)
        otherwise()

    with bounded(LEFTOVER_SECONDS, "functions of atexit run", hurry):
        atexit._run_exitfuncs()  # noqa: SLF001  (as an interpreter does that ends)
        done.set()


def start_afresh(snapshot: ProcessSnapshot, listener: int | None = None) -> NoReturn:
    """Replace this process by a fresh one with the same arguments; does not return.

    Args:
        snapshot: what the fresh one shall have of its surroundings.
        listener: descriptor of a listening socket to keep open: who connects meanwhile waits in its backlog.
    """
    environment = dict(snapshot.environment)
    environment.pop(LISTENER, None)
    kept = []
    if listener is not None:
        os.set_inheritable(listener, True)
        environment[LISTENER] = str(listener)
        kept.append(listener)
    with contextlib.suppress(OSError, ValueError):  # whoever read it may be gone
        sys.stdout.flush()
    snapshot.restore(*kept)
    try:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606  (ourselves)
    except OSError as error:  # Python itself is gone, or there is no memory
        log.critical("cannot start afresh", extra={"reason": f"{sys.executable}: {error.strerror}"})
        leave_at_once(EXIT_CRASHED)


def start_over(snapshot: ProcessSnapshot) -> NoReturn:
    """Begin again in a fresh process, when this one has not got so far as to claim anything."""
    run_atexit(lambda: start_afresh(snapshot))
    end_descendants(CHILDREN_SECONDS)
    start_afresh(snapshot)
