"""An end to waiting: what handlers and their hooks leave behind must not keep a process that wants to go."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading

log = logging.getLogger(__name__)


def leave_within(seconds: float, code: int, *, because: str = "") -> threading.Timer:
    """End this process with exit `code` after `seconds`, whatever its threads do, unless cancelled before."""

    def leave() -> None:
        if because:
            log.error("%s for longer than %g s: leaving without them", because, seconds)
        logging.shutdown()
        with contextlib.suppress(OSError, ValueError):  # whoever read it may be gone
            sys.stdout.flush()
        os._exit(code)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()
    return timer
