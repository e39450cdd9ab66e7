"""The demo's input: every Python file of the installed standard library."""

from __future__ import annotations

import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redisqueue_operator.demo.handler import describe, pack

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Sequence

EXPECTED_FILES = 1500
NOT_THE_LIBRARY = frozenset({"site-packages", "dist-packages", "__pycache__"})


@dataclass(frozen=True)
class File:
    """One file: `name` is its path inside the standard library, its id in the queue."""

    name: str
    path: Path

    def message(self) -> dict[str, Any]:
        """The queue message: it carries the content, as a pod does not have this machine's files."""
        return {"file": self.name, "source": pack(self.path.read_bytes())}


def standard_library(limit: int | None = None) -> list[File]:
    """The files of the installed standard library, with its test packages where they are installed, by name.

    `limit` keeps only the first so many.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    files = [
        File(path.relative_to(root).as_posix(), path)
        for path in root.rglob("*.py")
        if NOT_THE_LIBRARY.isdisjoint(path.relative_to(root).parts) and path.is_file()
    ]
    return sorted(files, key=lambda file: file.name)[:limit]


def count_directly(files: Iterable[File], found: dict[str, dict[str, Any]], stop: threading.Event) -> None:
    """Put into `found`, file by file, what every report should say; incomplete once `stop` is set."""
    for file in files:
        if stop.is_set():
            break
        found[file.name] = describe(file.path.read_bytes())


def input_line(files: Sequence[File]) -> str:
    """One sentence on the input, honest about a trimmed installation."""
    size = sum(file.path.stat().st_size for file in files) / 1e6
    line = f"{len(files)} files of this Python's standard library, {size:.1f} MB: one message each"
    if len(files) < EXPECTED_FILES:
        line += f" (fewer than {EXPECTED_FILES}: the installation has no test packages, or --limit was given)"
    return line
