"""`make pictures`: the pictures of the pages, made anew. ARGS="page" makes those of one subject alone.

A subject is a function in `SUBJECTS` that writes its files into the folder that it is given.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.pictures.page import draw as draw_page
from tests.pictures.top import draw as draw_top
from tests.support.browser import MISSING, chromium

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "operator" / "docs" / "pictures"
LARGEST_BYTES = 150_000
SUBJECTS: dict[str, Callable[[Path, Path], object]] = {
    "page": lambda browser, folder: asyncio.run(draw_page(browser, folder)),
    "top": lambda browser, folder: asyncio.run(draw_top(browser, folder)),
}
"""By name: a function of the browser's path and the folder to write to."""


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="make pictures", description=__doc__)
    parser.add_argument(
        "subjects", nargs="*", metavar="SUBJECT", help=f"of {', '.join(SUBJECTS)}; all of them"
    )
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    if unknown := {*options.subjects} - {*SUBJECTS}:
        parser.error(f"{', '.join(sorted(unknown))}: there are {', '.join(SUBJECTS)}")
    if (browser := chromium()) is None:
        print(MISSING, file=sys.stderr)
        return 1
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.subjects or SUBJECTS:
        SUBJECTS[name](browser, options.folder)
    large = 0
    for path in sorted(options.folder.iterdir()):
        size = path.stat().st_size
        large += size > LARGEST_BYTES
        print(f"{size / 1000:6.0f} kB  {path}")
    return 1 if large else 0


if __name__ == "__main__":
    sys.exit(main())
