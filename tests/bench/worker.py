"""`make bench-worker`: whole workers side by side, ours and the peers', in one run.

Every worker is a process of its own (or four of them) on an emptied server with more tasks than it can
handle in the time. In each round the scenarios come in random order, and so do the contestants of each, one
right after the other. Ours, asynq and BullMQ do every scenario with the same number of slots; the task
queues of Python run as they come.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
from tests.bench import killed, worker_report
from tests.bench.contestants import missing, runtimes
from tests.bench.entries import ENTRIES, FOREIGN, OURS, PEERS, SCENARIOS, Entry, Load
from tests.bench.outcome import Outcome, retell
from tests.bench.worker_process import Failed, heard, result_of, running, start

from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Result = dict[str, Any]
SECONDS = 1.0
# What a run takes beyond its window: processes that start at different times, and the warm-up.
AROUND_SECONDS = 1.8
WARM_MESSAGES, WARM_AT_LAST_SECONDS = 5000, 2.0
WAKE_UPS = 30
ONCE = ("idle",)
"""Scenarios of the first round alone: one run of them has many measurements."""


def together(results: Sequence[Result]) -> Result:
    """What workers that ran side by side have done: their rates add up.

    Each has seen all that the server did in its own second, for the messages of all of them.
    """
    handled = sum(max(1, one["messages"]) for one in results)
    client, server = (sum(one[cost] * max(1, one["messages"]) for one in results) for cost in COSTS)
    return {
        "per_second": sum(one["per_second"] for one in results),
        "client_us": client / handled,
        "server_us": server / handled / len(results),
        "messages": handled,
    }


COSTS = ("client_us", "server_us")


def enough(entry: Entry, load: Load) -> int:
    """More messages than the processes handle until they are warm, as work.py has it, and in what counts."""
    rate = load.per_second(entry)
    return int(
        rate * (SECONDS + AROUND_SECONDS) + min(WARM_MESSAGES * load.processes, rate * WARM_AT_LAST_SECONDS)
    )


def measure(entry: Entry, what: str, url: str) -> Result:
    """One scenario of one contestant on an emptied server. Raises Failed."""
    load = SCENARIOS[what]
    if what == "idle":
        return result_of(start(entry, "idle", url, WAKE_UPS, load))
    if what == "start":
        result_of(start(entry, "fill", url, 1, load))
        began = time.perf_counter()
        with running(entry, "start", url, 1, load) as process:
            used = heard(process)
            return {**used, "start_ms": (time.perf_counter() - began) * 1000}
    result_of(start(entry, "fill", url, enough(entry, load), load))
    workers = [start(entry, "work", url, SECONDS, load) for _ in range(load.processes)]
    return together([result_of(worker) for worker in workers])


def plan(entries: Sequence[Entry], scenarios: Sequence[str], number: int) -> list[tuple[str, Entry]]:
    """A round: the scenarios in random order, and the contestants of each, one right after the other."""
    order = random.Random(number)
    wanted = [what for what in scenarios if number == 0 or what not in ONCE]
    runs = []
    for what in order.sample(wanted, len(wanted)):
        who = [entry for entry in entries if what in entry.scenarios]
        runs += [(what, entry) for entry in order.sample(who, len(who))]
    return runs


def compete(repetitions: int, entries: Sequence[Entry], scenarios: Sequence[str]) -> Iterator[Result]:
    """All results, each with who, what, and how busy the machine was just before."""
    with EmbeddedRedis() as server, redis.Redis.from_url(server.url) as client:
        for number in range(repetitions):
            for what, entry in plan(entries, scenarios, number):
                client.flushall()
                about = {"who": entry.name, "what": what, "repetition": number}
                about["load"] = round(os.getloadavg()[0], 2)
                try:
                    result = {**about, **measure(entry, what, server.url)}
                except Failed as problem:
                    result = {**about, "problem": str(problem)}
                shown = result.get("per_second") or result.get("start_ms") or result.get("problem", "")
                print(f"{about} {shown}", file=sys.stderr)
                yield result


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repetitions", type=int, help="default 5, with --quick 1")
    parser.add_argument("--quick", action="store_true", help="without the slower ones of Python")
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--killed", action="store_true", help="also wait for messages of a killed worker")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single measurement")
    parser.add_argument("--tables", type=Path, metavar="FILE", help="only print the tables of such a file")
    options = parser.parse_args()
    if options.tables:
        retell(options.tables, worker_report.markdown)
        return
    entries = (*OURS, *FOREIGN, *PEERS[:2]) if options.quick else ENTRIES
    absent = missing(entry.contestant for entry in entries)
    for entry in OURS:
        if entry.name in absent:
            sys.exit(f"bench-worker: {absent[entry.name]}")
    entries = tuple(entry for entry in entries if entry.name not in absent)
    chosen = options.only or [what for what in SCENARIOS if what != "killed"]
    scenarios = [what for what in SCENARIOS if what in chosen or (what == "killed" and options.killed)]
    repetitions = options.repetitions or (1 if options.quick else 5)
    outcome = Outcome(f"{os.cpu_count()} cores{runtimes()}", "3.12")
    results = [{"who": name, "what": "missing", "problem": reason} for name, reason in absent.items()]
    results += compete(repetitions, entries, [what for what in scenarios if what != "killed"])
    if "killed" in scenarios:
        results += killed.compete([one for one in entries if "killed" in one.scenarios])
    outcome.tell(results, worker_report.markdown, options.json)


if __name__ == "__main__":
    main()
