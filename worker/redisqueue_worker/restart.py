"""When a process is replaced by a fresh one in place, and what that one starts with."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from redis_message_queue._clock import monotonic
from redisqueue_worker.orphans import unmarked_environment
from redisqueue_worker.signals import STOP_SIGNALS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from redisqueue_worker.settings import Settings


log = logging.getLogger(__name__)

# Workers that started together must not all start afresh together.
JITTER = 0.1
LISTENER = "_REDISQUEUE_LISTENER"


class RestartLimits(NamedTuple):
    """What a process may do before it is replaced; None means no limit."""

    max_messages: int | None = None
    max_memory_mib: float | None = None
    max_age_seconds: float | None = None

    @classmethod
    def of(cls, settings: Settings, chance: float) -> RestartLimits:
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


class Recycler:
    """How much of its `limits` this process has used up, its age counted from now."""

    def __init__(self, limits: RestartLimits) -> None:
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
    descriptor = os.environ.pop(LISTENER, None)
    if descriptor is None:
        return None
    os.set_inheritable(int(descriptor), False)
    return socket.socket(fileno=int(descriptor))


def resident_mib() -> float:
    """The size of this process in memory."""
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    # Not on Linux: the peak is the next best.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


LOOK_SECONDS = 0.5
_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages"})


class Reloader:
    """For development: compares the Python files below some folders with those of the beginning."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._before = self._look()

    def wait(self) -> None:
        """Return when a file was changed, added or removed."""
        while (now := self._look()) == self._before:
            time.sleep(LOOK_SECONDS)
        changed = sorted(name for name, _ in now.items() ^ self._before.items())
        log.info("code changed", extra={"files": list(dict.fromkeys(changed))})

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` once from a thread when `wait` would return."""

        def run() -> None:
            self.wait()
            changed()

        threading.Thread(target=run, name="reload", daemon=True).start()

    def _look(self) -> dict[str, int]:
        return dict(found for folder in self._folders for found in _python_files(folder))


def _python_files(folder: Path) -> Iterator[tuple[str, int]]:
    """Name and time of change of each file; virtual environments and hidden folders are not entered."""
    for root, folders, names in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name not in _SKIPPED
            and not Path(root, name, "pyvenv.cfg").exists()
        ]
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(root, name)
                try:
                    yield path, os.stat(path).st_mtime_ns
                except OSError:  # removed since it was listed
                    continue


_STANDARD = (0, 1, 2)
_LIMITS = tuple(sorted({value for name, value in vars(resource).items() if name.startswith("RLIMIT_")}))
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


class ProcessSnapshot(NamedTuple):
    """What to put back before an exec; `now` at the start of the process, before any code of a handler.

    An exec keeps more than one would like: what a handler did to its process would be its successor's start.
    """

    folder: str
    mask: int
    environment: Mapping[str, str]
    ignored: frozenset[int]
    blocked: frozenset[int]
    limits: Mapping[int, tuple[int, int]]
    niceness: int
    processors: frozenset[int]
    standard: Mapping[int, int]
    inheritable: frozenset[int]

    @classmethod
    def now(cls) -> ProcessSnapshot:
        """As it is. The stop signals count as not blocked: a predecessor may have held them back."""
        os.umask(mask := os.umask(0o077))
        return cls(
            folder=_folder(),
            mask=mask,
            environment=unmarked_environment(),
            ignored=frozenset(_ignored()),
            blocked=frozenset(signal.pthread_sigmask(signal.SIG_BLOCK, ())) - set(STOP_SIGNALS),
            limits={number: resource.getrlimit(number) for number in _LIMITS},
            niceness=os.getpriority(os.PRIO_PROCESS, 0),
            processors=frozenset(_processors()),
            standard={number: copy for number in _STANDARD if (copy := _copy(number)) is not None},
            inheritable=frozenset(_inheritable()),
        )

    def restore(self, *keep: int) -> None:
        """Put back what can be, for an exec by this very thread; the descriptors `keep` stay open over it.

        The environment is for the exec to hand over; the stop signals are left blocked if they are.
        """
        with contextlib.suppress(OSError):
            os.chdir(self.folder)
        os.umask(self.mask)
        for timer in _TIMERS:
            signal.setitimer(timer, 0)
        held = signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(STOP_SIGNALS)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.blocked | held)
        self._restore_ignored()
        self._restore_limits()
        with contextlib.suppress(OSError):  # a higher priority takes a privilege
            os.setpriority(os.PRIO_PROCESS, 0, self.niceness)
        if self.processors and self.processors != _processors():
            with contextlib.suppress(OSError):
                os.sched_setaffinity(0, self.processors)
        for number, copy in self.standard.items():
            os.dup2(copy, number)
        for descriptor in _inheritable() - self.inheritable - set(keep):
            with contextlib.suppress(OSError):
                os.set_inheritable(descriptor, False)

    def _restore_ignored(self) -> None:
        if self.ignored == _ignored():
            return
        for number in _ignored() ^ self.ignored:
            # Only the main thread may; elsewhere a rare case stays as it is.
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_IGN if number in self.ignored else signal.SIG_DFL)

    def _restore_limits(self) -> None:
        for number, (soft, hard) in self.limits.items():
            if resource.getrlimit(number) == (soft, hard):
                continue
            try:
                resource.setrlimit(number, (soft, hard))
            except (OSError, ValueError):  # raising the hard one takes a privilege
                left = resource.getrlimit(number)[1]
                nearest = left if soft == resource.RLIM_INFINITY else soft
                if left != resource.RLIM_INFINITY:
                    nearest = min(nearest, left)
                with contextlib.suppress(OSError, ValueError):
                    resource.setrlimit(number, (nearest, left))


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return "/"


def _ignored() -> set[int]:
    return {number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN}


def _processors() -> set[int]:
    return os.sched_getaffinity(0) if sys.platform == "linux" else set()


def _copy(descriptor: int) -> int | None:
    try:
        return os.dup(descriptor)
    except OSError:  # it is closed
        return None


def _inheritable() -> set[int]:
    """The descriptors above the standard ones that an exec keeps open."""
    try:
        listed = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        return set()
    return {number for number in listed if number > max(_STANDARD) and _is_inheritable(number)}


def _is_inheritable(descriptor: int) -> bool:
    try:
        return os.get_inheritable(descriptor)
    except OSError:  # that of the listing itself
        return False
