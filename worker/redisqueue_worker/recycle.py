"""When a process is worn out, and how it is replaced by a fresh one in place."""

from __future__ import annotations

import logging
import os
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from redis_message_queue._clock import monotonic
from redisqueue_worker.patience import EXIT_CRASHED, leave_at_once

if TYPE_CHECKING:
    from redisqueue_worker.origin import Origin
    from redisqueue_worker.settings import Settings

log = logging.getLogger(__name__)

# Workers that started together must not all start afresh together.
JITTER = 0.1
_LISTENER = "_REDISQUEUE_LISTENER"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a process may do before it is replaced; None means no limit."""

    max_messages: int | None = None
    max_memory_mib: float | None = None
    max_age_seconds: float | None = None

    @classmethod
    def of(cls, settings: Settings, chance: float) -> Limits:
        """The limits of `settings`, those on work and age moved by up to a tenth; `chance` is from 0 to 1."""
        factor = 1 + JITTER * (2 * chance - 1)
        messages, age = settings.max_messages, settings.max_age_seconds
        return cls(
            None if messages is None else max(1, round(messages * factor)),
            settings.max_memory_mib,
            None if age is None else age * factor,
        )

    def reached(self, messages: int, memory_mib: float, age_seconds: float) -> str:
        """Which limit is reached, in words for the log; empty when none is."""
        if self.max_messages is not None and messages >= self.max_messages:
            return f"{messages} messages"
        if self.max_memory_mib is not None and memory_mib > self.max_memory_mib:
            return f"{memory_mib:.0f} MiB"
        if self.max_age_seconds is not None and age_seconds >= self.max_age_seconds:
            return f"{age_seconds:.0f} s"
        return ""


class Wear:
    """How much of its `limits` this process has used up, its age counted from now."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._begun_at = monotonic()
        self._warned = False

    def reached(self, messages: int) -> str:
        """Which limit is reached after so many messages, in words for the log; empty when none is."""
        size, largest = resident_mib(), self._limits.max_memory_mib
        if not messages and largest is not None and size > largest:
            self._warn(size, largest)
            size = 0.0  # a fresh process would be no smaller, and so on for ever
        return self._limits.reached(messages, size, monotonic() - self._begun_at)

    def _warn(self, size_mib: float, limit_mib: float) -> None:
        if not self._warned:
            self._warned = True
            log.warning(
                "larger than REDISQUEUE_MAX_MEMORY_MIB before the first message: it starts afresh only after "
                "messages; raise the limit",
                extra={"size_mib": round(size_mib), "limit_mib": limit_mib},
            )


def inherited_listener() -> socket.socket | None:
    """The listening socket that this process's predecessor kept open for it."""
    descriptor = os.environ.pop(_LISTENER, None)
    if descriptor is None:
        return None
    os.set_inheritable(int(descriptor), False)
    return socket.socket(fileno=int(descriptor))


def resident_mib() -> float:
    """The size of this process in memory."""
    with suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    import resource  # noqa: PLC0415  (not on Linux: the peak is the next best)

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def start_afresh(origin: Origin, listener: int | None = None) -> NoReturn:
    """Replace this process by a fresh one with the same arguments; does not return.

    Args:
        origin: what the fresh one shall have of its surroundings.
        listener: descriptor of a listening socket to keep open: who connects meanwhile waits in its backlog.
    """
    environment = dict(origin.environment)
    environment.pop(_LISTENER, None)
    kept = []
    if listener is not None:
        os.set_inheritable(listener, True)
        environment[_LISTENER] = str(listener)
        kept.append(listener)
    with suppress(OSError, ValueError):  # whoever read it may be gone
        sys.stdout.flush()
    origin.restore(*kept)
    try:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606  (ourselves)
    except OSError as error:  # Python itself is gone, or there is no memory
        log.critical("cannot start afresh", extra={"reason": f"{sys.executable}: {error.strerror}"})
        leave_at_once(EXIT_CRASHED)
