"""One process of a contestant: started, and listened to."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.entries import Entry, Load

PATIENCE_SECONDS = 90.0
Result = dict[str, Any]


class Failed(Exception):
    """A run gave no result; the text is its last word."""


def start(entry: Entry, scenario: str, url: str, amount: float, load: Load) -> subprocess.Popen[str]:
    """One process of a contestant. Raises Unavailable."""
    contestant = entry.contestant
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.Popen(
        contestant.command("work.py", scenario, url, amount, **load.options(entry)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**own, "PYTHONDONTWRITEBYTECODE": "1", **contestant.extra_environment},
    )


@contextmanager
def running(
    entry: Entry, scenario: str, url: str, amount: float, load: Load, seconds: float = PATIENCE_SECONDS
) -> Iterator[subprocess.Popen[str]]:
    """One process that is killed at the end of the block, or after so many seconds."""
    with start(entry, scenario, url, amount, load) as process:
        timer = threading.Timer(seconds, process.kill)
        timer.start()
        try:
            yield process
        finally:
            timer.cancel()
            process.kill()


def heard(process: subprocess.Popen[str]) -> Result:
    """The next line of a process. Raises Failed when it has ended instead."""
    line = process.stdout.readline()  # type: ignore[union-attr]
    if not line:
        raise Failed(_last_word(process.stderr.read()))  # type: ignore[union-attr]
    return parsed(line)


def result_of(process: subprocess.Popen[str]) -> Result:
    """What a process printed last. Raises Failed."""
    try:
        said, complaint = process.communicate(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise Failed("TimeoutExpired") from None
    if not said.strip():
        raise Failed(_last_word(complaint))
    return parsed(said.splitlines()[-1])


def parsed(line: str) -> Result:
    """A line of a program: an object of JSON. Raises Failed, also when it tells of a problem."""
    try:
        result = json.loads(line)
    except ValueError:
        raise Failed(f"said {line.strip()[:200]!r}") from None
    if not isinstance(result, dict):
        raise Failed(f"said {line.strip()[:200]!r}")
    if "problem" in result:
        raise Failed(result["problem"])
    return result


def _last_word(complaint: str) -> str:
    words = complaint.strip().splitlines()
    return words[-1] if words else "ended without a word"
