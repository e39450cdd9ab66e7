"""What a handler's code may take over of its process, and a worker cannot spare: stop signals above all.

Signals are caught for this process alone, not for what its handlers fork: a forked child would otherwise
catch them as the worker does, and so could not be terminated.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from redisqueue_worker import logs
from redisqueue_worker.logs import text_of, type_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    OnCrash = Callable[[threading.ExceptHookArgs], object]


log = logging.getLogger(__name__)

Catch = Callable[[int, Any], object]


class StoppedBeforeStart(BaseException):
    """A signal came before anything was claimed; no `except Exception` of a handler's module stops it."""


BY_SIGNALS = (KeyboardInterrupt, StoppedBeforeStart)
"""What signals raise in the main thread while a handler's module or its hooks run."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_caught_by: Catch | None = None
_held = threading.local()


def catch_stop_signals(catch: Catch) -> list[str]:
    """Let `catch` have the signals, also those that are blocked. Call it from the main thread.

    Returns the names of those that somebody else took, or blocked, since this was last called.
    """
    global _caught_by  # noqa: PLW0603  (a process has one set of signal handlers)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    taken = [
        number.name
        for number in STOP_SIGNALS
        if _caught_by is not None and (number in blocked or signal.getsignal(number) is not _caught_by)
    ]
    if _caught_by is None:
        os.register_at_fork(before=_hold_back, after_in_parent=_let_through, after_in_child=_let_go)
    _caught_by = catch
    for number in STOP_SIGNALS:
        signal.signal(number, catch)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    return taken


def _hold_back() -> None:
    """Before a fork: a signal that reaches the child at once waits for the action that it shall have."""
    _held.before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


def _let_through() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _held.before)


def _let_go() -> None:
    """In a forked child: Python's own actions, unless the handler's code had taken a signal itself."""
    ours = [number for number in STOP_SIGNALS if signal.getsignal(number) is _caught_by]
    for number in ours:
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)  # an event loop's, which the parent listens to
    _let_through()
    if signal.SIGINT in ours:  # not before: what is raised here is lost
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Takeovers:
    """Keeps the stop signals, the worker's log lines and its hook for crashed threads.

    Args:
        catch: gets the stop signals.
        crashed: called for each thread that ends by an exception, before the hook of somebody else.
    """

    def __init__(self, catch: Catch, crashed: OnCrash | None = None) -> None:
        self._catch = catch
        self._crashed = crashed
        self._hook = self._on_crash
        self._warned = False
        self._theirs: Any = threading.__excepthook__

    def undo(self) -> list[str]:
        """Set everything again; what had been taken since the last time, by name. From the main thread."""
        if self._crashed and threading.excepthook is not self._hook:
            self._theirs = threading.excepthook
            threading.excepthook = self._hook
        taken = catch_stop_signals(self._catch)
        return [*taken, "logging"] if logs.set_again() else taken

    def undo_and_warn(self) -> None:
        """As `undo`; says so the first time that there is something."""
        taken = self.undo()
        if taken and not self._warned:
            self._warned = True
            warn_of(taken)

    def _on_crash(self, crash: threading.ExceptHookArgs) -> None:
        if self._crashed:
            self._crashed(crash)
        if self._theirs is not threading.__excepthook__:
            self._theirs(crash)


def warn_of(taken: Iterable[str]) -> None:
    """Tell what had been taken."""
    log.warning(
        "the handler's code took over what the worker needs: set again", extra={"reason": ", ".join(taken)}
    )


class forks_end_here:  # noqa: N801  (a word of a `with` statement)
    """A process that leaves the `with` block and has not entered it ends at once.

    A handler's code may fork and let the child come back out of it: that child is nobody's worker. It would
    answer for the message before its handler has ended, over the parent's connections. What C code forks
    without telling Python is not seen.
    """

    __slots__ = ("_forks",)

    def __enter__(self) -> None:
        self._forks = _forks  # rather than the process's id, which takes a system call

    def __exit__(self, _kind: object, problem: BaseException | None, _trace: object) -> None:
        if self._forks != _forks:
            _end_fork(problem)


_forks = 0
"""How many forks this process is away from the one that imported this module."""


def _count_fork() -> None:
    global _forks  # noqa: PLW0603  (a process has one past)
    _forks += 1


os.register_at_fork(after_in_child=_count_fork)


def _end_fork(problem: BaseException | None) -> None:
    """Leave with the exit code of a script that ends so, without the parent's buffers, threads and atexit."""
    ended_well = problem is None or (isinstance(problem, SystemExit) and problem.code in (None, 0))
    try:
        log.warning(
            "a process that the handler's code forked came back out of it: it is ended; use os._exit() there",
            extra={"reason": "" if problem is None else f"{type_name(problem)}: {text_of(problem)}"},
        )
    finally:
        os._exit(0 if ended_well else 1)
