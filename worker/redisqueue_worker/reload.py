"""For development: notices that code was changed, so that the worker can start afresh with it."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages"})


class Reloader:
    """Compares the Python files below some folders with those that were there at the beginning."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._before = self._look()

    def wait(self) -> None:
        """Return when a file was changed, added or removed."""
        while (now := self._look()) == self._before:
            time.sleep(LOOK_SECONDS)
        changed = sorted(name for name, _ in now.items() ^ self._before.items())
        log.info("code changed", extra={"files": list(dict.fromkeys(changed))})

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` once from a thread when `wait` would return."""

        def run() -> None:
            self.wait()
            changed()

        threading.Thread(target=run, name="reload", daemon=True).start()

    def _look(self) -> dict[str, int]:
        return dict(found for folder in self._folders for found in _python_files(folder))


def _python_files(folder: Path) -> Iterator[tuple[str, int]]:
    """Name and time of change of each file; virtual environments and hidden folders are not entered."""
    for root, folders, names in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name not in _SKIPPED
            and not Path(root, name, "pyvenv.cfg").exists()
        ]
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(root, name)
                try:
                    yield path, os.stat(path).st_mtime_ns
                except OSError:  # removed since it was listed
                    continue
