"""Ends what this process has started, before it is replaced: an exec would keep it as children of nobody."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from redis_message_queue._clock import monotonic

_LOOK_SECONDS = 0.01


def end_descendants(patience_seconds: float) -> int:
    """End the children of this process and theirs: by SIGTERM, and by SIGKILL after `patience_seconds`.

    Returns how many there were; 0 where there is no /proc.
    """
    found = _descendants()
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = monotonic() + patience_seconds
        for pid in _descendants():
            with contextlib.suppress(OSError):
                os.kill(pid, number)
        while _left() and monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
    return len(found)


def _left() -> set[int]:
    """Those that still run; own children that have ended are reaped."""
    left = _descendants()
    for pid in left:
        with contextlib.suppress(OSError):  # another's child, or reaped by whoever waits for it
            os.waitpid(pid, os.WNOHANG)
    return left


def _descendants() -> set[int]:
    parents = dict(_parents())
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}


def _parents() -> list[tuple[int, int]]:
    """Each process that runs and its parent's id."""
    known = []
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as file:
                known.append((int(name), int(file.read().rpartition(")")[2].split()[1])))
    return known
