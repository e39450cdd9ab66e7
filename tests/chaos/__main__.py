"""`make chaos`: faults at random, from a seed, on a real cluster under load; nothing may be lost."""

from __future__ import annotations

import argparse
import os
import platform
import random
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.outcome import Outcome as Bench
from tests.bench.outcome import retell
from tests.chaos.books import Books
from tests.chaos.faults import FAULTS, holds, may_overlap
from tests.chaos.load import Load
from tests.chaos.plan import plan
from tests.chaos.redis_pair import redis_pair
from tests.chaos.report import markdown, picture
from tests.chaos.run import Outcome, run
from tests.chaos.world import ClusterWorld
from tests.support.cluster import Cluster, provider
from tests.support.installation import installed

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMESPACE, OPERATORS = "redisqueue-chaos", "redisqueue-chaos-operators"

LEASE_SECONDS, LOAD = 20, Load(long_seconds=25.0, long_part=0.03)
# No busy machine keeps a worker from renewing leases of a minute.
BRIEF_SECONDS, BRIEF_LEASE_SECONDS = 25.0, 60
SETTINGS = "replicas=2,page.enabled=false,watchNamespaces=null"


@contextmanager
def world(
    cluster: Cluster, namespace: str, operators: str, load: Load, lease_seconds: int
) -> Iterator[ClusterWorld]:
    """Three RedisQueues at work on a Redis of their own, with empty books."""
    host = provider("host")
    with tempfile.TemporaryDirectory(prefix="redisqueue-chaos-") as folder, redis_pair(host, "first") as pair:
        Path(folder).chmod(0o777)  # workers are another user
        made = ClusterWorld(
            cluster, namespace, operators, host, pair, Books(Path(folder)), load, lease_seconds
        )
        try:
            made.set_up()
            yield made
        finally:
            made.tear_down()


def main() -> int:
    options = _options()
    if options.tables:
        retell(options.tables, markdown)
        return 0
    names = options.fault or [name for name, fault in FAULTS.items() if fault.brief or not options.brief]
    steps = plan(options.seed, BRIEF_SECONDS if options.brief else options.seconds, holds(names), may_overlap)
    load, lease_seconds = (Load(), BRIEF_LEASE_SECONDS) if options.brief else (LOAD, LEASE_SECONDS)
    bench = Bench(f"{os.cpu_count()} cores, with all of the cluster on them", platform.python_version())
    with (
        installed(OPERATORS, options.keep, "--set", SETTINGS) as cluster,
        world(cluster, NAMESPACE, OPERATORS, load, lease_seconds) as made,
    ):
        outcome: Outcome = run(made, steps, options.seed, options.seconds)
    bench.tell([outcome.plain()], markdown, options.json)
    if options.plot:
        options.plot.write_text(picture(outcome.plain()))
    for problem in outcome.problems:
        print(f"chaos: {problem}", file=sys.stderr)
    return 1 if outcome.problems else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--seed", type=int, default=random.randrange(10_000), help="default: another one each time"
    )
    parser.add_argument(
        "--seconds", type=float, default=600.0, help="no fault begins later (default: %(default)s)"
    )
    parser.add_argument(
        "--fault", action="append", choices=list(FAULTS), help="only this one; may be repeated"
    )
    parser.add_argument(
        "--brief", action="store_true", help="two minutes of the cheap faults, once the cluster is there"
    )
    parser.add_argument(
        "--keep", action="store_true", help="on the cluster that is up, with the images on it"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured")
    parser.add_argument("--tables", type=Path, metavar="FILE", help="only print the tables of such a file")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the run, as an SVG")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
