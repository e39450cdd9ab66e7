"""Recorded loads: a CSV file with when messages arrived, how many, and how long handlers took about then.

A recording is made from the counters that the operator reads, so it works on any queue, is read-only, and
knows no payload. What arrived is what was claimed plus what waits. How long handlers took is how much was in
flight for how long, divided by how much was claimed (Little's law), over half a minute.
"""

from __future__ import annotations

import csv
import itertools
from typing import TYPE_CHECKING, NamedTuple

from tests.simulate.loads import Load
from tests.simulate.redis_model import Message

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

COLUMNS = ("seconds", "arrivals", "handling_seconds")
AROUND_SECONDS = 15.0


class Seen(NamedTuple):
    """Counters of one moment, in messages."""

    at: float
    claims: int
    waiting: int
    in_flight: int


class Row(NamedTuple):
    """So many arrived until then, since the row before."""

    seconds: float
    arrivals: int
    handling_seconds: float


def rows_of(seen: Sequence[Seen]) -> list[Row]:
    """What arrived when. Raises ValueError when nothing was claimed: then handlers are unknown."""
    if len(seen) < 2 or seen[-1].claims <= seen[0].claims:
        raise ValueError("nothing was claimed during the recording: record while workers are at work")
    busy = [0.0]
    for before, after in itertools.pairwise(seen):
        busy.append(busy[-1] + before.in_flight * (after.at - before.at))
    usual = busy[-1] / (seen[-1].claims - seen[0].claims)
    rows, low, high = [], 0, 0
    for number, (before, after) in enumerate(itertools.pairwise(seen), start=1):
        arrivals = after.claims + after.waiting - before.claims - before.waiting
        if arrivals <= 0:
            continue
        while seen[low].at < after.at - AROUND_SECONDS:
            low += 1
        high = max(high, number)
        while high + 1 < len(seen) and seen[high].at < after.at + AROUND_SECONDS:
            high += 1
        claims = seen[high].claims - seen[low].claims
        handling = (busy[high] - busy[low]) / claims if claims > 0 else usual
        rows.append(Row(round(after.at - seen[0].at, 3), arrivals, round(handling, 3)))
    return rows


def write(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def read(path: Path) -> Load:
    """The load of a recording. Raises ValueError for a file that is none."""
    messages: list[Message] = []
    with path.open(newline="") as file:
        lines = csv.reader(file)
        if tuple(next(lines, ())) != COLUMNS:
            raise ValueError(f"{path}: the first line must be {','.join(COLUMNS)!r}")
        for line in lines:
            try:
                seconds, arrivals, handling = float(line[0]), int(line[1]), float(line[2])
            except (ValueError, IndexError):
                raise ValueError(
                    f"{path}, line {lines.line_num}: {','.join(line)!r} is not three numbers"
                ) from None
            messages += [Message(seconds, handling) for _ in range(arrivals)]
    if not messages:
        raise ValueError(f"{path}: there are no arrivals in it")
    return Load(path.stem, f"recorded, {len(messages)} messages", tuple(messages))
