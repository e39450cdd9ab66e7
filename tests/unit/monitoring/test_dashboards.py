"""What dashboards and alerts ask Prometheus is PromQL, of metrics that the READMEs know."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from helm.dashboards.__main__ import rendered
from tests.support.prometheus import MONITORING, READMES, documented, promtool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BOARDS = ("fleet", "queue")
# What every process tells, and Prometheus itself.
OTHERS = {"process_resident_memory_bytes", "process_cpu_seconds_total", "ALERTS"}
VARIABLES = {"$__rate_interval": "5m", "$namespace": "shop", "$name": "emails"}
WORDS = {
    "by",
    "on",
    "and",
    "or",
    "unless",
    "ignoring",
    "without",
    "group_left",
    "group_right",
    "bool",
    "offset",
}


def board(name: str) -> Any:
    return json.loads((MONITORING / f"{name}.json").read_text())


def panels(of: Any) -> Iterator[Any]:
    for panel in of["panels"]:
        yield panel
        yield from panel.get("panels") or ()


def asked(name: str) -> dict[str, str]:
    """The expressions of a dashboard as Grafana sends them, by panel; and what its variables ask for."""
    found: dict[str, str] = {}
    for panel in panels(board(name)):
        for target in panel.get("targets") or ():
            found[f"{panel['title']} ({panel['type']}) {target['refId']}"] = target["expr"]
    for variable in board(name)["templating"]["list"]:
        if match := re.match(r"label_values\((.*), \w+\)", str(variable.get("query"))):
            found[f"variable {variable['name']}"] = match[1]
    for text, value in VARIABLES.items():
        found = {where: expression.replace(text, value) for where, expression in found.items()}
    assert "$" not in "".join(found.values())
    return found


def alerts() -> dict[str, str]:
    groups = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def everything_asked() -> dict[str, str]:
    boards = {f"{name}: {where}": text for name in BOARDS for where, text in asked(name).items()}
    return boards | alerts()


def metrics_in(expression: str) -> set[str]:
    """The names of series: all that is no function, no label, no word of the language, no number."""
    bare = re.sub(r"\{.*?\}|\[.*?\]|\"[^\"]*\"", "", expression, flags=re.DOTALL)
    bare = re.sub(r"\b(by|on|without|ignoring)\s*\([^)]*\)", "", bare)
    names = re.findall(r"(?<![\w.])([A-Za-z_:]\w*)\b(?!\s*\()", bare)
    return set(names) - WORDS


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
