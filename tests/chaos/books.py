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

    `pods` is None where it holds for all of them. Where Redis' clock was set forward, `ahead_seconds` says
    by how much: so much sooner did each lease end that there was. Set back, it explains nothing: leases
    last longer.
    """

    cause: str
    since: float
    until: float
    pods: frozenset[str] | None = None
    deadly: bool = False
    ahead_seconds: float = 0.0


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
        Repeat(first, second, _cause(first, second, faults, soonest, heartbeat_seconds))
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


def _cause(
    first: Delivery, second: Delivery, faults: Sequence[FaultRecord], soonest: float, heartbeat: float
) -> str:
    """The cause of the second call, as far as one is known."""
    its = [each for each in faults if each.pods is None or first.pod in each.pods]
    spans = _spans([each for each in its if not each.deadly], heartbeat)
    for each in its:
        if each.deadly and _died(first, second, each, spans):
            return each.cause
    for span in spans:
        told = first.ended is not None and span[0].since - first.ended > TOLD_SECONDS
        if not told and _lacked(first, second, span) >= soonest:
            return max(span, key=lambda one: one.until - one.since + one.ahead_seconds).cause
    return ""


def _spans(faults: Sequence[FaultRecord], heartbeat: float) -> list[list[FaultRecord]]:
    """Those that overlap, or leave no time in between for a lease to be renewed, are one span."""
    spans: list[list[FaultRecord]] = []
    for each in sorted(faults, key=lambda one: one.since):
        if spans and each.since - max(one.until for one in spans[-1]) < heartbeat:
            spans[-1].append(each)
        else:
            spans.append([each])
    return spans


def _lacked(first: Delivery, second: Delivery, span: Sequence[FaultRecord]) -> float:
    """How much of its lease the first call lost to these faults before the second one."""
    kept = min(max(each.until for each in span), second.began) - max(span[0].since, first.began)
    steps = (each for each in span if first.began <= each.until and each.since <= second.began)
    return max(0.0, kept) + sum(each.ahead_seconds for each in steps)


def _died(
    first: Delivery, second: Delivery, death: FaultRecord, spans: Sequence[Sequence[FaultRecord]]
) -> bool:
    """Did the worker die with that message in hand, or before it could tell Redis of its end?"""
    if not (first.began <= death.until and death.since <= second.began):
        return False
    if first.ended is None or death.since - first.ended <= TOLD_SECONDS:
        return True
    return any(
        span[0].since <= first.ended + TOLD_SECONDS
        and death.since <= max(each.until for each in span) + TOLD_SECONDS
        for span in spans
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
