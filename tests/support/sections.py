"""Sections of pages that a program writes: between `<!-- NAME: how -->` and `<!-- end -->`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def read(page: Path, name: str) -> str:
    """What stands in the section of that name. Raises LookupError when the page has none."""
    if (found := _pattern(name).search(page.read_text())) is None:
        raise LookupError(f"{page} has no section {name!r}: write <!-- {name}: ... --> and <!-- end -->")
    return found[2].strip()


def write(page: Path, name: str, text: str) -> None:
    """Put the text in place of it. Raises LookupError when the page has none."""
    read(page, name)
    page.write_text(_pattern(name).sub(lambda found: f"{found[1]}\n{text}\n\n{found[3]}", page.read_text()))


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {re.escape(name)}: .*? -->\n)(.*?)(<!-- end -->)", re.DOTALL)
