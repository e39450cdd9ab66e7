"""What a process has from the one that started it, so that its successor under the same id has it too.

An exec keeps more than one would like: whatever a handler did to its process would be its successor's start.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redisqueue_worker.stop_signals import STOP_SIGNALS

if TYPE_CHECKING:
    from collections.abc import Mapping

_STANDARD = (0, 1, 2)
_LIMITS = tuple(sorted({value for name, value in vars(resource).items() if name.startswith("RLIMIT_")}))
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


@dataclass(frozen=True, slots=True)
class Origin:
    """What to put back before an exec; `now` at the start of the process, before any code of a handler."""

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
    def now(cls) -> Origin:
        """As it is. The stop signals count as not blocked: a predecessor may have held them back."""
        os.umask(mask := os.umask(0o077))
        return cls(
            folder=_folder(),
            mask=mask,
            environment=dict(os.environ),
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
