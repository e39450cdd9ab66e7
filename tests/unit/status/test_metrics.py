"""Series of queues that come and go, and of the operator itself."""

from __future__ import annotations

import pytest
from prometheus_client import generate_latest
from tests.support.observations import fleet, once, pod, queue, seen, worker

from redisqueue_operator.api import Key
from redisqueue_operator.metrics import OperatorMetrics

EMAILS = Key("shop", "emails")
LABELS = {"namespace": "shop", "name": "emails"}


@pytest.fixture
def metrics() -> OperatorMetrics:
    return OperatorMetrics()


def _value(metrics: OperatorMetrics, name: str, /, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels or LABELS)


def test_a_queue(metrics: OperatorMetrics) -> None:
    of = queue(41, in_flight=5, expired=4, delayed=9, due=3, orphaned=2, failed=7, dead_letter=8, claims=99)
    pods = [pod("busy"), pod("idle"), pod("leaving", terminating=True)]
    observation = seen(of, pods, [worker("busy", 2, slots=2), worker("idle")])
    metrics.observe(EMAILS, observation, once(observation))
    shown = {
        name: _value(metrics, f"redisqueue_{name}")
        for name in (
            "queue_pending",
            "queue_in_flight",
            "queue_expired",
            "queue_delayed",
            "queue_delayed_due",
            "queue_orphaned",
            "queue_failed",
            "queue_dead_letter",
            "queue_claims_total",
            "workers_desired",
            "workers_replicas",
            "workers_ready",
            "workers_busy",
            "workers_draining",
        )
    }
    assert list(shown.values()) == [41, 5, 4, 9, 3, 2, 7, 8, 99, 10, 2, 2, 1, 1]


def test_what_is_unknown_has_no_series(metrics: OperatorMetrics) -> None:
    observation = seen(None, [pod("a")])
    metrics.observe(EMAILS, observation, once(observation))
    assert _value(metrics, "redisqueue_queue_pending") is None
    assert _value(metrics, "redisqueue_workers_busy") is None
    assert _value(metrics, "redisqueue_workers_desired") == 1
    metrics.observe(EMAILS, None, None)
    assert _value(metrics, "redisqueue_workers_desired") is None


def test_conditions(metrics: OperatorMetrics) -> None:
    conditions = [
        {"type": "Ready", "status": "True"},
        {"type": "Degraded", "status": "False"},
        {"type": "RedisReachable", "status": "Unknown"},
    ]
    metrics.observe(EMAILS, None, None, conditions)
    values = [
        _value(metrics, "redisqueue_condition", **LABELS, type=kind)
        for kind in ("Ready", "Degraded", "RedisReachable")
    ]
    assert values == [1, 0, None]


def test_the_series_go_with_the_object(metrics: OperatorMetrics) -> None:
    other = Key("shop", "bills")
    for key in (EMAILS, other):
        metrics.observe(key, fleet(queue(1), idle=1), None, [{"type": "Ready", "status": "True"}])
    assert b'name="emails"' in generate_latest(metrics.registry)
    metrics.forget(EMAILS)
    metrics.forget(EMAILS)
    text = generate_latest(metrics.registry)
    assert b'name="emails"' not in text
    assert b'name="bills"' in text


def test_its_own_work(metrics: OperatorMetrics) -> None:
    metrics.reconciled("ok", 0.02)
    metrics.reconciled("error", 0.2)
    metrics.api_call("patch", 200)
    metrics.sampled(0.003)
    metrics.reacted(0.12)
    metrics.leading(True)
    value = metrics.registry.get_sample_value
    assert value("redisqueue_operator_reconciles_total", {"outcome": "ok"}) == 1
    assert value("redisqueue_operator_reconciles_total", {"outcome": "conflict"}) == 0
    assert value("redisqueue_operator_reconcile_seconds_count") == 2
    assert value("redisqueue_operator_api_calls_total", {"verb": "patch", "code": "200"}) == 1
    assert value("redisqueue_operator_sample_seconds_sum") == pytest.approx(0.003)
    assert value("redisqueue_operator_reaction_seconds_bucket", {"le": "0.25"}) == 1
    assert value("redisqueue_operator_leader") == 1
    metrics.leading(False)
    assert value("redisqueue_operator_leader") == 0
