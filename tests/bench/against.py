"""`make bench-against REV=30255ca`: the library and the worker beside an older build of ours, in one run.

The older source is taken out of git into a temporary folder. The library runs with the bench programs of its
own time, the worker with the present ones: its command and the stored form of messages are what they need of
it. Each scenario runs with both, one right after the other in random order, and the table shows the median of
those ratios: more than 1 means that the present source is the faster one. A ratio of rates still has the
noise of a busy machine in it; the client's processor time has the least.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import redis
from tests.bench import library, worker
from tests.bench.contestants import CONTESTANTS, OURS, Contestant
from tests.bench.entries import OURS as OUR_WORKERS
from tests.bench.entries import SCENARIOS, Entry
from tests.bench.outcome import Outcome, Results
from tests.bench.worker_process import Failed
from tests.support.environments import Unavailable

from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

REPOSITORY = Path(__file__).parents[2]
# What is measured, and whether more of it is better.
MEASURES = {"per_second": True, "client_us": False, "server_us": False, "start_ms": False, "cpu_ms": False}
WAITS = {"idle", "memory", "expired", "oldest", "killed"}
"""Scenarios that measure no rate."""

Result = dict[str, Any]


def older(contestant: Contestant, folder: Path) -> Contestant:
    """The same contestant with the source of `folder`."""
    return replace(
        contestant,
        name=f"{contestant.name}, older",
        extra_environment={"PYTHONPATH": str(folder / "worker")},
    )


def take_out(revision: str, folder: Path) -> None:
    """Fill `folder` with the source of a revision. Raises subprocess.CalledProcessError."""
    parts = ("worker", "tests/bench/programs")
    archive = subprocess.run(
        ["git", "-C", REPOSITORY, "archive", revision, *parts], check=True, stdout=subprocess.PIPE
    )
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)


def library_runs(folder: Path, seconds: float, url: str) -> Iterator[tuple[str, list[Result]]]:
    """Every scenario of the library that measures a rate, in random order: present, then older."""
    ours = next(each for each in CONTESTANTS if each.name == OURS)
    assert isinstance(ours, Contestant)
    before = replace(older(ours, folder), programs=folder / "tests" / "bench" / "programs")
    scenarios = [each for each in ours.scenarios if each not in WAITS]
    random.shuffle(scenarios)
    for scenario in scenarios:

        def measure(one: Contestant, scenario: str = scenario) -> Result:
            return library.measure(library.Run(one, scenario, False, seconds), url)

        yield scenario, _both(ours, before, measure, url)


def worker_runs(folder: Path, url: str) -> Iterator[tuple[str, list[Result]]]:
    """Whole workers in the scenarios of `make bench-worker`, but the long ones: present, then older."""
    pairs = [(what, entry) for entry in OUR_WORKERS for what in entry.scenarios if what not in WAITS]
    random.shuffle(pairs)
    for what, entry in pairs:

        def measure(one: Contestant, what: str = what, entry: Entry = entry) -> Result:
            try:
                return worker.measure(replace(entry, contestant=one), what, url)
            except Failed as problem:
                return {"problem": str(problem)}

        present = entry.contestant
        assert isinstance(present, Contestant)
        row = f"{entry.name}: {SCENARIOS[what].title_for(entry)}"
        yield row, _both(present, older(present, folder), measure, url)


def _both(present: Contestant, before: Contestant, measure: Any, url: str) -> list[Result]:
    """Present and older, measured in random order, told in this one. Raises Unavailable."""
    pair = [present, before]
    results: dict[str, Result] = {}
    for one in random.sample(pair, 2):
        one.provide()
        with redis.Redis.from_url(url) as client:
            client.flushall()
        results[one.name] = measure(one)
        if "problem" in results[one.name]:
            print(f"{one.name}: {results[one.name]['problem']}", file=sys.stderr)
    return [results[one.name] for one in pair]


def table(rounds: Iterable[tuple[str, list[Result]]]) -> str:
    """For each scenario how many times as fast the present source is, by each measure."""
    ratios: dict[str, dict[str, list[float]]] = {}
    for scenario, (present, before) in rounds:
        for name, more_is_better in MEASURES.items():
            if present.get(name) and before.get(name):
                ratio = present[name] / before[name] if more_is_better else before[name] / present[name]
                ratios.setdefault(scenario, {}).setdefault(name, []).append(ratio)
    lines = ["| | rate or time | client's processor | server's processor |", "|---|---:|---:|---:|"]
    for scenario, found in ratios.items():
        cells = [
            _cell(each)
            for each in (
                found.get("per_second") or found.get("start_ms", []),
                found.get("client_us") or found.get("cpu_ms", []),
                found.get("server_us", []),
            )
        ]
        lines.append(f"| {scenario} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(ratios: list[float]) -> str:
    if len(ratios) < 2:
        return f"{ratios[0]:.2f}x" if ratios else ""
    return f"{median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("revision", help="a commit of this repository, e.g. a tag")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each rate of the library")
    parser.add_argument("--only", choices=("library", "worker"))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single measurement")
    options = parser.parse_args()
    outcome = Outcome("this machine", "3.12")
    rounds: list[Result] = []
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis() as server:
        try:
            take_out(options.revision, Path(folder))
            for number in range(options.repetitions):
                if options.only != "worker":
                    rounds += _noted(library_runs(Path(folder), options.seconds, server.url))
                if options.only != "library":
                    rounds += _noted(worker_runs(Path(folder), server.url))
                print(f"round {number + 1} of {options.repetitions}", file=sys.stderr)
        except (Unavailable, subprocess.CalledProcessError) as problem:
            sys.exit(f"bench-against: {problem}")
    outcome.tell(rounds, markdown, options.json)


def markdown(told: Results) -> str:
    """The table of what was noted."""
    return table((each["scenario"], each["results"]) for each in told)


def _noted(runs: Iterator[tuple[str, list[Result]]]) -> list[Result]:
    return [{"scenario": scenario, "results": results} for scenario, results in runs]


if __name__ == "__main__":
    main()
