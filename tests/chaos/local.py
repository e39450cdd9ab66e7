"""The same without a cluster: worker processes of this machine, which start again when they end.

It is for the chaos itself, a library or a worker with a known fault must be found out; and with `--brief` for
whoever has two minutes and no cluster.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.outcome import Outcome as Bench
from tests.chaos.books import Books
from tests.chaos.faults import holds, may_overlap
from tests.chaos.load import Load
from tests.chaos.plan import plan
from tests.chaos.queues import HANDLER, KINDS, Kind
from tests.chaos.redis_pair import USER, redis_pair
from tests.chaos.report import markdown, picture
from tests.chaos.run import run
from tests.chaos.sentinels import MASTER
from tests.support.one_name import OneName

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.redis_pair import RedisPair

LEASE_SECONDS, SECONDS = 4, 75.0
# No busy machine keeps a worker from renewing leases of a minute.
BRIEF_LEASE_SECONDS, BRIEF_SECONDS = 60, 45.0
FAULTS = (
    "worker killed",
    "Redis restarted",
    "failover",
    "master lost",
    "clock stepped",
    "Redis full",
    "too few replicas",
    "template rolled",
    "password rotated",
)


@dataclass
class LocalWorker:
    number: int
    name: str
    version: int
    process: subprocess.Popen[bytes]


@dataclass
class LocalWorld:
    """What `ClusterWorld` is, as far as FAULTS need it: two workers for each queue."""

    redis: RedisPair
    books: Books
    name: OneName
    folder: Path
    lease_seconds: int = LEASE_SECONDS
    patience_seconds: float = field(init=False)
    versions: dict[str, int] = field(default_factory=lambda: {kind.name: 1 for kind in KINDS})

    def __post_init__(self) -> None:
        # Some messages need renewals: so many that there are slots for all of them.
        needing, long_seconds = self.lease_seconds < BRIEF_LEASE_SECONDS, 1.5 * self.lease_seconds
        self.load = Load(long_seconds, long_part=0.6 / long_seconds) if needing else Load()
        # After a worker's end its leases last as long, and longer by what the clock is set back.
        self.patience_seconds = max(60.0, 3.0 * self.lease_seconds)
        self._places: dict[tuple[str, int], LocalWorker] = {}
        self._started = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep)
        self.tell_password()

    def set_up(self) -> None:
        self.redis.lead = lambda port: setattr(self.name, "target", port)
        shutil.copy(HANDLER, self.folder)
        self._keeper.start()

    def tear_down(self) -> None:
        self._stopping.set()
        self._keeper.join()
        for each in self._places.values():
            with suppress(ProcessLookupError):
                os.killpg(each.process.pid, signal.SIGKILL)
            each.process.wait()

    def _keep(self) -> None:
        """Start whatever does not run."""
        while not self._stopping.wait(0.1):
            for kind in KINDS:
                for place in (kind.name, 0), (kind.name, 1):
                    with self._lock:
                        known = self._places.get(place)
                        if known is None or known.process.poll() is not None:
                            self._places[place] = self._start(kind, place[1])

    def _start(self, kind: Kind, place: int) -> LocalWorker:
        self._started += 1
        name = f"{kind.name}-{self._started}"
        # A container that starts again gives back what the one before it had; a pod elsewhere knows nothing.
        run_folder = self.folder / (f"run-{kind.name}" if place == 0 else f"run-{name}")
        run_folder.mkdir(exist_ok=True)
        worker, limits = kind.spec["worker"], kind.spec.get("queue", {}).get("limits")
        environment = {
            "REDISQUEUE_HANDLER": worker.get("handler", "handler:handle"),
            "REDISQUEUE_HANDLER_PATH": str(self.folder),
            "REDISQUEUE_QUEUE": kind.name,
            **self._way(kind),
            "REDISQUEUE_REDIS_PASSWORD_FILE": str(self._password_file),
            "REDISQUEUE_VISIBILITY_TIMEOUT_SECONDS": str(self.lease_seconds),
            "REDISQUEUE_MAX_DELIVERY_COUNT": "100",
            "REDISQUEUE_CONCURRENCY": str(worker["concurrency"]),
            "REDISQUEUE_DRAIN_TIMEOUT_SECONDS": "60",
            "REDISQUEUE_WORKER_ID": name,
            "REDISQUEUE_RUN_DIR": str(run_folder),
            "REDISQUEUE_HTTP_PORT": "0",
            "BOOKS": str(self.books.folder),
            "HOSTNAME": name,
            **{each["name"]: each["value"] for each in worker.get("env", ())},
        }
        if limits:
            environment["REDISQUEUE_MAX_IN_FLIGHT"] = str(limits["maxInFlight"])
            environment["REDISQUEUE_KEY_MAX_IN_FLIGHT"] = str(limits["perKey"]["maxInFlight"])
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "redisqueue_worker.cli", "run"],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return LocalWorker(self._started, name, self.versions[kind.name], process)

    def _way(self, kind: Kind) -> dict[str, str]:
        """To the master: the Sentinels, or the name that leads to it."""
        if not kind.sentinel:
            return {"REDISQUEUE_REDIS_URL": self.name.url.replace("//", f"//{USER}@")}
        return {
            "REDISQUEUE_REDIS_MODE": "Sentinel",
            "REDISQUEUE_REDIS_URL": f"redis://{USER}@{MASTER}",
            "REDISQUEUE_SENTINEL_MASTER": MASTER,
            "REDISQUEUE_SENTINEL_ADDRESSES": ",".join(self.redis.sentinel_addresses),
        }

    @property
    def _password_file(self) -> Path:
        return self.folder / "password"

    def tell_password(self) -> None:
        new = self._password_file.with_suffix(".new")
        new.write_text(self.redis.password)
        new.rename(self._password_file)

    def _alive(self) -> dict[tuple[str, int], LocalWorker]:
        with self._lock:
            return {place: one for place, one in self._places.items() if one.process.poll() is None}

    def workers(self) -> list[dict[str, Any]]:
        """Those first that have run longest, as nobody has killed them yet."""
        alive = sorted(self._alive().values(), key=lambda one: one.number)
        return [{"metadata": {"name": one.name, "uid": one.process.pid}} for one in alive]

    def kill(self, worker: dict[str, Any]) -> None:
        """SIGKILL to all of its processes."""
        os.killpg(worker["metadata"]["uid"], signal.SIGKILL)

    def apply(self, *names: str) -> None:
        """Workers of an older version are asked to leave, and others come in their places."""
        for (kind, _), one in self._alive().items():
            if kind in names and one.version != self.versions[kind]:
                one.process.terminate()

    def versions_at_work(self, name: str) -> set[str]:
        return {str(one.version) for (kind, _), one in self._alive().items() if kind == name}

    def unwell(self, since: float) -> list[str]:
        return self.books.waiting(since, self.versions)


@contextmanager
def local_world(lease_seconds: int) -> Iterator[LocalWorld]:
    """Three queues, each with two workers, on a Redis pair behind one name."""
    with ExitStack() as stack:
        # Sockets of workers have short names.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rq-", dir="/tmp")))
        books = folder / "books"
        books.mkdir()
        pair = stack.enter_context(redis_pair("127.0.0.1", "first"))
        name = stack.enter_context(OneName(pair.master.port))
        world = LocalWorld(pair, Books(books), name, folder, lease_seconds)
        try:
            world.set_up()
            yield world
        finally:
            world.tear_down()


def main() -> int:
    """One run; 1 where something is wrong."""
    options = _options()
    logging.disable(logging.WARNING)
    seconds, lease_seconds = (
        (BRIEF_SECONDS, BRIEF_LEASE_SECONDS) if options.brief else (options.seconds, options.lease_seconds)
    )
    bench = Bench(f"{os.cpu_count()} cores, without a cluster", platform.python_version())
    with local_world(lease_seconds) as world:
        steps = plan(options.seed, seconds, holds(options.fault or list(FAULTS)), may_overlap)
        outcome = run(world, steps, options.seed, 2 * seconds)
    for problem in outcome.problems:
        print(problem)
    bench.tell([outcome.plain()], markdown, options.json)
    if options.plot:
        options.plot.write_text(picture(outcome.plain()))
    return 1 if outcome.problems else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.local", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--seed", type=int, default=random.randrange(10_000), help="default: another one each time"
    )
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="no fault ends later (default: %(default)s)"
    )
    parser.add_argument(
        "--lease-seconds",
        type=int,
        default=LEASE_SECONDS,
        help="a short one finds more, on a calm machine (default: %(default)s)",
    )
    parser.add_argument("--fault", action="append", choices=FAULTS, help="only this one; may be repeated")
    parser.add_argument("--brief", action="store_true", help="two minutes, also on a busy machine")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the run, as an SVG")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
