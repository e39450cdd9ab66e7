"""A handler's code may fork and let the child come back out of it: that child is nobody's worker.

It would answer for the message before its handler has ended, over the parent's connections. So it ends here.
"""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from redisqueue_worker.logs import text_of, type_name

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)


@contextmanager
def forks_end_here() -> Iterator[None]:
    """A process that leaves the `with` block and has not entered it ends at once."""
    process = os.getpid()
    problem: BaseException | None = None
    try:
        yield
    except BaseException as error:
        problem = error
        raise
    finally:
        if os.getpid() != process:
            _end(problem)


def _end(problem: BaseException | None) -> None:
    """Leave with the exit code of a script that ends so, without the parent's buffers, threads and atexit."""
    ended_well = problem is None or (isinstance(problem, SystemExit) and problem.code in (None, 0))
    try:
        log.warning(
            "a process that the handler's code forked came back out of it: it is ended; use os._exit() there",
            extra={"reason": "" if problem is None else f"{type_name(problem)}: {text_of(problem)}"},
        )
    finally:
        os._exit(0 if ended_well else 1)
