"""The page of /metrics: what one worker counts, and what its handlers do.

Imported when somebody asks for it, or for process slots: prometheus_client takes as long to import as the
half of the worker.
"""

from __future__ import annotations

import atexit
import logging
import os
import re
import shutil
import tempfile
import threading
from importlib.metadata import version
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Metric, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from redisqueue_worker.metrics import VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client.samples import Sample

    from redisqueue_worker.metrics import Distribution, Metrics


log = logging.getLogger(__name__)

_PREFIX = "redisqueue_worker_"


class Page:
    """The page; the worker's own metrics are in the default registry, beside those of its handler.

    Args:
        metrics: the worker's own.
        registry: where the handler's are.
        queue: the name of the queue that the worker serves.
    """

    def __init__(self, metrics: Metrics, registry: CollectorRegistry = REGISTRY, *, queue: str = "") -> None:
        registry.register(WorkerCollector(metrics, queue))
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_OneOfEachName(registry))

    def __call__(self) -> tuple[str, str]:
        """The text and its content type."""
        return generate_latest(self._registry).decode(), CONTENT_TYPE_LATEST


class _OneOfEachName(Collector):
    """Adds up what the same metric of a handler says in this process and in process slots.

    Without when a counter or histogram was created, which the text format would make a series of its own.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        """All of the registry."""
        found: dict[str, Metric] = {}
        for metric in map(_without_created, self._registry.collect()):
            known = found.get(metric.name)
            found[metric.name] = metric if known is None else _added_up(known, metric)
        return found.values()


def _without_created(metric: Metric) -> Metric:
    """It, without the time at which it began; a gauge may have that name itself."""
    created = f"{metric.name}_created"
    if metric.type == "gauge" or not any(sample.name == created for sample in metric.samples):
        return metric
    bare = Metric(metric.name, metric.documentation, metric.type, metric.unit)
    bare.samples = [sample for sample in metric.samples if sample.name != created]
    return bare


def _added_up(one: Metric, other: Metric) -> Metric:
    """Both in one; of a gauge that both have the larger."""
    merge: Callable[[float, float], float] = max if one.type == "gauge" else add
    found: dict[tuple[str, tuple[tuple[str, str], ...]], Sample] = {}
    for sample in (*one.samples, *other.samples):
        key = sample.name, tuple(sorted(sample.labels.items()))
        known = found.get(key)
        found[key] = sample if known is None else sample._replace(value=merge(known.value, sample.value))
    both = Metric(one.name, one.documentation, one.type, one.unit)
    both.samples = [*found.values()]
    return both


class WorkerCollector(Collector):
    """Tells Prometheus the numbers of one worker."""

    def __init__(self, metrics: Metrics, queue: str = "") -> None:
        self._metrics = metrics
        self._about = {"queue": queue, "version": version("redis-queue-operator")}

    def collect(self) -> Iterator[Metric]:
        """All of them, as they are now."""
        now = self._metrics
        yield _by("messages", "Messages settled, by outcome.", "outcome", now.outcomes)
        yield _counter("redeliveries", "Messages claimed that were delivered before.", now.redeliveries)
        yield _histogram("handler_seconds", "Time spent in the handler.", now.handler_seconds)
        yield _histogram(
            "queue_wait_seconds",
            "From publication to the first claim, of messages whose producer stamped them.",
            now.queue_wait_seconds,
        )
        yield _counter("handler_timeouts", "Handlers timed out.", now.timeouts)
        yield _counter(
            "handlers_abandoned",
            "Handlers that could not be stopped; the process is replaced to be rid of them.",
            now.abandoned,
        )
        yield _gauge("in_flight", "Messages claimed, not settled.", now.in_flight())
        yield _gauge("slots", "Messages handled at once at most.", now.slots)
        drain_seconds = now.drain_seconds
        yield _gauge("draining", "1 from the start of a drain.", drain_seconds is not None)
        yield _gauge(
            "drain_seconds",
            "How long the drain has been under way; 0 while there is none.",
            drain_seconds or 0.0,
        )
        yield _gauge(
            "circuit_open",
            "1 while a run of failures keeps the worker from claiming more than one message at a time.",
            now.circuit_open,
        )
        yield _counter("circuit_openings", "Pauses that failures in a row have caused.", now.circuit_openings)
        yield _gauge(
            "results_waiting_seconds",
            "How long the oldest result of a handler has not been taken by Redis; 0 when there is none.",
            now.results_waiting_seconds(),
        )
        yield _gauge(
            "results_refused",
            "Results that Redis refuses, held to be tried again.",
            now.results_refused(),
        )
        yield _by("lease_renewals", "Lease renewals, by result.", "result", now.lease_renewals)
        yield _by("redis_errors", "Failed calls to Redis, by loop.", "loop", {"consumer": now.redis_errors})
        build = GaugeMetricFamily(
            f"{_PREFIX}build_info", "Always 1; the version, and the queue it serves.", labels=[*self._about]
        )
        build.add_metric([*self._about.values()], 1)
        yield build


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(_PREFIX + name, text, value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(_PREFIX + name, text, value)


def _by(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(_PREFIX + name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _histogram(name: str, text: str, found: Distribution) -> Metric:
    buckets, below = [], 0
    for bound, count in zip((*map(float, found.bounds), "+Inf"), found.counts, strict=True):
        below += count
        buckets.append((str(bound), below))
    return HistogramMetricFamily(_PREFIX + name, text, buckets, found.total_seconds)


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
    def registered(cls, run_dir: Path | None, environment: Mapping[str, str]) -> SlotMetrics:
        """On the page; in the user's folder, else in `run_dir`, else in a temporary one. Raises OSError."""
        found = cls._prepared(run_dir, environment)
        REGISTRY.register(found)
        return found

    @classmethod
    def _prepared(cls, run_dir: Path | None, environment: Mapping[str, str]) -> SlotMetrics:
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
