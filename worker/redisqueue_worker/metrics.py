"""What one worker process tells Prometheus; the depth of the queue is the operator's to tell."""

from __future__ import annotations

import atexit
import logging
import os
import re
import shutil
import tempfile
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from redis_message_queue._clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prometheus_client import Metric


log = logging.getLogger(__name__)

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600)


class Metrics:
    """The worker's metrics, in the default registry so that a handler's own ones are exposed beside them."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.registry = registry
        counter = partial(Counter, registry=registry)
        gauge = partial(Gauge, registry=registry)
        histogram = partial(Histogram, buckets=_BUCKETS, registry=registry)
        self.messages = counter("redisqueue_worker_messages", "Messages settled, by outcome.", ["outcome"])
        self.redeliveries = counter(
            "redisqueue_worker_redeliveries", "Messages claimed that were delivered before."
        )
        self.handler_seconds = histogram("redisqueue_worker_handler_seconds", "Time spent in the handler.")
        self.queue_wait_seconds = histogram(
            "redisqueue_worker_queue_wait_seconds",
            "From publication to the first claim, of messages whose producer stamped them.",
        )
        self.timeouts = counter("redisqueue_worker_handler_timeouts", "Handlers timed out.")
        self.abandoned = counter(
            "redisqueue_worker_handlers_abandoned",
            "Handlers that could not be stopped; the process is replaced to be rid of them.",
        )
        self.in_flight = gauge("redisqueue_worker_in_flight", "Messages claimed, not settled.")
        self.slots = gauge("redisqueue_worker_slots", "Messages handled at once at most.")
        self.draining = gauge("redisqueue_worker_draining", "1 from the start of a drain.")
        self.drain_seconds = gauge(
            "redisqueue_worker_drain_seconds", "How long the drain has been under way; 0 while there is none."
        )
        self.circuit_open = gauge(
            "redisqueue_worker_circuit_open",
            "1 while a run of failures keeps the worker from claiming more than one message at a time.",
        )
        self.circuit_openings = counter(
            "redisqueue_worker_circuit_openings", "Pauses that failures in a row have caused."
        )
        self.results_waiting = gauge(
            "redisqueue_worker_results_waiting_seconds",
            "How long the oldest result of a handler has not been taken by Redis; 0 when there is none.",
        )
        self.results_refused = gauge(
            "redisqueue_worker_results_refused", "Results that Redis refuses, held to be tried again."
        )
        self.lease_renewals = counter(
            "redisqueue_worker_lease_renewals", "Lease renewals, by result.", ["result"]
        )
        self.redis_errors = counter(
            "redisqueue_worker_redis_errors", "Failed calls to Redis, by loop.", ["loop"]
        )
        self.redis_errors.labels("consumer")
        self.drain_ended()
        outcomes = ("done", "failed", "dead", "retry", "release", "lost")
        # By name, because finding a label's counter takes longer than counting.
        self.outcomes = {outcome: self.messages.labels(outcome) for outcome in outcomes}
        for result in ("ok", "lost", "error"):
            self.lease_renewals.labels(result)

    def drain_began(self) -> None:
        """The worker claims nothing from now on."""
        began = monotonic()
        self.draining.set(1)
        self.drain_seconds.set_function(lambda: monotonic() - began)

    def drain_ended(self) -> None:
        """The worker claims messages."""
        self.draining.set(0)
        self.drain_seconds.set_function(float)


VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_FILE = re.compile(r"(counter|histogram|summary|gauge_[a-z]+)_(\d+)\.db")
_ENDED = 0  # no process that writes metrics has this id

Value = tuple[float, float]  # and the time at which it was set


def _sum(old: Value, new: Value) -> Value:
    return old[0] + new[0], max(old[1], new[1])


def _by_value(choose: Callable[..., Value]) -> Callable[[Value, Value], Value]:
    return lambda old, new: choose(old, new, key=lambda value: value[0])


# How what a process leaves behind is taken in; gauges of other kinds end with it.
_TAKEN_IN: Mapping[str, Callable[[Value, Value], Value]] = {
    "counter": _sum,
    "histogram": _sum,
    "summary": _sum,
    "gauge_sum": _sum,
    "gauge_min": _by_value(min),
    "gauge_max": _by_value(max),
    "gauge_mostrecent": lambda old, new: max(old, new, key=lambda value: value[1]),
}


def folder_problem(environment: Mapping[str, str]) -> str | None:
    """Why the user's own folder for multiprocess mode cannot be used; None when it can, or none is given."""
    given = environment.get(VARIABLE)
    if given is None or (os.path.isdir(given) and os.access(given, os.W_OK | os.X_OK)):
        return None
    return (
        f"{VARIABLE}: '{given}' is no folder that can be written to; create it, or leave the variable out: "
        "process slots have a folder of their own then"
    )


class SlotMetrics(Collector):
    """The metrics of all processes that write to `folder`, but for this one, by prometheus_client's own mode.

    Each process writes to files of its own, `<kind>_<process id>.db`; the worker adds them up on its page.
    Files of processes that have ended are taken into one of each kind, so that they do not pile up.

    Args:
        ours: whether nobody else uses the folder: it is emptied, and whoever is not alive has ended.
    """

    def __init__(self, folder: Path, *, ours: bool) -> None:
        self.folder = folder
        self._ours = ours
        self._lock = threading.Lock()
        if ours:
            for file, _, _ in self._files():
                file.unlink()

    @classmethod
    def prepared(cls, run_dir: Path | None, environment: Mapping[str, str]) -> SlotMetrics:
        """In the user's folder, else in `run_dir`, else in a temporary one. Raises OSError."""
        if given := environment.get(VARIABLE):
            return cls(Path(given), ours=False)
        if run_dir is None:
            folder = Path(tempfile.mkdtemp(prefix="redisqueue-metrics-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            return cls(folder, ours=True)
        (folder := run_dir / "metrics").mkdir(exist_ok=True)
        return cls(folder, ours=True)

    def describe(self) -> Iterable[Metric]:
        """Nothing: which there are is the handlers' affair."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """All of them, added up as their kinds say."""
        with self._lock:
            self._take_in()
            files = [str(file) for file, _, pid in self._files() if pid != os.getpid()]
            return list(MultiProcessCollector.merge(files, accumulate=True))  # type: ignore[no-untyped-call]

    def ended(self, pid: int) -> None:
        """A process of a slot has ended."""
        with self._lock:
            self._take_in(pid)

    def _take_in(self, ended: int | None = None) -> None:
        for file, kind, pid in self._files():
            if pid == ended or (self._ours and pid != _ENDED and not _alive(pid)):
                try:
                    self._add(file, kind)
                except Exception:  # half written by a process that was killed
                    log.warning("metrics of a process that ended are lost", exc_info=True)
                file.unlink(missing_ok=True)

    def _add(self, file: Path, kind: str) -> None:
        taken_in = _TAKEN_IN.get(kind)
        if taken_in is None:
            return
        found = list(MmapedDict.read_all_values_from_file(str(file)))  # type: ignore[no-untyped-call]
        total = MmapedDict(str(self.folder / f"{kind}_{_ENDED}.db"))  # type: ignore[no-untyped-call]
        known = {key for key, _, _ in total.read_all_values()}  # type: ignore[no-untyped-call]
        for key, value, moment, _ in found:
            new = (value, moment)
            if key in known:
                new = taken_in(total.read_value(key), new)  # type: ignore[no-untyped-call]
            total.write_value(key, *new)  # type: ignore[no-untyped-call]
        total.close()  # type: ignore[no-untyped-call]

    def _files(self) -> list[tuple[Path, str, int]]:
        """Each file, its kind, and the process that wrote it."""
        found = [(file, _FILE.fullmatch(file.name)) for file in self.folder.glob("*.db")]
        return [(file, match[1], int(match[2])) for file, match in found if match]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
