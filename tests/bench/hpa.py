"""`make bench-hpa`: the operator and the HorizontalPodAutoscaler of 1.37 in turns on one API server.

A reaction is the time from just before a message is sent to Redis until the API server has answered the write
to /scale that asks for as many workers as it takes.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.calls import Failed
from tests.bench.hpa_report import markdown, spread
from tests.bench.hpa_stage import SIDES, Side, Stage
from tests.bench.outcome import Outcome, retell
from tests.support.api_server import KUBERNETES, binaries
from tests.support.controllers import PROGRAM
from tests.support.environments import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Result = dict[str, Any]
KINDS = {"0 → 1": (1, 1), "0 → 20": (100, 20)}
"""Messages, and the workers that they take."""


@dataclass(frozen=True)
class Effort:
    """How much is measured. Times in seconds; a busy RedisQueue writes its counters every thirty of them."""

    rounds: int
    phases: int
    fleet_rounds: int
    fleet: int
    warm_up: float
    window: float


FULL = Effort(rounds=2, phases=4, fleet_rounds=2, fleet=300, warm_up=35, window=40)
QUICK = Effort(rounds=1, phases=1, fleet_rounds=1, fleet=30, warm_up=5, window=10)


def reactions(stage: Stage, side: Side, name: str, phases: int) -> Iterator[Result]:
    """One queue gets messages at random moments while it sleeps."""
    with stage.running(side) as running:
        running.settle([name] if side.flags is not None else [])
        for kind, (messages, workers) in KINDS.items():
            delays, writes = [], []
            for _ in range(phases):
                time.sleep(random.uniform(0.3, 0.3 + side.look_seconds))
                at = stage.push([name], messages)
                delays.append(stage.scaled([name], workers, at)[name] - at)
                stage.empty([name])
                stage.scaled([name], 0, at)
                time.sleep(0.3)
                stage.calls.read()
                writes.append(Counter(call.resource for call in stage.calls.all if call.writes))
            yield {"what": "reaction", "side": side.name, "kind": kind, "delays": delays, "writes": writes}


def fleet(stage: Stage, side: Side, names: Sequence[str], effort: Effort) -> Iterator[Result]:
    """Queues that rest, get work all at once, and work all the time."""
    about = {"side": side.name, "queues": len(names)}
    with stage.running(side) as running:
        running.settle(names)
        time.sleep(5)
        yield {"what": "fleet", "state": "idle", **about, **running.measure(effort.window)}
        cpu, at = running.cpu_seconds(), stage.push(names, 100)
        woken = stage.scaled(names, 20, at)
        cpu = running.cpu_seconds() - cpu
        stage.empty(names)
        stage.scaled(names, 0, at)
        delays = spread([when - at for when in woken.values()])
        yield {"what": "burst", **about, **delays, "cpu_seconds": cpu}
        stage.calls.quiet(3)
        with stage.traffic(names):
            time.sleep(effort.warm_up)
            yield {"what": "fleet", "state": "active", **about, **running.measure(effort.window)}
        at = time.time()
        stage.empty(names)
        stage.scaled(names, 0, at)


def solos(stage: Stage, effort: Effort) -> Iterator[Result]:
    """A queue for each side."""
    names = {side: f"solo-{number}" for number, side in enumerate(SIDES)}
    for side, name in names.items():
        stage.create(side, [name])
        rest(stage, side, [name])
    for _ in range(effort.rounds):
        for side in random.sample(SIDES, len(SIDES)):
            yield from reactions(stage, side, names[side], effort.phases)


def fleets(stage: Stage, effort: Effort) -> Iterator[Result]:
    """Queues for the operator, and as many for the autoscaler, however often that looks."""
    ours, theirs = ([f"{kind}-{number}" for number in range(effort.fleet)] for kind in ("queue", "scaled"))
    for side, names in ((SIDES[0], ours), (SIDES[-1], theirs)):
        stage.create(side, names)
        rest(stage, side, names)
    for _ in range(effort.fleet_rounds):
        for side in random.sample(SIDES, len(SIDES)):
            yield from fleet(stage, side, ours if side.flags is None else theirs, effort)


PARTS = {"reactions": solos, "fleets": fleets}


def compete(effort: Effort, bin_folder: Path, parts: Sequence[str]) -> Iterator[Result]:
    """All results: in each round the sides take turns, in random order. Each part has a server of its own."""
    for part in parts:
        temporary = tempfile.TemporaryDirectory(prefix="redisqueue-bench-")
        with temporary as folder, Stage(bin_folder, Path(folder)) as stage:
            yield from PARTS[part](stage, effort)


def rest(stage: Stage, side: Side, names: Sequence[str]) -> None:
    """Have what was just made taken up, and put to sleep."""
    stage.calls.forget()
    with stage.running(side):
        if side.flags is None:
            stage.calls.until(
                lambda calls: {one.name for one in calls if one.resource == "redisqueues/status"} >= {*names},
                "a Deployment for each",
                300,
            )
        else:
            stage.scaled(names, 0)
        stage.calls.quiet(5)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round with 30 queues, in three minutes")
    parser.add_argument("--only", choices=PARTS, help="this part alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measurements")
    parser.add_argument("--tables", type=Path, metavar="FILE", help="only print the tables of such a file")
    options = parser.parse_args()
    if options.tables:
        retell(options.tables, markdown)
        return
    folder = binaries()
    if KUBERNETES == "1.34" or folder is None or not (folder / PROGRAM).is_file():
        sys.exit(f"bench-hpa: no {PROGRAM} of Kubernetes 1.37: KUBERNETES=1.37 tests/cluster/cluster build")
    outcome = Outcome(f"{os.cpu_count()} cores, each side on one of them", platform.python_version())
    results = []
    try:
        parts = [options.only] if options.only else [*PARTS]
        for result in compete(QUICK if options.quick else FULL, folder, parts):
            results.append(result)
            print(result, file=sys.stderr)
    except (Failed, Unavailable) as problem:
        sys.exit(f"bench-hpa: {problem}")
    outcome.tell(results, markdown, options.json)


if __name__ == "__main__":
    main()
