"""A RedisQueue that is left alone: what was known of it is known no more, and no old number stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.fake_platform import FakePlatform
from tests.support.observations import fleet, once, queue

from redisqueue_operator.loop.reconcile import Engine
from redisqueue_operator.serve.metrics import OperatorMetrics
from redisqueue_operator.serve.page.history import PageHistory
from redisqueue_operator.serve.page.model import Query, fleet_view

if TYPE_CHECKING:
    from redisqueue_operator.api.model import Key


async def left_alone(engine: Engine, platform: FakePlatform, key: Key) -> None:
    """It is on its way out, and somebody else's finalizer keeps it."""
    platform.objects[key]["metadata"] |= {
        "deletionTimestamp": "2026-01-01T00:00:00Z",
        "finalizers": ["example.com/theirs"],
        "generation": 99,
    }
    await engine._reconcile(key)


async def test_neither_metrics_nor_page_keep_what_was_seen_before() -> None:
    platform, metrics, page = FakePlatform("redis://unused"), OperatorMetrics(), PageHistory(lambda: 6000.0)
    engine = Engine(platform, metrics=metrics, page=page)
    key = platform.put("jobs")
    seen = fleet(queue(500), idle=1)
    metrics.observe(key, seen, once(seen), limits=(0, 9))
    metrics.returned(key, 3)
    page.observe(key, seen, once(seen), {"state": "Running"})
    await left_alone(engine, platform, key)
    labels = {"namespace": key.namespace, "name": key.name}
    value = metrics.registry.get_sample_value
    for name in ("queue_pending", "workers_ready", "workers_wanted", "workers_max"):
        assert value(f"redisqueue_{name}", labels) is None, name
    assert value("redisqueue_queue_returned_total", labels) == 3, "what was counted stays"
    (line,) = fleet_view(page, Query()).lines
    assert (line.pending, line.ready, line.wanted) == (None, None, None)
