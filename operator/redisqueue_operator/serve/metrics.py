"""What the operator tells Prometheus: one set of series per RedisQueue, and how it does its own work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from redisqueue_operator.loop.vitals import Vitals
from redisqueue_operator.serve.queue_metrics import QueueMetrics, Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from redisqueue_operator.api.model import Key
    from redisqueue_operator.decide.scaling import Decision
    from redisqueue_operator.observe.facts import Observation

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
    ) -> None:
        """Show this RedisQueue from now on as it was seen. `conditions` as in its status."""
        self._queues.seen[key] = Seen(observation, decision, tuple(conditions))

    def forget(self, key: Key) -> None:
        """The RedisQueue is gone, and its series with it."""
        self._queues.seen.pop(key, None)

    def follow(self, vitals: Callable[[], Vitals]) -> None:
        """Show from now on what this says of the control loop at each scrape."""
        self._vitals.now = vitals

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
