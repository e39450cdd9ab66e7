"""`make bench-losses`: what whole workers, ours and the peers', lose and double when something dies.

Everybody has 16 messages in hand and 16 waiting, and a Valkey of its own with an append-only file. They run
side by side, for they wait nearly all of the time. What handlers began and ended stands in a file outside
Redis, and what is counted is counted from that alone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench import losses_report
from tests.bench.contestants import runtimes
from tests.bench.losses_entries import ENTRIES, SCENARIOS, Entry, Task
from tests.bench.losses_run import measure
from tests.bench.outcome import Outcome, retell
from tests.bench.worker_process import Failed
from tests.support.environments import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Result = dict[str, Any]
# Their starts are what two cores are busy with.
AT_ONCE = 9


def missing(entries: Sequence[Entry], folder: Path) -> dict[str, str]:
    """Install all of them; what is missing for those that cannot take part here, by name."""
    reasons = {}
    for entry in entries:
        try:
            entry.worker(Task("redis://nowhere", folder, 0, 0))
        except Unavailable as problem:
            reasons[entry.name] = str(problem)
    return reasons


def plan(entries: Sequence[Entry], scenarios: Sequence[str], rounds: int) -> list[tuple[int, str, Entry]]:
    """All runs: the round, the scenario and who."""
    return [
        (number, what, entry)
        for number in range(rounds)
        for what in scenarios
        for entry in entries
        if what in (entry.only or SCENARIOS)
    ]


def compete(runs: Sequence[tuple[int, str, Entry]], folder: Path) -> Iterator[Result]:
    """All results, each with who, what, and the round."""

    def one(run: tuple[int, str, Entry]) -> Result:
        number, what, entry = run
        about = {"who": entry.name, "what": what, "round": number}
        own = folder / f"{entry.short}-{ENTRIES.index(entry)}-{what}-{number}"
        own.mkdir()
        try:
            result = {**about, **measure(entry, SCENARIOS[what], own)}
        except Failed as problem:
            result = {**about, "problem": str(problem)}
        print(result, file=sys.stderr, flush=True)
        return result

    with ThreadPoolExecutor(AT_ONCE) as threads:
        yield from threads.map(one, runs)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="one round, ours and those of other languages")
    names = sorted({entry.short for entry in ENTRIES})
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, metavar="SCENARIO", default=[*SCENARIOS])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run")
    parser.add_argument("--tables", type=Path, metavar="FILE", help="only print the table of such a file")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave books and logs of workers here")
    options = parser.parse_args()
    if options.tables:
        retell(options.tables, losses_report.markdown)
        return
    if options.quick:
        options.rounds = 1
    chosen = options.only or (["ours", "asynq", "BullMQ"] if options.quick else names)
    entries = [entry for entry in ENTRIES if entry.short in chosen]
    folder = options.keep or Path(tempfile.mkdtemp(prefix="losses-"))
    folder.mkdir(exist_ok=True)
    absent = missing(entries, folder)
    entries = [entry for entry in entries if entry.name not in absent]
    outcome = Outcome(f"{os.cpu_count()} cores{runtimes()}", "3.12")
    results = [{"who": name, "what": "missing", "problem": reason} for name, reason in absent.items()]
    results += compete(plan(entries, options.scenarios, options.rounds), folder)
    outcome.tell(results, losses_report.markdown, options.json)
    if not options.keep:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
