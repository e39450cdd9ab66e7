"""An end to waiting: what handlers and their hooks leave behind must not keep a process that wants to go."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger(__name__)

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
