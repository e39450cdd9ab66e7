"""One run: the faults of a plan, in their turn, under load; then the books are compared."""

from __future__ import annotations

import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tests.chaos.books import FaultRecord, Verdict, judge
from tests.chaos.faults import FAULTS
from tests.chaos.load import produce
from tests.chaos.plan import groups
from tests.chaos.queues import KINDS
from tests.support.cluster import wait_until

from redis_message_queue import RedisMessageQueue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.faults import Impact
    from tests.chaos.plan import Step
    from tests.chaos.world import World


@dataclass(frozen=True)
class Happened:
    """A fault that was; times are seconds of the run."""

    fault: str
    began: float
    mended: float
    recovered: float | None
    """When all was well again; None where it was not in time."""
    unwell: tuple[str, ...] = ()
    beside: str = ""
    """The fault that had not healed when this one began, or began when this one had not."""

    @property
    def name(self) -> str:
        return f"{self.fault}, beside {self.beside}" if self.beside else self.fault


@dataclass(frozen=True)
class Outcome:
    seed: int
    planned: int
    happened: tuple[Happened, ...]
    verdict: Verdict
    enqueued_at: tuple[float, ...]
    """Seconds of the run."""
    handled_at: tuple[float, ...]

    @property
    def problems(self) -> list[str]:
        """Why this run has failed; empty where it has not."""
        it = self.verdict
        told = [
            f"{each.name} at {each.began:.0f} s: {'; '.join(each.unwell)}"
            for each in self.happened
            if each.unwell
        ]
        told += [f"lost: {', '.join(it.lost)}"] if it.lost else []
        told += [f"never enqueued: {', '.join(it.unknown)}"] if it.unknown else []
        told += [f"still in Redis: {', '.join(it.left)}"] if it.left else []
        return told + [
            f"handled again without a cause: {each.first} and {each.second}" for each in it.unexplained
        ]

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"happened": [asdict(each) | {"name": each.name} for each in self.happened]}


def run(world: World, steps: Sequence[Step], seed: int, seconds: float) -> Outcome:
    """Do it; faults that would begin later than `seconds` are left out."""
    began = time.time()
    faults: list[FaultRecord] = []
    happened = []
    with produce(world.load, world.redis, world.books, seed):
        wait_until(
            lambda: not world.unwell(began), world.patience_seconds, "all is well before anything is broken"
        )
        first = time.time()
        for group in groups(steps):
            if time.time() - first > seconds:
                break
            time.sleep(max(0.0, first + group[0].at_seconds - time.time()))
            happened += inject(world, group, began, faults)
    left = _settled(world)
    deliveries = world.books.deliveries()
    enqueued = world.books.enqueued()
    return Outcome(
        seed,
        len(steps),
        tuple(happened),
        judge(
            enqueued,
            deliveries,
            faults,
            lease_seconds=world.lease_seconds,
            heartbeat_seconds=world.lease_seconds / 4,
            left=left,
        ),
        tuple(sorted(round(each.at - began, 2) for each in enqueued)),
        tuple(sorted(round(each.ended - began, 2) for each in deliveries if each.ended is not None)),
    )


@dataclass(frozen=True)
class Mended:
    """A fault that was; it began and ended between two times each, in seconds since the epoch."""

    fault: str
    impact: Impact
    broke: float
    broken: float
    mending: float
    mended: float

    def record(self, cause: str, well: float) -> FaultRecord:
        """For the books, once all is well."""
        impact = self.impact
        if impact.deadly:
            return FaultRecord(cause, self.broke, self.broken, impact.pods, deadly=True)
        if ahead := impact.ahead_seconds:  # what is set back is set forward in the end
            since, until = (self.broke, self.broken) if ahead > 0 else (self.mending, self.mended)
            return FaultRecord(cause, since, until, ahead_seconds=abs(ahead))
        return FaultRecord(cause, self.broke, well, impact.pods)


def inject(world: World, group: Sequence[Step], began: float, faults: list[FaultRecord]) -> list[Happened]:
    """Break, wait, mend, each in its time; wait until all is well."""
    first = time.time() - group[0].at_seconds
    with ThreadPoolExecutor(len(group)) as pool:
        mended = [*pool.map(lambda step: _break_and_mend(world, step, first + step.at_seconds, began), group)]
    since = max(each.mended for each in mended)
    deadline = since + world.patience_seconds
    while unwell := world.unwell(since) or [
        f"{each.fault} is not over" for each in mended if not each.impact.over()
    ]:
        if time.time() > deadline:
            break
        time.sleep(0.3)
    well = time.time()
    _say(f"       {'; '.join(unwell)}" if unwell else f"       all is well {well - since:.1f} s later")
    happened = [
        Happened(
            each.fault,
            round(each.broke - began, 2),
            round(each.mended - began, 2),
            None if unwell else round(well - began, 2),
            tuple(unwell),
            "".join(other.fault for other in mended if other is not each),
        )
        for each in mended
    ]
    faults += [each.record(told.name, well) for each, told in zip(mended, happened, strict=True)]
    return happened


def _break_and_mend(world: World, step: Step, at: float, began: float) -> Mended:
    time.sleep(max(0.0, at - time.time()))
    broke = time.time()
    with FAULTS[step.fault].body(world, random.Random(step.seed)) as impact:
        broken = time.time()
        _say(f"{broke - began:5.0f} s: {step.fault} for {step.hold_seconds} s")
        time.sleep(step.hold_seconds)
        mending = time.time()
    return Mended(step.fault, impact, broke, broken, mending, time.time())


def _settled(world: World) -> list[str]:
    """Wait until all that was enqueued is done and nothing is left in Redis; what is left all the same."""
    deadline = time.time() + world.patience_seconds
    while left := _left(world):
        if time.time() > deadline:
            return left
        time.sleep(0.5)
    return []


def _left(world: World) -> list[str]:
    told = []
    with world.redis.producer() as client:
        for kind in KINDS:
            stats = RedisMessageQueue(kind.name, client=client).stats()
            told += [f"{kind.name}: {count} {part}" for part, count in stats._asdict().items() if count]
    return told


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
