"""`make simulate`: loads played against this project's decision function and against a model of KEDA.

Nothing runs for real and nothing is measured in seconds of this machine: the same seed gives the same numbers
anywhere. What is assumed stands in `world`, `ours` and `keda`.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from tests.simulate import trace
from tests.simulate.fleet import FLEET_SCALERS, members, play_fleet
from tests.simulate.loads import LOADS, Load
from tests.simulate.play import Outcome, play
from tests.simulate.plot import picture
from tests.simulate.report import fleet_table, legend, table
from tests.simulate.scalers import SCALERS, Scaler, in_force, redisqueue

from redisqueue_operator.api import parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.simulate.fleet import FleetOutcome

MONDAY = datetime(2026, 6, 1, 8, tzinfo=UTC)
TRACES = Path(__file__).parent / "traces"


def main() -> int:
    options = _options()
    if options.fleet:
        return _fleet(options)
    try:
        scalers = (
            SCALERS if options.resource is None else (_of(options.resource, options.begins), *SCALERS[1:])
        )
        loads = _loads(options)
    except (OSError, ValueError, yaml.YAMLError) as error:
        print(f"simulate: {error}", file=sys.stderr)
        return 2
    outcomes: list[Outcome] = []
    for load in loads:
        print(f"{load.name}: {len(load.messages)} messages", file=sys.stderr)
        made = [play(load, scaler, options.seed) for scaler in scalers]
        outcomes += made
        if options.plot is not None:
            options.plot.mkdir(parents=True, exist_ok=True)
            (options.plot / f"{load.name.replace(' ', '-')}.svg").write_text(picture(load, made))
    print(table(outcomes), "", legend((*loads, *scalers)), sep="\n")
    if options.json is not None:
        _write(options.json, outcomes)
    return 0


def _fleet(options: argparse.Namespace) -> int:
    fleet = members(options.seed)
    outcomes = [play_fleet(fleet, scaler, options.seed) for scaler in FLEET_SCALERS]
    print(fleet_table(outcomes), "", legend(FLEET_SCALERS), sep="\n")
    if options.json is not None:
        _write(options.json, outcomes)
    return 0


def _write(file: Path, outcomes: Sequence[Outcome] | Sequence[FleetOutcome]) -> None:
    file.write_text(json.dumps([asdict(each) for each in outcomes], indent=1) + "\n")


def _options() -> argparse.Namespace:
    names = ", ".join(sorted(_named()))
    parser = argparse.ArgumentParser(prog="python -m tests.simulate", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="another seed, other messages (default: 1)")
    parser.add_argument(
        "--load", action="append", metavar="NAME", help=f"only this one; may be repeated: {names}"
    )
    parser.add_argument(
        "--trace",
        type=Path,
        metavar="FILE",
        help="only this recording, made by python -m tests.simulate.record",
    )
    parser.add_argument(
        "--resource",
        type=Path,
        metavar="FILE",
        help="take spec.scaling of this RedisQueue",
    )
    parser.add_argument(
        "--begins",
        type=datetime.fromisoformat,
        default=MONDAY,
        metavar="MOMENT",
        help="when loads begin, for the schedules of a RedisQueue, such as 2026-06-01T07:30:00+02:00"
        f" (default: {MONDAY.isoformat()}, a Monday); UTC where it says no zone",
    )
    parser.add_argument(
        "--fleet", action="store_true", help="only queues that share a budget, instead of loads of one queue"
    )
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="draw each load there, as an SVG")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    return parser.parse_args()


def _named() -> dict[str, object]:
    return {make.__name__: make for make in LOADS} | {path.stem: path for path in TRACES.glob("*.csv")}


def _loads(options: argparse.Namespace) -> list[Load]:
    """Raises ValueError for a name that is none, OSError for a file that is not there."""
    if options.trace is not None:
        return [trace.read(options.trace)]
    known = _named()
    if unknown := set(options.load or ()) - set(known):
        raise ValueError(f"--load: there is no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    chosen = [known[name] for name in options.load or known]
    return [trace.read(each) if isinstance(each, Path) else each(options.seed) for each in chosen]


def _of(file: Path, begins: datetime) -> Scaler:
    """The first RedisQueue of a file. Raises ValueError when there is none."""
    for document in yaml.safe_load_all(file.read_text()):
        if isinstance(document, dict) and document.get("kind") == "RedisQueue":
            metadata = {"namespace": "default", "uid": "simulated", "generation": 1, **document["metadata"]}
            spec = parse({**document, "metadata": metadata}).spec
            return redisqueue(in_force(spec, begins), f"as in {file.name}")
    raise ValueError(f"{file}: there is no RedisQueue in it")


if __name__ == "__main__":
    sys.exit(main())
