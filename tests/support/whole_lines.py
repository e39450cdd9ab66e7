"""Files that somebody still writes to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def whole_lines(file: Path, since: int = 0) -> list[str]:
    """Its lines from that byte on, but one that is being written; none where there is no file yet."""
    if not file.exists():
        return []
    with file.open("rb") as content:
        content.seek(since)
        return content.read().decode().split("\n")[:-1]
