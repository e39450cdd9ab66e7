"""One set of series per RedisQueue, made at the scrape from what was seen last.

A reconcile costs one assignment, and the series go with the object. What is unknown has no series: an
unreadable queue is not an empty one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from redisqueue_operator.decide.scaling.fleet import is_fresh

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
    "desired": "Workers that are wanted.",
    "wanted": "Workers that the rules ask for, whoever chooses: what another autoscaler follows.",
    "replicas": "Workers that the Deployment asks for.",
    "ready": "Workers that are ready.",
    "busy": "Workers that handle a message.",
    "draining": "Workers that finish and leave.",
}


class Seen(NamedTuple):
    """A RedisQueue as it was last seen. `conditions` as in its status."""

    observation: Observation | None
    decision: Decision | None
    conditions: tuple[Mapping[str, Any], ...]


Rows = list[tuple[list[str], Seen]]


class QueueMetrics(Collector):
    """Turns `seen` into series."""

    def __init__(self) -> None:
        self.seen: dict[Key, Seen] = {}

    def collect(self) -> Iterator[Metric]:
        """All series of all queues."""
        rows = [([key.namespace, key.name], each) for key, each in list(self.seen.items())]
        yield from _gauges("redisqueue_queue", _COUNTS, rows, _counts)
        yield _claims(rows)
        yield from _gauges("redisqueue_queue", _RATES, rows, _rates)
        yield from _gauges("redisqueue_workers", _WORKERS, rows, _workers)
        yield _conditions(rows)


def _gauges(prefix: str, texts: Mapping[str, str], rows: Rows, values_of: Any) -> Iterator[Metric]:
    values = [(labels, values_of(each)) for labels, each in rows]
    for name, text in texts.items():
        gauge = GaugeMetricFamily(f"{prefix}_{name}", text, labels=LABELS)
        for labels, found in values:
            if (value := found.get(name)) is not None:
                gauge.add_metric(labels, value)
        yield gauge


def _counts(each: Seen) -> dict[str, int]:
    queue = each.observation.queue if each.observation else None
    return {} if queue is None else {name: getattr(queue, name) for name in _COUNTS}


def _rates(each: Seen) -> dict[str, float | None]:
    if each.decision is None or each.observation is None or each.observation.queue is None:
        return {}
    return {name: getattr(each.decision.rates, name) for name in _RATES}


def _workers(each: Seen) -> dict[str, int | None]:
    observation, decision = each.observation, each.decision
    if observation is None:
        return {}
    busy = sum(worker.busy > 0 for worker in observation.workers if is_fresh(worker))
    return {
        "desired": decision.to_replicas if decision else None,
        "wanted": decision.wanted_replicas if decision else None,
        "replicas": observation.replicas,
        "ready": observation.ready_replicas,
        "busy": None if observation.queue is None else busy,
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
        for condition in each.conditions:
            if condition["status"] != "Unknown":
                gauge.add_metric([*labels, condition["type"]], condition["status"] == "True")
    return gauge
