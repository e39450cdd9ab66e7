"""Turn the first SIGINT, SIGTERM or SIGHUP into a flag, and the second one into what it was before."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from types import FrameType

__all__ = ["GracefulInterruptHandler", "BaseGracefulInterruptHandler"]  # noqa: RUF022 - as documented

_Disposition = Callable[[int, FrameType | None], object] | int | None
_UNCATCHABLE = frozenset(getattr(signal, name) for name in ("SIGKILL", "SIGSTOP") if hasattr(signal, name))
_DEFAULT_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class BaseGracefulInterruptHandler(ABC):
    """Anything that can say whether waiting should end. Checked about four times a second while idle."""

    @abstractmethod
    def is_interrupted(self) -> bool:
        """True once no new work should begin."""


class EventDrivenInterruptHandler(BaseGracefulInterruptHandler):
    """Interrupted once `stop_event` is set; for programs that own their signals, and for threads.

    Raises TypeError for anything but a `threading.Event`.
    """

    def __init__(self, stop_event: threading.Event) -> None:
        if not isinstance(stop_event, threading.Event):
            raise TypeError(f"'stop_event' must be a threading.Event, got {type(stop_event).__name__}")
        self._event = stop_event

    def is_interrupted(self) -> bool:
        """True while the event is set."""
        return self._event.is_set()


class GracefulInterruptHandler(BaseGracefulInterruptHandler):
    """Own `signals` of this process until `reset()`.

    The first owned signal sets the flag (and, if `verbose`, writes a line to stderr); a further one restores
    and performs what the signal meant before. Build it in the main thread; every signal must still have its
    default disposition.

    Raises TypeError or ValueError for bad arguments, a signal somebody else handles, or another thread.
    """

    def __init__(self, verbose: bool = True, signals: Iterable[signal.Signals] = _DEFAULT_SIGNALS) -> None:
        if not isinstance(verbose, bool):
            raise TypeError(f"'verbose' must be a bool, got {type(verbose).__name__}")
        wanted = _checked_signals(signals)
        if threading.current_thread() is not threading.main_thread():
            raise ValueError("GracefulInterruptHandler must be constructed in the main thread")
        for number in wanted:
            _require_default(number)
        self._verbose = verbose
        self._interrupted = False
        self._previous: dict[signal.Signals, _Disposition] = {}
        for number in wanted:
            self._previous[number] = signal.signal(number, self._on_signal)

    def is_interrupted(self) -> bool:
        """True since the first owned signal; never cleared."""
        return self._interrupted

    def reset(self) -> None:
        """Put back the dispositions found at construction, except where somebody installed a later one.

        Harmless when repeated. Main thread only.
        """
        for number, previous in list(self._previous.items()):
            if signal.getsignal(number) == self._on_signal:
                signal.signal(number, previous)
            del self._previous[number]

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self._interrupted:
            self._interrupted = True
            self._announce(signal.Signals(number))
            return
        previous = self._previous.pop(signal.Signals(number), signal.SIG_DFL)
        signal.signal(number, previous)
        if callable(previous):
            previous(number, frame)
        else:
            os.kill(os.getpid(), number)

    def _announce(self, number: signal.Signals) -> None:
        if self._verbose:
            # A signal handler may interrupt a write to the same stream: a lost line is better than a crash.
            with contextlib.suppress(Exception):
                print(f"{number.name} received: finishing, send it again to stop at once", file=sys.stderr)


def _checked_signals(signals: Iterable[signal.Signals]) -> list[signal.Signals]:
    if isinstance(signals, str) or not isinstance(signals, Iterable):
        raise TypeError(f"'signals' must be an iterable of signal.Signals, got {type(signals).__name__}")
    wanted = list(dict.fromkeys(signals))
    if not wanted:
        raise ValueError("'signals' must name at least one signal")
    for number in wanted:
        if not isinstance(number, signal.Signals):
            raise TypeError(f"'signals' must hold signal.Signals members, got {number!r}")
    for number in wanted:
        if number in _UNCATCHABLE:
            raise ValueError(f"{number.name} cannot be caught; leave it out of 'signals'")
    return wanted


def _require_default(number: signal.Signals) -> None:
    current = signal.getsignal(number)
    owner = getattr(current, "__self__", None)
    if isinstance(owner, GracefulInterruptHandler):
        raise ValueError(
            f"{number.name} is already owned by another GracefulInterruptHandler; reset() that one first"
        )
    if current is not signal.SIG_DFL and current is not signal.default_int_handler:
        raise ValueError(f"{number.name} has a non-default handler installed; restore the default first")
