"""How a worker leaves: what others want done first, then the last word to Redis, then it is gone at once.

What handlers and their hooks leave behind must not keep a process that wants to go.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

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
    from redisqueue_worker.restart import Origin


log = logging.getLogger("redisqueue_worker.worker")  # one name tells a worker's life from start to end

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
    origin: Origin
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
            log.info("starting afresh", extra={**self._fields, "settled": self.loop.settled_total})
            self._settle(deregister=False)
            start_afresh(self.origin, listener)
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


def start_afresh(origin: Origin, listener: int | None = None) -> NoReturn:
    """Replace this process by a fresh one with the same arguments; does not return.

    Args:
        origin: what the fresh one shall have of its surroundings.
        listener: descriptor of a listening socket to keep open: who connects meanwhile waits in its backlog.
    """
    environment = dict(origin.environment)
    environment.pop(LISTENER, None)
    kept = []
    if listener is not None:
        os.set_inheritable(listener, True)
        environment[LISTENER] = str(listener)
        kept.append(listener)
    with contextlib.suppress(OSError, ValueError):  # whoever read it may be gone
        sys.stdout.flush()
    origin.restore(*kept)
    try:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606  (ourselves)
    except OSError as error:  # Python itself is gone, or there is no memory
        log.critical("cannot start afresh", extra={"reason": f"{sys.executable}: {error.strerror}"})
        leave_at_once(EXIT_CRASHED)


def start_over(origin: Origin) -> NoReturn:
    """Begin again in a fresh process, when this one has not got so far as to claim anything."""
    run_atexit(lambda: start_afresh(origin))
    end_descendants(CHILDREN_SECONDS)
    start_afresh(origin)
