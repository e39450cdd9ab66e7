"""The metrics of worker and operator: one scheme, as promtool wants names to be, and as the READMEs say."""

from __future__ import annotations

import re

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from tests.support.observations import fleet, once, queue
from tests.support.prometheus import READMES, documented, exposed, promtool

from redisqueue_operator.api import Key
from redisqueue_operator.serve.metrics import OperatorMetrics
from redisqueue_worker.metrics import Metrics
from redisqueue_worker.metrics_page import Page


def page_of(side: str) -> str:
    """Its page of metrics."""
    if side == "worker":
        return Page(Metrics(), CollectorRegistry(), queue="emails")()[0]
    metrics = OperatorMetrics(version="1.2.3")
    observation = fleet(queue(1), idle=1)
    metrics.observe(Key("shop", "emails"), observation, once(observation), limits=(0, 20))
    return generate_latest(metrics.registry).decode()


@pytest.mark.parametrize("side", READMES)
def test_promtool_finds_nothing_wrong_with_the_names(side: str) -> None:
    assert promtool("check", "metrics", stdin=page_of(side)) == ""


def test_the_workers_table_says_what_its_page_has() -> None:
    page = page_of("worker")
    assert exposed(page) == documented("worker")
    kinds = dict(re.findall(r"^# TYPE (\S+) (\w+)$", page, flags=re.MULTILINE))
    texts = dict(re.findall(r"^# HELP (\S+) (.*)$", page, flags=re.MULTILINE))
    labels: dict[str, set[str]] = {name: set() for name in kinds}
    for name, inside in re.findall(r"^(\w+)\{(.*?)\} ", page, flags=re.MULTILINE):
        labels.setdefault(name, set()).update(re.findall(r"(\w+)=", inside))
    wanted = []
    for name, kind in kinds.items():
        shown = f" `{{{', '.join(sorted(labels[name]))}}}`" if labels[name] else ""
        wanted.append(f"| `{name}`{shown} | {kind} | {texts[name]} |")
    lines = READMES["worker"].read_text().splitlines()
    assert [line for line in lines if line.startswith("| `redisqueue_")] == wanted


def test_when_metrics_of_a_handler_began_is_no_series() -> None:
    registry = CollectorRegistry()
    Counter("orders", "Orders.", registry=registry).inc()
    Histogram("sizes", "Sizes.", registry=registry).observe(1)
    Gauge("files_created", "A gauge of that name.", registry=registry).set(3)
    page, _ = Page(Metrics(), registry)()
    found = [line for line in page.splitlines() if "_created" in line and not line.startswith("#")]
    assert found == ["files_created 3.0"]
    assert "orders_total 1.0" in page
    assert "sizes_count 1.0" in page
