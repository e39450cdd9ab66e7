"""What a person sees of it: tables, redrawn in place on a TTY, plain lines elsewhere; workers' log lines."""

from __future__ import annotations

import json
import logging
import re
import shutil
import sys
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Sequence

CUT = "…"
UP_AND_CLEAR = "\x1b[{}F\x1b[J"
# What would move the cursor, name the window or have text read in another order; lines and tabs are left.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def harmless(text: str) -> str:
    """Text of others for a terminal: what it would heed is escaped; lines and tabs are kept."""
    return _UNSEEN.sub(lambda found: _escaped(found[0]), text)


def one_line(text: str | bytes) -> str:
    """The same on one line; bytes that are no text are escaped, too."""
    if isinstance(text, bytes):
        text = text.decode(errors="backslashreplace")
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Aligned lines, numbers to the right; None is shown as `?`: unknown is never zero. A row is a line."""
    cells = [["?" if cell is None else one_line(str(cell)) for cell in row] for row in rows]
    widths = [max(columns_of(row[column]) for row in [list(header), *cells]) for column in range(len(header))]
    right = [bool(cells) and all(is_numeric(row[column]) for row in cells) for column in range(len(header))]

    def line(row: Sequence[str]) -> str:
        gaps = [" " * (width - columns_of(cell)) for cell, width in zip(row, widths, strict=True)]
        parts = [gap + cell if r else cell + gap for cell, gap, r in zip(row, gaps, right, strict=True)]
        return "  ".join(parts).rstrip()

    return [line(header), *(line(row) for row in cells)]


def columns_of(text: str) -> int:
    """How wide a terminal shows it. A plain install has nothing but Python's own tables of Unicode."""
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):  # above or below the one before it
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def is_numeric(cell: str) -> bool:
    """Whether a cell is a number, possibly with a unit, or unknown."""
    return cell in {"?", "-"} or cell[:1].isdigit()


def cut(line: str, width: int) -> str:
    """The line, or as much of it as so many columns hold."""
    if columns_of(line) <= width:
        return line
    used = 0
    for place, character in enumerate(line):
        used += _columns(character)
        if used >= width:
            return f"{line[:place]}{CUT}"
    return line


class Screen:
    """A block of lines that stays at the bottom of a terminal, with plain lines above it.

    Where the output is not a terminal, `draw` prints the block only when it changed, as further lines.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self.out = out or sys.stdout
        self.live = self.out.isatty()
        self._drawn = 0
        self._last: list[str] = []

    def say(self, text: str = "") -> None:
        """Print a line that stays, above the block."""
        self._clear()
        print(text, file=self.out)
        if self.live and self._last:
            self._put(self._last)
        self.out.flush()

    def draw(self, lines: Sequence[str], plain: str = "") -> None:
        """Show the block; elsewhere than on a terminal `plain`, if given, is printed in its place."""
        shown = list(lines) if self.live or not plain else [plain]
        if shown == self._last:
            return
        self._clear()
        self._put(shown)
        self._last = shown
        self.out.flush()

    def leave(self) -> None:
        """Let the block stay as it is and go on below it."""
        self._drawn = 0
        self._last = []

    def _clear(self) -> None:
        if self.live and self._drawn:
            self.out.write(UP_AND_CLEAR.format(self._drawn))
        self._drawn = 0

    def _put(self, lines: Sequence[str]) -> None:
        width = shutil.get_terminal_size().columns if self.live else 10_000
        for line in lines:
            print(cut(line, width), file=self.out)
        self._drawn = len(lines)


class ScreenHandler(logging.Handler):
    """Log lines go above the table, not through it."""

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self.screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        """Show one record."""
        self.screen.say(self.format(record))


HIDDEN = frozenset({"time", "level", "logger", "message", "traceback"})
LOUD = frozenset({"warning", "error", "critical"})


@dataclass(frozen=True)
class LogLine:
    """One line of a worker's log: JSON as short text, all else as it is.

    `loud` when somebody should look at it, `reason` the word for it, if it has one.
    """

    text: str
    loud: bool = False
    reason: str = ""

    @staticmethod
    def read(line: str) -> LogLine:
        """From what a worker printed. What JSON had escaped for a terminal stays so."""
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):  # too deep is no record
            return LogLine(line)
        if not isinstance(record, dict) or "message" not in record:
            return LogLine(line)
        level = str(record.get("level", "info"))
        extra = [
            f"{name}={value}"
            for name, value in record.items()
            if name not in HIDDEN and value not in ("", None)
        ]
        words = [] if level == "info" else [f"{level}:"]
        text = " ".join([*words, str(record["message"]), *extra])
        lines = [text, *str(record.get("traceback", "")).splitlines()]
        return LogLine(harmless("\n".join(lines)), level in LOUD, str(record.get("reason", "")))
