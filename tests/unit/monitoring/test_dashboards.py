"""What dashboards and alerts ask Prometheus is PromQL, of metrics that the READMEs know."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from helm.dashboards.__main__ import rendered
from tests.support.prometheus import MONITORING, READMES, documented, promtool
from tests.support.promql import BOARDS, alerts, asked, board, metrics_in, panels

if TYPE_CHECKING:
    from pathlib import Path

# What every process tells, and Prometheus itself.
OTHERS = {"process_resident_memory_bytes", "process_cpu_seconds_total", "ALERTS"}


def everything_asked() -> dict[str, str]:
    boards = {f"{name}: {where}": text for name in BOARDS for where, text in asked(name).items()}
    return boards | alerts()


def test_the_names_of_series_are_found_in_an_expression() -> None:
    asked_for = (
        'sum by (le) (rate(a_bucket{b="c"}[5m])) / on (d) group_left e offset 1h > 0.5 unless vector(1)'
    )
    assert metrics_in(asked_for) == {"a_bucket", "e"}


def test_each_metric_that_is_asked_for_is_documented() -> None:
    known = {name for side in READMES for name in documented(side)}
    known |= {f"{name}_{end}" for name in known for end in ("bucket", "sum", "count")}
    found = {where: metrics_in(text) for where, text in everything_asked().items()}
    assert all(found.values())
    assert {where: odd for where, names in found.items() if (odd := names - known - OTHERS)} == {}


def test_prometheus_understands_each_expression(tmp_path: Path) -> None:
    expressions = everything_asked()
    rules = [{"record": f"it:{number}", "expr": text} for number, text in enumerate(expressions.values())]
    file = tmp_path / "rules.yaml"
    file.write_text(json.dumps({"groups": [{"name": "asked", "rules": rules}]}))
    assert f"{len(expressions)} rules found" in promtool("check", "rules", file)


def test_the_dashboards_are_as_the_program_writes_them() -> None:
    stale = [name for name, text in rendered().items() if (MONITORING / name).read_text() != text]
    assert not stale, "make dashboards"


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_is_what_grafana_knows(name: str) -> None:
    """Grafana's library reads it by its schema, and leaves nothing out."""
    whole = board(name)
    read = json.loads(JSONEncoder().encode(Dashboard.from_json(whole)))
    assert read == whole


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_can_be_read(name: str) -> None:
    whole = board(name)
    assert whole["uid"] == f"redisqueue-{name}"
    shown = [panel for panel in panels(whole) if panel["type"] != "row"]
    assert all(panel["title"] and panel.get("description") for panel in shown)
    titles = [(panel["type"], panel["title"]) for panel in shown]
    assert len(titles) == len(set(titles))
    places = [panel["gridPos"] for panel in panels(whole)]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells)), "two panels overlap"
    assert {str(panel["datasource"]["uid"]) for panel in shown} == {"${datasource}"}
