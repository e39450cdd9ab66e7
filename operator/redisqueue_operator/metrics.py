"""What the operator tells Prometheus: one set of series per RedisQueue, and how it does its own work.

The series of a queue are made at the scrape, from what was seen last: a reconcile costs one assignment,
and the series go with the object. What is unknown has no series: an unreadable queue is not an empty one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from redisqueue_operator.scaling.fleet import is_fresh

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from redisqueue_operator.api.model import Key
    from redisqueue_operator.observation import Observation
    from redisqueue_operator.scaling import Decision

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SERIES = ["namespace", "name"]
_QUEUE = {
    "pending": "Messages that wait for a worker.",
    "delayed": "Messages to be delivered later, those that are due included.",
    "delayed_due": "Delayed messages whose time has come.",
    "in_flight": "Messages under a lease, expired ones included.",
    "expired": "Leases that ran out.",
    "orphaned": "Messages in processing without a lease.",
    "failed": "Messages in the failed list.",
    "dead_letter": "Dead letters.",
}
_WORKERS = {
    "desired": "Workers that are wanted.",
    "replicas": "Workers that the Deployment asks for.",
    "ready": "Workers that are ready.",
    "busy": "Workers that handle a message.",
    "draining": "Workers that finish and leave.",
}


class OperatorMetrics:
    """The metrics of one operator process, in a registry of its own unless one is given."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry = registry or CollectorRegistry()
        self._queues = _Queues()
        registry.register(self._queues)
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
            "Calls to the Kubernetes API, by verb and status code.",
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

    def observe(
        self,
        key: Key,
        observation: Observation | None,
        decision: Decision | None,
        conditions: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        """Show this RedisQueue from now on as it was seen. `conditions` as in its status."""
        self._queues.seen[key] = _Seen(observation, decision, tuple(conditions))

    def forget(self, key: Key) -> None:
        """The RedisQueue is gone, and its series with it."""
        self._queues.seen.pop(key, None)

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


class _Seen(NamedTuple):
    observation: Observation | None
    decision: Decision | None
    conditions: tuple[Mapping[str, Any], ...]


class _Queues(Collector):
    """Turns what was seen last into series, at the scrape."""

    def __init__(self) -> None:
        self.seen: dict[Key, _Seen] = {}

    def collect(self) -> Iterator[Metric]:
        seen = [([key.namespace, key.name], each) for key, each in list(self.seen.items())]
        for field, text in _QUEUE.items():
            gauge = GaugeMetricFamily(f"redisqueue_queue_{field}", text, labels=_SERIES)
            for labels, each in seen:
                if each.observation is not None and each.observation.queue is not None:
                    gauge.add_metric(labels, getattr(each.observation.queue, field))
            yield gauge
        yield _claims(seen)
        yield from _workers(seen)
        yield _conditions(seen)


def _claims(seen: list[tuple[list[str], _Seen]]) -> Metric:
    counter = CounterMetricFamily(
        "redisqueue_queue_claims", "Messages ever claimed from the queue.", labels=_SERIES
    )
    for labels, each in seen:
        queue = each.observation.queue if each.observation else None
        if queue is not None and queue.claims_total is not None:
            counter.add_metric(labels, queue.claims_total)
    return counter


def _workers(seen: list[tuple[list[str], _Seen]]) -> Iterator[Metric]:
    rows = [(labels, _worker_counts(each)) for labels, each in seen]
    for name, text in _WORKERS.items():
        gauge = GaugeMetricFamily(f"redisqueue_workers_{name}", text, labels=_SERIES)
        for labels, counts in rows:
            if (value := counts.get(name)) is not None:
                gauge.add_metric(labels, value)
        yield gauge


def _worker_counts(each: _Seen) -> dict[str, int | None]:
    observation, decision = each.observation, each.decision
    if observation is None:
        return {}
    busy = sum(worker.busy > 0 for worker in observation.workers if is_fresh(worker))
    return {
        "desired": decision.to_replicas if decision else None,
        "replicas": observation.replicas,
        "ready": observation.ready_replicas,
        "busy": None if observation.queue is None else busy,
        "draining": sum(pod.terminating for pod in observation.pods),
    }


def _conditions(seen: list[tuple[list[str], _Seen]]) -> Metric:
    gauge = GaugeMetricFamily(
        "redisqueue_condition",
        "1 while the condition is True, 0 while it is False; no series while it is Unknown.",
        labels=[*_SERIES, "type"],
    )
    for labels, each in seen:
        for condition in each.conditions:
            if condition["status"] != "Unknown":
                gauge.add_metric([*labels, condition["type"]], condition["status"] == "True")
    return gauge
