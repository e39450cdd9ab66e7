"""One run: the faults of a plan, one after the other, under load; then the books are compared."""

from __future__ import annotations

import random
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tests.chaos.books import FaultRecord, Verdict, judge
from tests.chaos.faults import FAULTS
from tests.chaos.load import produce
from tests.chaos.queues import KINDS
from tests.support.cluster import wait_until

from redis_message_queue import RedisMessageQueue

if TYPE_CHECKING:
    from collections.abc import Sequence

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
            f"{each.fault} at {each.began:.0f} s: {'; '.join(each.unwell)}"
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
        return asdict(self)


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
        for step in steps:
            if time.time() - first > seconds:
                break
            time.sleep(max(0.0, first + step.at_seconds - time.time()))
            happened.append(_inject(world, step, began, faults))
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


def _inject(world: World, step: Step, began: float, faults: list[FaultRecord]) -> Happened:
    """Break, wait, mend, wait until all is well."""
    fault = FAULTS[step.fault]
    broke = time.time()
    with fault.body(world, random.Random(step.seed)) as impact:
        broken = time.time()
        _say(f"{broke - began:5.0f} s: {fault.name} for {step.hold_seconds} s")
        time.sleep(step.hold_seconds)
    mended = time.time()
    deadline = mended + world.patience_seconds
    while unwell := world.unwell(mended) or ([] if impact.over() else [f"{fault.name} is not over"]):
        if time.time() > deadline:
            break
        time.sleep(0.3)
    well = time.time()
    until = broken if impact.deadly else well
    faults.append(FaultRecord(fault.name, broke, until, impact.pods, impact.deadly))
    _say(f"       {'; '.join(unwell)}" if unwell else f"       all is well {well - mended:.1f} s later")
    return Happened(
        fault.name,
        round(broke - began, 2),
        round(mended - began, 2),
        None if unwell else round(well - began, 2),
        tuple(unwell),
    )


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
