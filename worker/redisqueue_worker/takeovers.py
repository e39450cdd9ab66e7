"""What a handler's code may take over, at its import or later, and a worker cannot spare."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from redisqueue_worker import logs
from redisqueue_worker.stop_signals import catch_stop_signals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from redisqueue_worker.stop_signals import Catch

    OnCrash = Callable[[threading.ExceptHookArgs], object]


log = logging.getLogger(__name__)


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
