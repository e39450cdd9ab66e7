"""What was enqueued and what was handled, kept outside Redis, and the verdict on it, which is pure."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

TOLD_SECONDS = 5.0
"""A handler that ended so long before its worker's death may have an end that Redis was not told of."""


@dataclass(frozen=True)
class Enqueued:
    """A message that Redis has acknowledged; times are seconds since the epoch, all by one clock."""

    id: str
    queue: str
    at: float


@dataclass(frozen=True)
class Delivery:
    """One call of a handler; `ended` is None where it was cut short."""

    id: str
    queue: str
    pod: str
    began: float
    ended: float | None


@dataclass(frozen=True)
class FaultRecord:
    """Why a message may have come again: whose worker died, or was kept from Redis, and when.

    `pods` is None where it holds for all of them.
    """

    cause: str
    since: float
    until: float
    pods: frozenset[str] | None = None
    deadly: bool = False


@dataclass(frozen=True)
class Repeat:
    """A message that was handled again."""

    first: Delivery
    second: Delivery
    cause: str
    """The fault that explains it; empty where none does."""


@dataclass(frozen=True)
class Verdict:
    enqueued: int
    handled: int
    lost: tuple[str, ...]
    """Acknowledged, and never handled to the end."""
    unknown: tuple[str, ...]
    """Handled, and never acknowledged, nor about to be."""
    repeats: tuple[Repeat, ...]
    left: tuple[str, ...]
    """What is still in Redis: messages that nobody settled, and dead letters."""
    waits_seconds: tuple[float, ...]
    """From the acknowledgement to the first call of the handler, sorted."""

    @property
    def unexplained(self) -> tuple[Repeat, ...]:
        return tuple(each for each in self.repeats if not each.cause)

    @property
    def faultless(self) -> bool:
        return not (self.lost or self.unknown or self.left or self.unexplained)


def judge(
    enqueued: Iterable[Enqueued],
    deliveries: Iterable[Delivery],
    faults: Sequence[FaultRecord],
    *,
    lease_seconds: float,
    heartbeat_seconds: float,
    left: Iterable[str] = (),
) -> Verdict:
    """Compare the books; `left` is what Redis still has when all should be done.

    Leases are renewed every `heartbeat_seconds`, so none ends sooner than `lease_seconds` less that after
    its worker was kept from Redis.
    """
    asked = {each.id: each for each in enqueued}
    calls: dict[str, list[Delivery]] = defaultdict(list)
    for each in sorted(deliveries, key=lambda one: one.began):
        calls[each.id].append(each)
    ended = {name for name, them in calls.items() if any(each.ended is not None for each in them)}
    soonest = lease_seconds - heartbeat_seconds
    repeats = tuple(
        Repeat(first, second, _cause(first, second, faults, soonest))
        for them in calls.values()
        for first, second in pairwise(them)
    )
    return Verdict(
        enqueued=len(asked),
        handled=len(ended),
        lost=tuple(sorted(asked.keys() - ended)),
        unknown=tuple(sorted(calls.keys() - asked.keys())),
        repeats=repeats,
        left=tuple(sorted(left)),
        waits_seconds=tuple(
            sorted(them[0].began - asked[name].at for name, them in calls.items() if name in asked)
        ),
    )


def _cause(first: Delivery, second: Delivery, faults: Sequence[FaultRecord], soonest: float) -> str:
    """The cause of the second call, as far as one is known."""
    for each in faults:
        if each.pods is not None and first.pod not in each.pods:
            continue
        if each.deadly:
            if _died(first, second, each, faults):
                return each.cause
        elif min(each.until, second.began) - max(each.since, first.began) >= soonest:
            return each.cause
    return ""


def _died(first: Delivery, second: Delivery, death: FaultRecord, faults: Sequence[FaultRecord]) -> bool:
    """Did the worker die with that message in hand, or before it could tell Redis of its end?"""
    if not (first.began <= death.until and death.since <= second.began):
        return False
    if first.ended is None or death.since - first.ended <= TOLD_SECONDS:
        return True
    return any(
        not each.deadly
        and each.since <= first.ended + TOLD_SECONDS
        and death.since <= each.until + TOLD_SECONDS
        for each in faults
    )


class Books:
    """A folder of files that are only ever appended to, a line of JSON at a time, by whoever was there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, file: str, **entry: Any) -> None:
        """One write for one line, so that whoever is killed leaves a whole line or none."""
        line = json.dumps(entry) + "\n"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        descriptor = os.open(self.folder / f"{file}.jsonl", flags, 0o666)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def enqueued(self) -> list[Enqueued]:
        return [Enqueued(**entry) for entry in self._entries("enqueued")]

    def handled_ids(self) -> set[str]:
        """Those whose handler came to its end."""
        return {each.id for each in self.deliveries() if each.ended is not None}

    def waiting(self, since: float, queues: Iterable[str]) -> list[str]:
        """The queues of which no message is done that was enqueued after that time."""
        done = self.handled_ids()
        seen = {one.queue for one in self.enqueued() if one.at > since and one.id in done}
        return [f"{name}: nothing new is handled" for name in queues if name not in seen]

    def deliveries(self) -> list[Delivery]:
        """Every call of a handler; starts and ends of one call bear one name."""
        entries = list(self._entries("handled-*"))
        ends = {entry["call"]: entry["at"] for entry in entries if entry["kind"] == "end"}
        return [
            Delivery(entry["id"], entry["queue"], entry["pod"], entry["at"], ends.get(entry["call"]))
            for entry in entries
            if entry["kind"] == "start"
        ]

    def _entries(self, files: str) -> Iterator[dict[str, Any]]:
        for file in sorted(self.folder.glob(f"{files}.jsonl")):
            with file.open() as lines:
                yield from map(json.loads, lines)
