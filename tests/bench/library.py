"""`make bench-library`: the library against its ancestors, its limit and its peers, all in one run.

Every scenario of every contestant is a process of its own on an emptied server. What is set against each
other runs one after the other, in an order that is shuffled in each repetition, so that a slow minute of
the machine hits all alike. With two cores or more, the server has one and the contestant another. Trust the
ratios, the CPU times and the counts: the rates are those of one machine.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
from tests.bench import report
from tests.bench.contestants import (
    ASYNQ,
    BASE,
    BULLMQ,
    CONTESTANTS,
    OURS,
    STATE,
    Contestant,
    Foreign,
    missing,
    runtimes,
)
from tests.bench.outcome import Outcome, retell

from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
DELAY_SECONDS = 0.0005


@dataclass(frozen=True)
class Effort:
    """How much of each: seconds of one rate, wake-ups, messages in flight, repetitions of each kind."""

    seconds: float
    wake_ups: int
    in_flight: int
    repetitions: int
    delayed_repetitions: int
    state_repetitions: int
    who: tuple[str, ...]

    def limited(self, repetitions: int) -> Effort:
        """The same with at most so many repetitions of each kind."""
        limited = {
            name: min(repetitions, getattr(self, name))
            for name in ("delayed_repetitions", "state_repetitions")
        }
        return replace(self, repetitions=repetitions, **limited)


QUICK = Effort(0.3, 6, 100_000, 1, 0, 1, (OURS, BASE, ASYNQ.name, BULLMQ.name))
FULL = Effort(0.5, 15, 100_000, 5, 3, 3, tuple(one.name for one in CONTESTANTS))


@dataclass(frozen=True)
class Run:
    """One process to start."""

    contestant: Contestant | Foreign
    scenario: str
    delayed: bool
    amount: float


def plan(effort: Effort) -> Iterator[list[Run]]:
    """The repetitions; each is shuffled."""
    taking_part = [one for one in CONTESTANTS if one.name in effort.who]
    order = random.Random(1)
    for number in range(effort.repetitions):
        runs = []
        for contestant in taking_part:
            for scenario in contestant.scenarios:
                if scenario not in (*STATE, "idle"):
                    runs.append(Run(contestant, scenario, False, effort.seconds))
                    if number < effort.delayed_repetitions and scenario != "sampling":
                        runs.append(Run(contestant, scenario, True, effort.seconds))
                elif number < effort.state_repetitions:
                    amount = {"idle": effort.wake_ups, "memory": 2000}.get(scenario, effort.in_flight)
                    runs.append(Run(contestant, scenario, False, amount))
        yield _shuffled(runs, order)


def _shuffled(runs: list[Run], order: random.Random) -> list[Run]:
    """Scenarios that the report compares stay together, in random order; so does each among them."""
    order.shuffle(runs)
    compared = {scenario: base for scenario, _, base, _ in report.RATES}
    groups = list({compared.get(run.scenario, run.scenario): None for run in runs})
    return sorted(runs, key=lambda run: groups.index(compared.get(run.scenario, run.scenario)))


_CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _pin(process: int, core: int) -> None:
    """Keep a process on one core, where there are two and the system can do it."""
    if len(_CORES) > 1:
        os.sched_setaffinity(process, {_CORES[core]})


@contextmanager
def _delayed(port: int) -> Iterator[str]:
    command = [sys.executable, str(HERE / "delay_proxy.py"), str(port), str(DELAY_SECONDS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as proxy:
        _pin(proxy.pid, 0)
        try:
            yield f"redis://127.0.0.1:{proxy.stdout.readline().strip()}/0"  # type: ignore[union-attr]
        finally:
            proxy.terminate()


def measure(run: Run, url: str) -> dict[str, Any]:
    """Run one scenario to its end; {"problem": text} if it failed."""
    # What this process imports from is none of a contestant's business.
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = {**own, "PYTHONDONTWRITEBYTECODE": "1", **run.contestant.extra_environment}
    try:
        done = subprocess.run(
            run.contestant.command("run.py", run.scenario, url, run.amount),
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            env=environment,
        )
        return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]
    except (subprocess.SubprocessError, ValueError, IndexError) as error:
        words = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        return {"problem": words[-1] if words else "no answer"}


def compete(effort: Effort) -> list[dict[str, Any]]:
    """All results, each with who, what and in which repetition."""
    results = []
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedRedis())
        _pin(server.process.pid, 0)  # type: ignore[union-attr]
        _pin(os.getpid(), -1)  # and so the contestants, which it starts
        delayed = stack.enter_context(_delayed(server.port)) if effort.delayed_repetitions else ""
        client = stack.enter_context(redis.Redis.from_url(server.url))
        for number, runs in enumerate(plan(effort)):
            for position, run in enumerate(runs, 1):
                client.flushall()
                result = measure(run, delayed if run.delayed else server.url)
                about = {"contestant": run.contestant.name, "scenario": run.scenario, "delayed": run.delayed}
                results.append({**about, "repetition": number, **result})
                print(f"\rrepetition {number + 1}: {position}/{len(runs)} ", end="", file=sys.stderr)
                if "problem" in result:
                    print(f"\n{run.contestant.name}, {run.scenario}: {result['problem']}", file=sys.stderr)
        info = client.info("server")
        results.append({"server": info.get("valkey_version") or info["redis_version"]})
    print(file=sys.stderr)
    return results


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="ours, 7.0.0, asynq and BullMQ, in a minute")
    parser.add_argument("--repetitions", type=int, metavar="N", help="default 5, with delayed replies 3")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single measurement")
    parser.add_argument("--tables", type=Path, metavar="FILE", help="only print the tables of such a file")
    options = parser.parse_args()
    if options.tables:
        retell(options.tables, report.markdown)
        return
    effort = QUICK if options.quick else FULL
    absent = missing(one for one in CONTESTANTS if one.name in effort.who)
    for name in {OURS, BASE} & absent.keys():
        sys.exit(f"bench-library: {absent[name]}")
    outcome = Outcome(f"{len(_CORES) or os.cpu_count()} cores{runtimes()}", "3.12")
    effort = replace(effort, who=tuple(name for name in effort.who if name not in absent))
    results = compete(effort if options.repetitions is None else effort.limited(options.repetitions))
    outcome.about["machine"] += f", server {results.pop()['server']}"
    results += [{"contestant": name, "missing": reason} for name, reason in absent.items()]
    outcome.tell(results, report.markdown, options.json)


if __name__ == "__main__":
    main()
