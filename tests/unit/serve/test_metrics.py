"""Series of queues that come and go, and of the operator itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from tests.support.observations import Story, fleet, once, pod, queue, seen, worker

from redisqueue_operator.api import Key
from redisqueue_operator.decide.scaling import Policy
from redisqueue_operator.decide.scaling.limits import Limits
from redisqueue_operator.decide.status.build import KINDS
from redisqueue_operator.loop.vitals import Vitals
from redisqueue_operator.serve.metrics import OperatorMetrics

README = Path(__file__).parents[3] / "operator" / "README.md"
EMAILS = Key("shop", "emails")
READY = {"type": "Ready", "status": "True", "reason": "Applied"}
REFUSED = {"type": "Stalled", "status": "True", "reason": "InvalidSpec"}
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
            "workers_wanted",
            "workers_replicas",
            "workers_ready",
            "workers_busy",
            "workers_draining",
        )
    }
    assert list(shown.values()) == [41, 5, 4, 9, 3, 2, 7, 8, 99, 10, 10, 2, 2, 1, 1]


def test_rates_and_ages(metrics: OperatorMetrics) -> None:
    story = Story()
    for second in range(21):  # 4 come and 6 go, a second
        of = queue(100 - 2 * second, claims=6 * second, at=1000 + second)
        observation = fleet(of, busy=3)
        metrics.observe(EMAILS, observation, story.at(float(second), observation))
    assert _value(metrics, "redisqueue_queue_arrivals_per_second") == pytest.approx(4)
    assert _value(metrics, "redisqueue_queue_claims_per_second") == pytest.approx(6)
    assert _value(metrics, "redisqueue_queue_eta_seconds") == pytest.approx(30)
    assert _value(metrics, "redisqueue_queue_oldest_age_seconds") == 14


def test_what_is_unknown_has_no_series(metrics: OperatorMetrics) -> None:
    observation = seen(None, [pod("a")])
    metrics.observe(EMAILS, observation, once(observation))
    assert _value(metrics, "redisqueue_queue_pending") is None
    assert _value(metrics, "redisqueue_workers_busy") is None
    assert _value(metrics, "redisqueue_workers_desired") == 1
    assert _value(metrics, "redisqueue_queue_arrivals_per_second") is None
    metrics.observe(EMAILS, None, None)
    assert _value(metrics, "redisqueue_workers_desired") is None


def test_conditions(metrics: OperatorMetrics) -> None:
    conditions = [
        {"type": "Ready", "status": "True", "reason": "Applied"},
        {"type": "Degraded", "status": "False", "reason": "Healthy"},
        {"type": "RedisReachable", "status": "Unknown", "reason": "NotObserved"},
    ]
    metrics.observe(EMAILS, None, None, conditions)
    values = [
        _value(metrics, "redisqueue_condition", **LABELS, type=kind)
        for kind in ("Ready", "Degraded", "RedisReachable")
    ]
    assert values == [1, 0, None]


@pytest.mark.parametrize(
    ("kind", "status", "reason", "told"),
    [
        ("Ready", "True", "Applied", False),
        ("Ready", "False", "InvalidSpec", True),
        ("RedisDurable", "Unknown", "NotTold", True),
        ("Degraded", "False", "Healthy", False),
        ("Degraded", "True", "PodsFailing", True),
        ("Progressing", "False", "Stable", False),
        ("Progressing", "False", "RolledBack", True),
        ("Progressing", "True", "Canary", True),
        ("Stalled", "True", "InvalidSpec", True),
    ],
)
def test_a_reason_is_told_of_what_is_not_as_one_wishes(
    metrics: OperatorMetrics, kind: str, status: str, reason: str, told: bool
) -> None:
    metrics.observe(EMAILS, None, None, [{"type": kind, "status": status, "reason": reason}])
    value = _value(metrics, "redisqueue_condition_reason", **LABELS, type=kind, reason=reason)
    assert value == (1 if told else None)


def test_a_reason_can_be_told_of_each_condition(metrics: OperatorMetrics) -> None:
    conditions = [{"type": kind, "status": "Unknown", "reason": "NotObserved"} for kind in KINDS]
    metrics.observe(EMAILS, None, None, conditions)
    for kind in KINDS:
        assert _value(metrics, "redisqueue_condition_reason", **LABELS, type=kind, reason="NotObserved") == 1


def test_the_limits_of_the_workers_are_those_of_a_valid_spec(metrics: OperatorMetrics) -> None:
    observation = seen(None, [pod("a")])
    for known in (observation, None):
        metrics.observe(EMAILS, known, None, limits=(0, 20))
        assert [_value(metrics, f"redisqueue_workers_{end}") for end in ("min", "max")] == [0, 20]
    metrics.observe(EMAILS, observation, None)
    assert _value(metrics, "redisqueue_workers_max") is None


def test_redrives_are_counted_at_the_scrape(metrics: OperatorMetrics) -> None:
    counted = Counter({(EMAILS, "Failed"): 2})
    metrics.follow_redrives(lambda: counted)
    name = "redisqueue_redrives"
    assert _value(metrics, name, **LABELS, phase="Failed") == 2
    counted.clear()
    assert _value(metrics, name, **LABELS, phase="Failed") is None


def test_a_budget_is_told_at_the_scrape_by_resource(metrics: OperatorMetrics) -> None:
    told = {Key("shop", "shared"): [("limit", "cpu", 1.5), ("used", "cpu", 0.25), ("limit", "workers", 40.0)]}
    metrics.follow_budgets(lambda: told)
    shared = {"namespace": "shop", "name": "shared"}
    assert _value(metrics, "redisqueue_budget_limit", **shared, resource="cpu") == 1.5
    assert _value(metrics, "redisqueue_budget_used", **shared, resource="cpu") == 0.25
    assert _value(metrics, "redisqueue_budget_limit", **shared, resource="workers") == 40
    assert _value(metrics, "redisqueue_budget_used", **shared, resource="workers") is None
    told.clear()
    assert _value(metrics, "redisqueue_budget_limit", **shared, resource="cpu") is None


def test_the_series_go_with_the_object(metrics: OperatorMetrics) -> None:
    other = Key("shop", "bills")
    for key in (EMAILS, other):
        metrics.observe(key, fleet(queue(1), idle=1), None, [READY])
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


def test_how_the_control_loop_does(metrics: OperatorMetrics) -> None:
    value = metrics.registry.get_sample_value
    assert value("redisqueue_operator_queue_depth") == 0
    vitals = Vitals(
        depth=3,
        endpoints=2,
        sleepers=64,
        told=900,
        loop_age_seconds=0.5,
        resync_age_seconds=20,
        sample_age_seconds=1,
    )
    metrics.follow(lambda: vitals)
    names = ("queue_depth", "redis_endpoints", "redis_sleepers", "redis_told")
    shown = [value(f"redisqueue_operator_{name}") for name in names]
    ages = [value("redisqueue_operator_age_seconds", {"of": of}) for of in ("loop", "resync", "sample")]
    assert (shown, ages) == ([3, 2, 64, 900], [0.5, 20, 1])


def test_what_dead_workers_held_is_counted_while_the_redis_queue_is_there(metrics: OperatorMetrics) -> None:
    name, labels = "redisqueue_queue_returned_total", {"namespace": EMAILS.namespace, "name": EMAILS.name}
    metrics.returned(EMAILS, 2)
    metrics.returned(EMAILS, 3)
    assert metrics.registry.get_sample_value(name, labels) == 5
    metrics.forget(EMAILS)
    assert metrics.registry.get_sample_value(name, labels) is None


def test_the_documented_table_is_the_registry() -> None:
    metrics = OperatorMetrics(version="1.2.3")
    of = queue(10, claims=5)
    story = Story(Policy(limits=Limits(max_in_flight=4)))
    for second in (0, 5):
        observation = fleet(queue(10 - second, claims=second, at=1000.0 + second), busy=1)
        decision = story.at(float(second), observation)
    metrics.observe(EMAILS, fleet(of, busy=1), decision, [READY, REFUSED], limits=(0, 20))
    metrics.follow_redrives(lambda: {(EMAILS, "Failed"): 1})
    metrics.follow_schedules(lambda: {(EMAILS, "enqueued"): 1})
    told = [(what, "workers", 40.0) for what in ("limit", "used", "asked")]
    metrics.follow_budgets(lambda: {Key("shop", "shared"): told})
    metrics.api_call("GET", 200)
    metrics.returned(EMAILS, 16)
    wanted = []
    for metric in metrics.registry.collect():
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        labels = sorted({label for sample in metric.samples for label in sample.labels} - {"le"})
        shown = ", ".join(f"`{label}`" for label in labels)
        assert metric.samples, f"{name} is not filled above"
        wanted.append(f"| `{name}` | {metric.type} | {shown} | {metric.documentation} |")
    found = [line for line in README.read_text().splitlines() if line.startswith("| `redisqueue_")]
    assert found == wanted, "operator/README.md shall have these lines:\n" + "\n".join(wanted)
