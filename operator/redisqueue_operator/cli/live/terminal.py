"""A terminal that is drawn anew once in a while, at a key and at a new size; as it was when it is left."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = {b"q": "quit", b"Q": "quit", b"\x1b[A": "up", b"\x1b[B": "down", b"k": "up", b"j": "down"}
KEYS |= {b"\x1bOA": "up", b"\x1bOB": "down", b"\x04": "quit"}


class Keys:
    """Which key was pressed, or that the size changed; where standard input is no terminal there are none."""

    def __init__(self, stdin: int | None, resized: int) -> None:
        self._stdin = stdin
        self._resized = resized

    def wait(self, seconds: float) -> str:
        """`quit`, `up`, `down`, or empty after that time, at another key, or when the size has changed."""
        watched = [self._resized, *([] if self._stdin is None else [self._stdin])]
        ready, _, _ = select.select(watched, [], [], seconds)
        if self._resized in ready:
            os.read(self._resized, 4096)
        if self._stdin in ready and self._stdin is not None:
            pressed = os.read(self._stdin, 64)
            if not pressed:  # hung up
                return "quit"
            return KEYS.get(pressed, "quit" if b"q" in pressed else "")
        return ""


@contextmanager
def keys() -> Iterator[Keys]:
    """Single keys without echo, as long as this lasts; SIGTERM ends it in order."""
    stdin = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else None
    before = None if stdin is None else termios.tcgetattr(stdin)
    resized, wakes = os.pipe()
    os.set_blocking(wakes, False)
    former = {
        signal.SIGWINCH: signal.signal(signal.SIGWINCH, lambda *_: _wake(wakes)),
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)),
    }
    try:
        if stdin is not None:
            tty.setcbreak(stdin)
        yield Keys(stdin, resized)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        if stdin is not None and before is not None:
            termios.tcsetattr(stdin, termios.TCSADRAIN, before)
        os.close(resized)
        os.close(wakes)


def _wake(pipe: int) -> None:
    with suppress(BlockingIOError):  # else it is awake
        os.write(pipe, b"\0")
