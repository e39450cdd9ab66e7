"""How a worker leaves: what others want done first, then the last word to Redis, then it is gone at once."""

from __future__ import annotations

import atexit
import logging
import threading
from typing import TYPE_CHECKING, NoReturn

from redisqueue_worker.descendants import end_descendants
from redisqueue_worker.hooks import hooks
from redisqueue_worker.patience import bounded, leave_at_once, leave_within
from redisqueue_worker.recycle import start_afresh

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis_message_queue.lease_keeper import LeaseKeeper
    from redisqueue_worker.claimer import Claimer
    from redisqueue_worker.flights import Flights
    from redisqueue_worker.health import HealthServer
    from redisqueue_worker.origin import Origin
    from redisqueue_worker.slots import Slots

log = logging.getLogger("redisqueue_worker.runner")  # one name tells a worker's life from start to end

EXIT_DRAINED = 0
EXIT_FORCED = 4
EXIT_IMPATIENT = 5
# Within the 15 s that the grace period has beyond the drain timeout.
HOOK_SECONDS = 5.0
LEFTOVER_SECONDS = 3.0
LAST_WORDS_SECONDS = 8.0
CHILDREN_SECONDS = 0.5


class Ending:
    """The end of one worker. A handler that cannot be stopped works until the very end.

    Its message must not go to another worker before, so what becomes of it is the last that Redis is told.

    Args:
        release: whether messages that are given up go back to the front of the queue.
        reason: what began the drain, for the log.
        drained: the exit code when all is settled.
        told_to_stop: holds the stop signals back from now on; whether one of them has come.
    """

    def __init__(
        self,
        *,
        claimer: Claimer,
        keeper: LeaseKeeper,
        flights: Flights,
        slots: Slots,
        health: HealthServer | None,
        origin: Origin,
        release: bool,
        reason: str,
        drained: int,
        told_to_stop: Callable[[], bool],
    ) -> None:
        self._claimer = claimer
        self._keeper = keeper
        self._flights = flights
        self._slots = slots
        self._health = health
        self._origin = origin
        self._release = release
        self._reason = reason
        self._drained = drained
        self._told_to_stop = told_to_stop
        # Whoever has one of them goes on to the end of the process, and keeps it.
        self._finishing = threading.Lock()
        self._parting = threading.Lock()

    def give_up(self) -> None:
        """Tell Redis what it can still be told; the process must leave at once."""
        self._tell_what_runs()
        self._settle(deregister=True)
        log.info("forced to stop", extra=self._fields)

    def leave(self, *, recycle: bool) -> int:
        """Leave in order. Returns only when no handler runs and nothing replaces the process."""
        self._tell_what_runs()
        with bounded(HOOK_SECONDS, "shut-down hooks run", lambda: self._finish(recycle)):
            hooks.stop(self._slots.run, self._slots.context)
        if not self._flights.running():
            self._slots.close()
        code = self._finish(recycle)
        # Handlers may have left threads of their own, for which an orderly exit would wait for ever.
        leave_within(LEFTOVER_SECONDS, code)
        return code

    def _tell_what_runs(self) -> None:
        if running := [flight.claim.id for flight in self._flights.running() if not flight.abandoned]:
            log.error(
                "giving up what still runs",
                extra={**self._fields, "release": self._release, "message_ids": running},
            )

    @property
    def _fields(self) -> dict[str, object]:
        return {"reason": self._reason, "in_flight": len(self._flights)}

    def _finish(self, recycle: bool) -> int:
        """What an orderly exit does, and then part; the exit code."""
        self._finishing.acquire()
        run_atexit(lambda: self._part(recycle))
        return self._part(recycle)

    def _part(self, recycle: bool) -> int:
        """Tell Redis the rest, and be gone before a handler can do more; the exit code when none runs."""
        self._parting.acquire()
        if recycle and not self._told_to_stop():
            end_descendants(CHILDREN_SECONDS)
            listener = self._health.hand_over() if self._health else None
            log.info("starting afresh", extra={**self._fields, "settled": self._claimer.settled_total})
            self._settle(deregister=False)
            start_afresh(self._origin, listener)
        code = self._drained if self._settle(deregister=True) else EXIT_FORCED
        if threading.current_thread() is not threading.main_thread():  # which hangs, as the log says
            leave_at_once(code)
        log.info("drained", extra=self._fields)
        if self._flights.running():
            leave_at_once(code)
        return code

    def _settle(self, *, deregister: bool) -> bool:
        """The worker's last call to Redis; whether it knows all results now."""
        self._claimer.leave(release=self._release, deregister=deregister, timeout_seconds=LAST_WORDS_SECONDS)
        self._keeper.close(timeout_seconds=0)
        if unsettled := [flight.claim.id for flight in self._flights.all() if flight.finished]:
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


def start_over(origin: Origin) -> NoReturn:
    """Begin again in a fresh process, when this one has not got so far as to claim anything."""
    run_atexit(lambda: start_afresh(origin))
    end_descendants(CHILDREN_SECONDS)
    start_afresh(origin)
