"""`make bench-worker`: whole workers with a handler that does nothing, ours beside the peers' in one run.

Every worker is a process of its own (or four of them) on an emptied server with more tasks than it can
handle in the time. The order is shuffled in each repetition. Peers run as they come; ours with as many slots
as dramatiq and saq have threads or tasks, more or less, and once with one slot.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import redis
from tests.bench.contestants import CONTESTANTS, WORKER, Contestant
from tests.bench.outcome import Outcome, Results
from tests.support.environments import Unavailable

from redisqueue_operator.local.embedded_redis import EmbeddedRedis

SECONDS = 1.0
# What a run takes beyond its window: processes that start at different times, and the warm-up.
AROUND_SECONDS = 1.8
WAKE_UPS = 30
ENVIRONMENT = ("redis==7.4.1", "tenacity==9.2.1", "prometheus-client==0.23.1")


@dataclass(frozen=True)
class Entry:
    """A contestant, and about how many tasks one of its processes handles in a second."""

    contestant: Contestant
    per_second: int


def _ours(name: str, program: str, per_second: int) -> Entry:
    environment = {"PYTHONPATH": str(WORKER)}
    return Entry(
        Contestant(name, "bench-worker", ENVIRONMENT, f"our_worker:{program}", (), environment), per_second
    )


def _peer(name: str, per_second: int) -> Entry:
    return Entry(next(one for one in CONTESTANTS if one.name == name), per_second)


ENTRIES = (
    _ours("16 threads", "Threads", 20_000),
    _ours("16 tasks", "Tasks", 20_000),
    _ours("1 thread", "OneThread", 6000),
    _peer("taskiq", 4000),
    _peer("dramatiq", 3500),
    _peer("saq", 2500),
    _peer("celery", 1600),
    _peer("rq", 500),
    _peer("arq", 500),
)
OURS = ENTRIES[:3]
PEERS = ENTRIES[3:]


class Failed(Exception):
    """A run gave no result; the text is its last word."""


def start(entry: Entry, scenario: str, url: str, amount: float) -> subprocess.Popen[str]:
    """One process of a contestant."""
    module, program = entry.contestant.program.split(":")
    starter = entry.contestant.programs / "work.py"
    command = [entry.contestant.python(), starter, module, program, scenario, url]
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.Popen(
        [*map(str, command), str(amount)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**own, "PYTHONDONTWRITEBYTECODE": "1", **entry.contestant.extra_environment},
    )


def result_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What a process printed. Raises Failed."""
    try:
        said, complaint = process.communicate(timeout=90)
        result = json.loads(said.splitlines()[-1])
    except (subprocess.TimeoutExpired, ValueError, IndexError) as error:
        process.kill()
        process.wait()
        words = [] if isinstance(error, subprocess.TimeoutExpired) else complaint.strip().splitlines()
        raise Failed(words[-1] if words else type(error).__name__) from None
    if "problem" in result:
        raise Failed(result["problem"])
    return result  # type: ignore[no-any-return]


def throughput(entry: Entry, url: str, processes: int) -> dict[str, float]:
    """Tasks per second of `processes` workers together, and their CPU time for each."""
    enough = int(entry.per_second * min(processes, 2) * (SECONDS + AROUND_SECONDS))
    result_of(start(entry, "fill", url, enough))
    workers = [start(entry, "work", url, SECONDS) for _ in range(processes)]
    results = [result_of(worker) for worker in workers]
    return {
        "per_second": sum(result["per_second"] for result in results),
        "cpu_us": median(result["cpu_us"] for result in results),
    }


def rest(entry: Entry, url: str) -> dict[str, Any]:
    """Wake-up times of an idle worker, and what it takes while it waits."""
    return result_of(start(entry, "idle", url, WAKE_UPS))


def compete(repetitions: int, entries: tuple[Entry, ...]) -> list[dict[str, Any]]:
    """All results, each with who and what."""
    results: list[dict[str, Any]] = []
    kinds = ("idle", 1, 4)
    with EmbeddedRedis() as server, redis.Redis.from_url(server.url) as client:
        for number in range(repetitions):
            runs = [(kind, entry) for kind in kinds for entry in entries if number == 0 or kind != "idle"]
            random.Random(number).shuffle(runs)
            for kind, entry in runs:
                client.flushall()
                about = {"who": entry.contestant.name, "what": kind, "repetition": number}
                try:
                    what = rest(entry, server.url) if kind == "idle" else throughput(entry, server.url, kind)
                    results.append({**about, **what})
                except Failed as problem:
                    print(f"{entry.contestant.name}, {kind}: {problem}", file=sys.stderr)
                    results.append({**about, "problem": str(problem)})
                print(f"{about} {results[-1].get('per_second', '')}", file=sys.stderr)
    return results


def markdown(results: Results) -> str:
    """The table, with a line about the goals."""

    def values(who: str, what: object, field: str) -> list[float]:
        return [one[field] for one in results if one["who"] == who and one["what"] == what and field in one]

    def cell(who: str, what: object, field: str, digits: int = 0) -> str:
        found = values(who, what, field)
        return f"{median(found):,.{digits}f}" if found else ""

    def wake(who: str) -> str:
        delays = [delay for one in values(who, "idle", "delays_ms") for delay in one]  # type: ignore[attr-defined]
        if not delays:
            return ""
        return f"{median(delays):.1f} / {quantiles(delays, n=100, method='inclusive')[98]:.1f}"

    def fastest(entries: tuple[Entry, ...], what: int) -> float:
        return max(median(values(e.contestant.name, what, "per_second") or [0.0]) for e in entries)

    head = ("tasks/s", "4 processes", "CPU µs per task", "wake-up p50 / p99 ms", "idle CPU %", "idle MiB")
    lines = [f"| | {' | '.join(head)} |", "|---|" + "---:|" * len(head)]
    for entry in ENTRIES:
        who = entry.contestant.name
        cells = (
            cell(who, 1, "per_second"),
            cell(who, 4, "per_second"),
            cell(who, 1, "cpu_us"),
            wake(who),
            cell(who, "idle", "idle_cpu_percent", 1),
            cell(who, "idle", "resident_mib"),
        )
        name = f"**ours, {who}**" if entry in OURS else who
        lines.append(f"| {name} | {' | '.join(cells)} |")
    ratios = [
        f"{fastest(OURS, count) / fastest(PEERS, count):.1f}x with {words}"
        for count, words in ((1, "one process (goal 2x)"), (4, "four (goal 3x)"))
        if fastest(PEERS, count)
    ]
    return "\n".join((*lines, "", f"The fastest peer is beaten {' and '.join(ratios)}."))


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="ours and the two fastest peers, once")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single measurement")
    options = parser.parse_args()
    entries = ENTRIES[:5] if options.quick else ENTRIES
    try:
        for entry in entries:
            entry.contestant.python()
    except Unavailable as missing:
        sys.exit(f"bench-worker: {missing}")
    outcome = Outcome(f"{os.cpu_count()} cores", "3.12")
    outcome.tell(compete(1 if options.quick else options.repetitions, entries), markdown, options.json)


if __name__ == "__main__":
    main()
