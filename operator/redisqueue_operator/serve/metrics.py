"""What the operator tells Prometheus: one set of series per RedisQueue, and how it does its own work."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from redisqueue_operator.loop.vitals import Vitals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from redisqueue_operator.api.model import Key
    from redisqueue_operator.decide.scaling import Decision
    from redisqueue_operator.observe.facts import Observation

LABELS = ["namespace", "name"]
_COUNTS = {
    "pending": "Messages that wait for a worker.",
    "delayed": "Messages to be delivered later, those that are due included.",
    "delayed_due": "Delayed messages whose time has come.",
    "in_flight": "Messages under a lease, expired ones included.",
    "expired": "Leases that ran out.",
    "orphaned": "Messages in processing without a lease.",
    "failed": "Messages in the failed list.",
    "dead_letter": "Dead letters.",
}
_RATES = {
    "arrivals_per_second": "Messages that arrived, a second, over the last ten.",
    "claims_per_second": "Messages that were claimed, a second, over the last ten.",
    "oldest_age_seconds": "Age of the message that waits longest, as far as it is known.",
    "eta_seconds": "Until the backlog is gone at these rates; no series while it does not shrink.",
}
_WORKERS = {
    "min": "Workers that there are at least, as the spec or its schedules say.",
    "max": "Workers that there are at most, as the spec or its schedules say.",
    "limit": "Workers that queue.limits let work; no series without limits, or while that is not known.",
    "desired": "Workers that are wanted.",
    "wanted": "Workers that the rules ask for, whoever chooses: what another autoscaler follows.",
    "replicas": "Workers that the Deployment asks for.",
    "ready": "Workers that are ready.",
    "busy": "Workers that handle a message.",
    "draining": "Workers that finish and leave.",
}


class LastSeen(NamedTuple):
    """A RedisQueue as it was last seen.

    `conditions`: of each the type, the status and the reason; `limits` of its workers if known.
    """

    observation: Observation | None
    decision: Decision | None
    conditions: tuple[tuple[str, str, str], ...]
    limits: tuple[int, int] | None


Rows = list[tuple[list[str], LastSeen]]


class QueueMetrics(Collector):
    """Turns `seen`, and what `redrives`, `ticks` and `budgets` tell at the scrape, into series."""

    def __init__(self) -> None:
        self.seen: dict[Key, LastSeen] = {}
        self.redrives: Callable[[], Mapping[tuple[Key, str], int]] = dict
        self.ticks: Callable[[], Mapping[tuple[Key, str], int]] = dict
        self.budgets: Callable[[], Mapping[Key, Iterable[tuple[str, str, float]]]] = dict

    def collect(self) -> Iterator[Metric]:
        """All series of all queues."""
        rows = [([key.namespace, key.name], each) for key, each in list(self.seen.items())]
        yield from _gauges("redisqueue_queue", _COUNTS, rows, _counts)
        yield _claims(rows)
        yield from _gauges("redisqueue_queue", _RATES, rows, _rates)
        yield from _gauges("redisqueue_workers", _WORKERS, rows, _workers)
        yield _conditions(rows)
        yield _reasons(rows)
        yield _redrives(self.redrives())
        yield _ticks(self.ticks())
        yield from _budgets(self.budgets())


def _gauges(prefix: str, texts: Mapping[str, str], rows: Rows, values_of: Any) -> Iterator[Metric]:
    values = [(labels, values_of(each)) for labels, each in rows]
    for name, text in texts.items():
        gauge = GaugeMetricFamily(f"{prefix}_{name}", text, labels=LABELS)
        for labels, found in values:
            if (value := found.get(name)) is not None:
                gauge.add_metric(labels, value)
        yield gauge


def _counts(each: LastSeen) -> dict[str, int]:
    queue = each.observation.queue if each.observation else None
    return {} if queue is None else {name: getattr(queue, name) for name in _COUNTS}


def _rates(each: LastSeen) -> dict[str, float | None]:
    if each.decision is None or each.observation is None or each.observation.queue is None:
        return {}
    return {name: getattr(each.decision.rates, name) for name in _RATES}


def _workers(each: LastSeen) -> Mapping[str, int | None]:
    observation, decision = each.observation, each.decision
    limits = dict(zip(("min", "max"), each.limits, strict=True)) if each.limits else {}
    if observation is None:
        return limits
    busy = sum(worker.busy > 0 for worker in observation.workers if worker.is_fresh)
    known = {**limits, "busy": None if observation.queue is None else busy}
    if observation.unseen:
        return known
    return {
        **known,
        "limit": decision.limit if decision else None,
        "desired": decision.to_replicas if decision else None,
        "wanted": decision.wanted_replicas if decision else None,
        "replicas": observation.replicas,
        "ready": observation.ready_replicas,
        "draining": sum(pod.terminating for pod in observation.pods),
    }


def _claims(rows: Rows) -> Metric:
    counter = CounterMetricFamily(
        "redisqueue_queue_claims", "Messages ever claimed from the queue.", labels=LABELS
    )
    for labels, each in rows:
        queue = each.observation.queue if each.observation else None
        if queue is not None and queue.claims_total is not None:
            counter.add_metric(labels, queue.claims_total)
    return counter


def _conditions(rows: Rows) -> Metric:
    gauge = GaugeMetricFamily(
        "redisqueue_condition",
        "1 while the condition is True, 0 while it is False; no series while it is Unknown.",
        labels=[*LABELS, "type"],
    )
    for labels, each in rows:
        for kind, status, _ in each.conditions:
            if status != "Unknown":
                gauge.add_metric([*labels, kind], status == "True")
    return gauge


_WISHED = dict.fromkeys(("Ready", "RedisReachable", "RedisDurable", "ScalingActive"), "True")
_WISHED |= dict.fromkeys(("Degraded", "Paused", "Reconciling", "Stalled"), "False")


def _is_as_wished(kind: str, status: str, reason: str) -> bool:
    """Whether there is nothing to tell: a fleet that is well has no series for it."""
    return reason == "Stable" if kind == "Progressing" else status == _WISHED[kind]


def _reasons(rows: Rows) -> Metric:
    gauge = GaugeMetricFamily(
        "redisqueue_condition_reason",
        "1 for the reason of each condition that is not as one wishes, or Unknown.",
        labels=[*LABELS, "type", "reason"],
    )
    for labels, each in rows:
        for kind, status, reason in each.conditions:
            if not _is_as_wished(kind, status, reason):
                gauge.add_metric([*labels, kind, reason], 1)
    return gauge


def _redrives(counted: Mapping[tuple[Key, str], int]) -> Metric:
    gauge = GaugeMetricFamily(
        "redisqueue_redrives", "RedisQueueRedrives that exist, by phase.", labels=[*LABELS, "phase"]
    )
    for (key, phase), count in counted.items():
        gauge.add_metric([key.namespace, key.name, phase], count)
    return gauge


def _ticks(counted: Mapping[tuple[Key, str], int]) -> Metric:
    counter = CounterMetricFamily(
        "redisqueue_schedule_ticks",
        "Ticks of a RedisQueueSchedule, by outcome: enqueued, or missed. `name` is its own.",
        labels=[*LABELS, "outcome"],
    )
    for (key, outcome), count in list(counted.items()):
        counter.add_metric([key.namespace, key.name, outcome], count)
    return counter


_BUDGET = {
    "limit": "What a RedisQueueBudget has of a resource: workers, cpu (processors), memory (bytes).",
    "used": "Of it what its queues have; no series before one was looked at.",
    "asked": "What they would have without it.",
}


def _budgets(told: Mapping[Key, Iterable[tuple[str, str, float]]]) -> Iterator[Metric]:
    gauges = {
        what: GaugeMetricFamily(f"redisqueue_budget_{what}", text, labels=[*LABELS, "resource"])
        for what, text in _BUDGET.items()
    }
    for key, numbers in told.items():
        for what, resource, value in numbers:
            gauges[what].add_metric([key.namespace, key.name, resource], value)
    yield from gauges.values()


_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class OperatorMetrics:
    """The metrics of one operator process, in a registry of its own unless one is given.

    `version` is the operator's own.
    """

    def __init__(self, registry: CollectorRegistry | None = None, *, version: str = "") -> None:
        self.registry = registry = registry or CollectorRegistry()
        self._queues = QueueMetrics()
        self._vitals = _VitalsMetrics()
        registry.register(self._queues)
        registry.register(self._vitals)
        self._returned = Counter(
            "redisqueue_queue_returned",
            "Messages of workers that had ended, given back at once.",
            LABELS,
            registry=registry,
        )
        self._reconciles = Counter(
            "redisqueue_operator_reconciles", "Reconciles, by outcome.", ["outcome"], registry=registry
        )
        for outcome in ("ok", "conflict", "error"):
            self._reconciles.labels(outcome)
        self._reconcile_seconds = Histogram(
            "redisqueue_operator_reconcile_seconds",
            "Time of one reconcile.",
            buckets=_FAST,
            registry=registry,
        )
        self._api_calls = Counter(
            "redisqueue_operator_api_calls",
            "Calls to the Kubernetes API but kopf's watches, by verb and status code; 0 without an answer.",
            ["verb", "code"],
            registry=registry,
        )
        self._sample_seconds = Histogram(
            "redisqueue_operator_sample_seconds",
            "Time to sample all queues of one Redis.",
            buckets=_FAST,
            registry=registry,
        )
        self._reaction_seconds = Histogram(
            "redisqueue_operator_reaction_seconds",
            "From the sample that showed a need to the written number of workers.",
            buckets=_FAST,
            registry=registry,
        )
        self._leader = Gauge("redisqueue_operator_leader", "1 while this process decides.", registry=registry)
        build = Gauge(
            "redisqueue_operator_build_info", "Always 1; the version.", ["version"], registry=registry
        )
        build.labels(version).set(1)

    def observe(
        self,
        key: Key,
        observation: Observation | None,
        decision: Decision | None,
        conditions: Iterable[Mapping[str, Any]] = (),
        *,
        limits: tuple[int, int] | None = None,
    ) -> None:
        """Show this RedisQueue from now on as it was seen.

        `conditions` as in its status; `limits`: how many workers it has at least and at most, None where its
        spec is not valid.
        """
        short = tuple((each["type"], each["status"], each["reason"]) for each in conditions)
        self._queues.seen[key] = LastSeen(observation, decision, short, limits)

    def forget(self, key: Key) -> None:
        """The RedisQueue is gone, and its series with it."""
        self._queues.seen.pop(key, None)
        with contextlib.suppress(KeyError):
            self._returned.remove(key.namespace, key.name)

    def returned(self, key: Key, messages: int) -> None:
        """So many messages of workers that had ended are pending again."""
        self._returned.labels(key.namespace, key.name).inc(messages)

    def follow(self, vitals: Callable[[], Vitals]) -> None:
        """Show from now on what this says of the control loop at each scrape."""
        self._vitals.now = vitals

    def follow_redrives(self, counted: Callable[[], Mapping[tuple[Key, str], int]]) -> None:
        """Show from now on what this says of redrives at each scrape: how many of a RedisQueue, by phase."""
        self._queues.redrives = counted

    def follow_schedules(self, counted: Callable[[], Mapping[tuple[Key, str], int]]) -> None:
        """Show from now on what this says of schedules at each scrape: their ticks, by outcome."""
        self._queues.ticks = counted

    def follow_budgets(self, told: Callable[[], Mapping[Key, Iterable[tuple[str, str, float]]]]) -> None:
        """Show from now on what this says of budgets at each scrape.

        `limit`, `used` or `asked`, the resource, and how much.
        """
        self._queues.budgets = told

    def reconciled(self, outcome: Literal["ok", "conflict", "error"], seconds: float) -> None:
        """One reconcile ended."""
        self._reconciles.labels(outcome).inc()
        self._reconcile_seconds.observe(seconds)

    def api_call(self, verb: str, code: int) -> None:
        """One answer of the Kubernetes API; code 0 when none came."""
        self._api_calls.labels(verb, str(code)).inc()

    def sampled(self, seconds: float) -> None:
        """All queues of one Redis were sampled."""
        self._sample_seconds.observe(seconds)

    def reacted(self, seconds: float) -> None:
        """A number of workers was written so long after the sample that asked for it."""
        self._reaction_seconds.observe(seconds)

    def leading(self, leads: bool) -> None:
        """Whether this process decides now."""
        self._leader.set(leads)


class _VitalsMetrics(Collector):
    """Asks the control loop at the scrape."""

    def __init__(self) -> None:
        self.now: Callable[[], Vitals] = Vitals

    def collect(self) -> Iterator[Metric]:
        vitals = self.now()
        for name, text, value in (
            ("queue_depth", "RedisQueues that are due to be looked at and wait.", vitals.depth),
            ("redis_endpoints", "Redis servers, by user, that are sampled.", vitals.endpoints),
            (
                "unreadable",
                "Kinds, by namespace, that cannot be read: nothing is decided there.",
                vitals.unreadable,
            ),
            ("redis_sleepers", "Empty queues that are waited on, a connection each.", vitals.sleepers),
            ("redis_told", "Empty queues that rest until their server tells of a change.", vitals.told),
        ):
            yield GaugeMetricFamily(f"redisqueue_operator_{name}", text, value=value)
        ages = GaugeMetricFamily(
            "redisqueue_operator_age_seconds",
            "Since the control loop moved, a resync and the latest sample were tried; /livez judges these.",
            labels=["of"],
        )
        for of, seconds in vitals.ages.items():
            ages.add_metric([of], seconds)
        yield ages
