"""Each alert on promtool's own Prometheus: it fires when it should, with its words, and is quiet else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from tests.support.prometheus import MONITORING, ROOT, promtool

if TYPE_CHECKING:
    from collections.abc import Iterator

RULES = MONITORING / "alerts.yaml"
GROUPS = yaml.safe_load(RULES.read_text())["groups"]
ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}
CASES: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "alert_cases.yaml").read_text())
RUNBOOK = ROOT / "operator" / "docs" / "runbook.md"


def _series(given: dict[str, str]) -> list[dict[str, str]]:
    return [{"series": name, "values": values} for name, values in given.items()]


def _tests(alert: str) -> Iterator[dict[str, Any]]:
    """What promtool shall look at: that it fires, but not at once, and each case in which it is quiet."""
    fires, annotations = CASES[alert]["fires"], ALERTS[alert]["annotations"]
    expected = {
        "exp_labels": {**fires["labels"], **ALERTS[alert]["labels"]},
        "exp_annotations": {
            "summary": fires["summary"],
            "description": fires["description"],
            "runbook_url": annotations["runbook_url"],
        },
    }
    yield {
        "interval": "1m",
        "input_series": _series(fires["series"]),
        "alert_rule_test": [
            {"alertname": alert, "eval_time": "0m", "exp_alerts": []},
            {"alertname": alert, "eval_time": fires["at"], "exp_alerts": [expected]},
        ],
    }
    for series in CASES[alert]["quiet"].values():
        yield {
            "interval": "1m",
            "input_series": _series(series),
            "alert_rule_test": [
                {"alertname": alert, "eval_time": f"{minute}m", "exp_alerts": []}
                for minute in range(minutes(series) + 1)
            ],
        }


def minutes(series: dict[str, str]) -> int:
    """How long the longest of them lasts."""
    return max(
        sum(int(part.rpartition("x")[2] or 0) if "x" in part else 1 for part in values.split())
        for values in series.values()
    )


def test_alerts_fire_when_they_should_and_not_else(tmp_path: Path) -> None:
    assert [alert for alert in ALERTS if not CASES[alert]["quiet"]] == [], "no case in which it is quiet"
    file = tmp_path / "tests.yaml"
    tests = [test for alert in ALERTS for test in _tests(alert)]
    # JSON is YAML.
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    assert "SUCCESS" in promtool("test", "rules", file)


def test_each_alert_has_a_case_and_a_section_of_the_runbook() -> None:
    assert list(CASES) == list(ALERTS)
    headings = re.findall(r"^## (\w+)$", RUNBOOK.read_text(), flags=re.MULTILINE)
    assert headings == list(ALERTS), "in the order of the rules"
    for alert, rule in ALERTS.items():
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
        assert rule["annotations"]["runbook_url"].partition("#")[2] == alert.lower()
        assert rule["labels"]["severity"] in ("critical", "warning")


def test_the_rules_are_as_promtool_wants_them() -> None:
    assert f"SUCCESS: {len(ALERTS)} rules found" in promtool("check", "rules", RULES)
