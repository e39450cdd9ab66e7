"""A program on a real terminal of a chosen size, with keys to press and frames to read."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

from tests.support.waiting import PATIENCE_SECONDS, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Makes the terminal the program's own, so that ^C and a new size reach it as signals.
_OWN = (
    "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    " os.execvp(sys.argv[1], sys.argv[1:])"
)
_HOME = "\x1b[H"
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]")


class Terminal:
    """Runs on `with`; killed at the end unless it has ended."""

    def __init__(self, command: Sequence[str], columns: int, lines: int = 24, **environment: str) -> None:
        self._command = command
        self._environment = {
            name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")
        } | {"TERM": "xterm-256color", "LANG": "C.UTF-8", **environment}
        self._master, self._slave = pty.openpty()
        self.resize(columns, lines)
        self.before = termios.tcgetattr(self._slave)
        self.raw = ""
        self.process: subprocess.Popen[bytes]

    def __enter__(self) -> Terminal:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _OWN, *self._command],
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            env=self._environment,
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)
        os.close(self._slave)

    def resize(self, columns: int, lines: int = 24) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    @property
    def settings(self) -> list[object]:
        """Of the terminal now: echo and all."""
        return termios.tcgetattr(self._slave)

    def read(self) -> str:
        """All that it has printed."""
        while select.select([self._master], [], [], 0)[0]:
            self.raw += os.read(self._master, 65536).decode(errors="replace")
        return self.raw

    def frame(self) -> list[str]:
        """The lines of the last picture that is complete; none before the first."""
        frames = self.read().split(_HOME)
        return (
            [line.rstrip() for line in _CONTROL.sub("", frames[-2]).split("\r\n")] if len(frames) > 2 else []
        )

    def shows(self, look: Callable[[list[str]], object], what: str) -> list[str]:
        """The first frame of which this is true."""
        seen: list[str] = []

        def found() -> bool:
            seen[:] = self.frame()
            assert self.process.poll() is None, self.raw
            return bool(seen and look(seen))

        eventually(found, what)
        return seen

    def ends(self) -> int:
        """Its exit code, once it has ended by itself."""

        def ended() -> bool:
            self.read()  # who writes to a full terminal never ends
            return self.process.poll() is not None

        eventually(ended, "the program ends")
        self.read()
        return self.process.wait(PATIENCE_SECONDS)
