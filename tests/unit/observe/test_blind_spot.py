"""A namespace that cannot be read: its workers are unknown wherever their number is told, and never zero."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from tests.support.observations import once
from tests.support.resources import redis_queue

from redisqueue_operator.apply.writer import Writer
from redisqueue_operator.decide.look import Memory
from redisqueue_operator.decide.scaling import History
from redisqueue_operator.kubernetes_platform import KubernetesPlatform
from redisqueue_operator.loop.memory import Tracked
from redisqueue_operator.loop.reconcile import Engine
from redisqueue_operator.observe.cache import PODS, Store
from redisqueue_operator.observe.coverage import Coverage
from redisqueue_operator.observe.redis.reading import Reading
from redisqueue_operator.scope import Scope
from redisqueue_operator.serve.metrics import OperatorMetrics
from redisqueue_operator.serve.page.history import Gauge, PageHistory
from redisqueue_operator.serve.page.model import Query, fleet_view

if TYPE_CHECKING:
    from redisqueue_operator.observe.facts import Observation

RQ = redis_queue()
NOBODY: Any = None
"""What a look at a blind spot does not ask."""


class Sampler:
    """The queue could be read, and says nothing yet."""

    def last(self, _: object) -> None:
        return None

    def server(self, _: object) -> None:
        return None


def tracked() -> Tracked:
    found = Tracked(RQ.uid, Memory(History.fresh(0.0)))
    found.take(RQ.raw)
    return found


@pytest.fixture
async def blind() -> Observation:
    scope = Scope()
    coverage = Coverage(scope)
    coverage.listed((PODS, None), problem="too many requests")
    writer = Writer(NOBODY, instance="")
    platform = KubernetesPlatform(
        NOBODY, Store(), writer, NOBODY, NOBODY, worker_image="", version="1", scope=scope, coverage=coverage
    )
    world = await platform.observe(RQ)
    reading = Reading(platform, cast("Any", Sampler()), lambda: 0.0)
    return reading.observation(RQ.key, tracked(), world.fleet)


def test_no_metric_has_a_number_of_workers(blind: Observation) -> None:
    metrics = OperatorMetrics()
    metrics.observe(RQ.key, blind, once(blind), limits=(1, 9))
    labels = {"namespace": RQ.key.namespace, "name": RQ.key.name}
    told = {
        name: metrics.registry.get_sample_value(f"redisqueue_workers_{name}", labels)
        for name in ("wanted", "desired", "ready", "draining", "min", "max")
    }
    assert told == {"wanted": None, "desired": None, "ready": None, "draining": None, "min": 1, "max": 9}


def test_the_page_has_none_either(blind: Observation) -> None:
    history = PageHistory(lambda: 6000.0)
    history.observe(RQ.key, blind, once(blind), {})
    (line,) = fleet_view(history, Query()).lines
    assert (line.ready, line.wanted) == (None, None)
    ring = history.queues[RQ.key].ring
    assert [ring.series(6000.0, what)[-1] for what in (Gauge.WANTED, Gauge.READY)] == [None, None]


def test_the_decision_is_not_explained_by_workers_that_are_not_seen(blind: Observation) -> None:
    engine, known = Engine(NOBODY), tracked()
    known.memory = Memory(History.fresh(0.0), observation=blind, decision=once(blind))
    engine._tracked[RQ.key] = known
    told = engine.explain(RQ.key) or []
    assert not [line for line in told if "workers wanted" in line or "DeploymentMissing" in line]
