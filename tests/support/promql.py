"""What the dashboards and the alerts of the chart ask Prometheus."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import yaml
from tests.support.prometheus import MONITORING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BOARDS = ("fleet", "queue")
VARIABLES = {"$__rate_interval": "5m", "$namespace": "shop", "$name": "emails"}
_LABELS = re.compile(r"\{.*?\}|\[.*?\]|\"[^\"]*\"", re.DOTALL)
_GROUPS = re.compile(r"\b(by|on|without|ignoring)\s*\([^)]*\)")
_WORDS = {
    "by",
    "on",
    "and",
    "or",
    "unless",
    "ignoring",
    "without",
    "group_left",
    "group_right",
    "offset",
    "bool",
}


def board(name: str) -> Any:
    """A dashboard."""
    return json.loads((MONITORING / f"{name}.json").read_text())


def panels(of: Any) -> Iterator[Any]:
    """Those of a dashboard, rows and what is in them included."""
    for panel in of["panels"]:
        yield panel
        yield from panel.get("panels") or ()


def asked(name: str, variables: Mapping[str, str] = VARIABLES) -> dict[str, str]:
    """The expressions of a dashboard as Grafana sends them, by panel; and what its variables ask for."""
    found: dict[str, str] = {}
    for panel in panels(board(name)):
        for target in panel.get("targets") or ():
            found[f"{panel['title']} ({panel['type']}) {target['refId']}"] = target["expr"]
    for variable in board(name)["templating"]["list"]:
        if match := re.match(r"label_values\((.*), \w+\)", str(variable.get("query"))):
            found[f"variable {variable['name']}"] = match[1]
    for text, value in variables.items():
        found = {where: expression.replace(text, value) for where, expression in found.items()}
    assert "$" not in "".join(found.values())
    return found


def alerts() -> dict[str, str]:
    """The expressions of the alerts."""
    groups = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def metrics_in(expression: str) -> set[str]:
    """The names of series: all that is no function, no label, no word of the language, no number."""
    bare = _GROUPS.sub("", _LABELS.sub("", expression))
    return set(re.findall(r"(?<![\w.])([A-Za-z_:]\w*)\b(?!\s*\()", bare)) - _WORDS
