"""What one worker process tells Prometheus; the depth of the queue is the operator's to tell."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from redis_message_queue._clock import monotonic

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600)


class Metrics:
    """The worker's metrics, in the default registry so that a handler's own ones are exposed beside them."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.registry = registry
        self.messages = Counter(
            "redisqueue_worker_messages", "Messages settled, by outcome.", ["outcome"], registry=registry
        )
        self.redeliveries = Counter(
            "redisqueue_worker_redeliveries",
            "Messages claimed that were delivered before.",
            registry=registry,
        )
        self.handler_seconds = Histogram(
            "redisqueue_worker_handler_seconds",
            "Time spent in the handler.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self.queue_wait_seconds = Histogram(
            "redisqueue_worker_queue_wait_seconds",
            "From publication to the first claim, of messages whose producer stamped them.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self.timeouts = Counter(
            "redisqueue_worker_handler_timeouts", "Handlers timed out.", registry=registry
        )
        self.abandoned = Counter(
            "redisqueue_worker_handlers_abandoned",
            "Handlers that could not be stopped; the process is replaced to be rid of them.",
            registry=registry,
        )
        self.in_flight = Gauge(
            "redisqueue_worker_in_flight", "Messages claimed, not settled.", registry=registry
        )
        self.slots = Gauge("redisqueue_worker_slots", "Messages handled at once at most.", registry=registry)
        self.draining = Gauge("redisqueue_worker_draining", "1 from the start of a drain.", registry=registry)
        self.drain_seconds = Gauge(
            "redisqueue_worker_drain_seconds",
            "How long the drain has been under way; 0 while there is none.",
            registry=registry,
        )
        self.circuit_open = Gauge(
            "redisqueue_worker_circuit_open",
            "1 while a run of failures keeps the worker from claiming more than one message at a time.",
            registry=registry,
        )
        self.circuit_openings = Counter(
            "redisqueue_worker_circuit_openings",
            "Pauses that failures in a row have caused.",
            registry=registry,
        )
        self.results_waiting = Gauge(
            "redisqueue_worker_results_waiting_seconds",
            "How long the oldest result of a handler has not been taken by Redis; 0 when there is none.",
            registry=registry,
        )
        self.results_refused = Gauge(
            "redisqueue_worker_results_refused",
            "Results that Redis refuses, held to be tried again.",
            registry=registry,
        )
        self.lease_renewals = Counter(
            "redisqueue_worker_lease_renewals", "Lease renewals, by result.", ["result"], registry=registry
        )
        self.redis_errors = Counter(
            "redisqueue_worker_redis_errors", "Failed calls to Redis, by loop.", ["loop"], registry=registry
        )
        self.redis_errors.labels("claimer")
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
