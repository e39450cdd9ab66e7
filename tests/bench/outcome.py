"""What every bench says in the end: on which machine, how busy it was, and the results."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

Results: TypeAlias = "Sequence[dict[str, Any]]"


class Outcome:
    """Made before anything is measured: it notes how busy the machine is then."""

    def __init__(self, machine: str, python: str) -> None:
        self.about = {
            "machine": machine,
            "python": python,
            "system": platform.system(),
            "version": version("redis-queue-operator"),
            "date": datetime.now(UTC).date().isoformat(),
        }
        self._load_before = os.getloadavg()[0]

    def tell(self, results: Results, markdown: Callable[[Results], str], file: Path | None) -> None:
        """Print the tables; to `file` every single measurement, if there is one."""
        loads = {"load_before": round(self._load_before, 2), "load_after": round(os.getloadavg()[0], 2)}
        about = {**self.about, **loads}
        if file:
            file.write_text(json.dumps({"about": about, "results": results}, indent=1))
        _show(about, results, markdown)


def retell(file: Path, markdown: Callable[[Results], str]) -> None:
    """Print the tables of a file that `tell` has written."""
    told = json.loads(file.read_text())
    _show(told["about"], told["results"], markdown)


def where(about: Mapping[str, Any]) -> str:
    """On what it was measured, and how busy that was."""
    load = f"load average {about['load_before']} before and {about['load_after']} after"
    return f"{about['machine']}, Python {about['python']}; {load}."


def _show(about: Mapping[str, Any], results: Results, markdown: Callable[[Results], str]) -> None:
    print(f"{where(about)}\n")
    print(markdown(results))
