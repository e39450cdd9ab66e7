"""`make bench-operator`: how fast the operator reacts, and what a fleet of RedisQueues costs.

A reaction is the time from just before a message is sent to Redis until the API server has answered the
operator's write to /scale.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.calls import Failed
from tests.bench.fleet_report import markdown
from tests.bench.fleet_stage import Stage, memory_of_pods
from tests.bench.outcome import Outcome
from tests.support.api_server import binaries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.bench.calls import Call

MISSING = "etcd, kube-apiserver and kubectl not found: set REDISQUEUE_CLUSTER_BIN to their folder"
Result = dict[str, Any]


@dataclass(frozen=True)
class Effort:
    """How much is measured. Times in seconds; a busy queue writes its counters every thirty of them."""

    phases: int
    burst: int
    bursts: int
    fleets: tuple[int, ...]
    shared: int
    pods: int
    warm_up: float
    window: float


FULL = Effort(
    phases=30, burst=300, bursts=3, fleets=(300, 1000), shared=10_000, pods=1000, warm_up=35, window=60
)
QUICK = Effort(phases=10, burst=50, bursts=1, fleets=(50,), shared=200, pods=100, warm_up=5, window=10)
SHARDS = ("one", "two")
"""The namespaces of a fleet that two operators share."""


def reactions(stage: Stage, kind: str, phases: int) -> Result:
    """One queue gets 100 messages at random moments, when it has `asleep` no worker, or `awake` one."""
    name = f"solo-{kind}"
    least = 1 if kind == "awake" else 0
    extra = {"wake": "Poll"} if kind == "polled" else {}
    stage.create([name], minReplicas=least, **extra)
    stage.quiet(3)
    delays, writes = [], []
    for phase in range(phases):
        time.sleep(random.Random(phase).uniform(0.5, 2.0))
        at = stage.push([name], 100)
        stage.until(lambda _, at=at: any(call.replicas == 20 for call in stage.scales(at)), "20 workers")
        scales = stage.scales(at)
        delays.append(next(call.at for call in scales if call.replicas == 20) - at)
        writes.append(len(scales))
        at = time.time()
        stage.empty([name])
        stage.until(lambda _, at=at: any(call.replicas == least for call in stage.scales(at)), "its end")
    stage.cluster.run("delete", "rq", name)
    return {"what": "reaction", "kind": kind, "delays": delays, "writes": writes}


def burst(stage: Stage, names: list[str], messages: int = 100) -> Result:
    """All sleeping queues get work at one moment."""
    cpu = stage.cpu_seconds()
    at = stage.push(names, messages)
    first: dict[str, float] = {}

    def all_woke(_: object) -> bool:
        for call in stage.scales(at):
            first.setdefault(call.name, call.at - at)
        return len(first) == len(names)

    stage.until(all_woke, f"workers for {len(names)} queues")
    cpu = stage.cpu_seconds() - cpu
    scales = stage.scales(at)
    stage.empty(names)
    stage.quiet(5)
    about = {"queues": len(names), "writes": len(scales), "cpu_seconds": cpu}
    return {"what": "burst", **about, "delays": list(first.values())}


def fleet(
    stage: Stage, count: int, effort: Effort, *, one_in: int = 1, patience: float = 300
) -> list[Result]:
    """Create, rest, and work all the time: all of them, or one in so many."""
    names = [f"queue-{number}" for number in range(count)]
    stage.quiet(5)  # and nothing read: it has begun
    empty = stage.measure(5.0)
    began = time.time()
    stage.create(names)
    created = time.time() - began
    stage.until(_told_of(count), f"{count} Deployments", patience)
    deployments: dict[str, float] = {}
    for call in stage.calls:
        if call.resource == "deployments" and call.verb == "patch":
            deployments[call.name] = call.at - began
    about = {"queues": count, "created": created, "applied": max(deployments.values())}
    stage.quiet(10)
    results = [{"what": "fleet", "state": "empty", "queues": count, **empty}]
    results.append({"what": "fleet", "state": "idle", **about, **stage.measure(effort.window)})
    active = "active" if one_in == 1 else f"with one in {one_in} active"
    with stage.traffic(names[::one_in]):
        time.sleep(effort.warm_up)
        results.append({"what": "fleet", "state": active, **about, **stage.measure(effort.window)})
    stage.empty(names)
    stage.quiet(5)
    return results


def _told_of(count: int) -> Callable[[Sequence[Call]], bool]:
    """Whether so many RedisQueues have a status: asked again and again, it reads on from where it was."""
    told: set[str] = set()
    read = 0

    def look(calls: Sequence[Call]) -> bool:
        nonlocal read
        told.update(call.name for call in calls[read:] if call.resource == "redisqueues/status")
        read = len(calls)
        return len(told) >= count

    return look


def sleepers(stage: Stage, count: int, woken: int, effort: Effort) -> Iterator[Result]:
    """A fleet at rest, of which some at random get a message each at one moment."""
    names = [f"queue-{number}" for number in range(count)]
    stage.create(names)
    stage.until(_told_of(count), f"{count} Deployments", 300)
    stage.quiet(10)
    time.sleep(20)  # they were all looked at in one moment
    yield {"what": "fleet", "state": "idle", "queues": count, **stage.measure(effort.window)}
    for turn in range(effort.bursts):
        chosen = random.Random(turn).sample(names, woken)
        yield burst(stage, chosen, 1) | {"what": "sleepers", "of": count}


def bursts(stage: Stage, count: int, effort: Effort) -> Iterator[Result]:
    """Bursts in a fleet that is there, and then what pods cost."""
    names = [f"queue-{number}" for number in range(count)]
    for _ in range(effort.bursts):
        yield burst(stage, names)
    seconds = stage.seconds_for(lambda: stage.add_pods(names[:10], effort.pods // 10))
    yield {"what": "pods", "bytes": memory_of_pods(10_000), "seconds_per_change": seconds}


def compete(effort: Effort, bin_folder: Path, only: str = "") -> list[Result]:
    """All results, or those of one part. Each part has a server and an operator of its own."""
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="redisqueue-bench-") as folder:
        if only == "ten-thousand":
            with Stage(bin_folder, Path(folder), SHARDS) as stage:
                return [_told(one) for one in fleet(stage, effort.shared, effort, one_in=10, patience=3600)]
        with Stage(bin_folder, Path(folder)) as stage:
            most = effort.fleets[-1]
            results += [_told(one) for one in sleepers(stage, most, most // 10, effort)]
        if only == "sleepers":
            return results
        with Stage(bin_folder, Path(folder)) as stage:
            for kind in ("asleep", "awake", "polled"):
                results += [_told(reactions(stage, kind, effort.phases))]
        for count in effort.fleets:
            with Stage(bin_folder, Path(folder)) as stage:
                results += [_told(one) for one in fleet(stage, count, effort)]
                if count == effort.burst:
                    results += [_told(one) for one in bursts(stage, count, effort)]
    return results


def _told(result: Result) -> Result:
    shown = {name: value for name, value in result.items() if not isinstance(value, list)}
    if "delays" in result:
        shown["slowest"] = round(max(result["delays"]), 3)
    print(shown, file=sys.stderr)
    return result


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="10 phases and 50 queues, in a minute or two")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single measurement")
    parser.add_argument("--only", choices=["sleepers", "ten-thousand"], default="", help="this part alone")
    options = parser.parse_args()
    if (folder := binaries()) is None:
        sys.exit(f"bench-operator: {MISSING}")
    outcome = Outcome(f"{os.cpu_count()} cores, the operator on one of them", platform.python_version())
    try:
        results = compete(QUICK if options.quick else FULL, folder, options.only)
    except Failed as problem:
        sys.exit(f"bench-operator: {problem}")
    outcome.tell(results, markdown, options.json)


if __name__ == "__main__":
    main()
