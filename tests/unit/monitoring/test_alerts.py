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


def _fires(alert: str, case: dict[str, Any]) -> dict[str, Any]:
    """That it fires, with its words, but not before its time."""
    rule = ALERTS[alert]
    annotations = {
        "summary": case["summary"],
        "description": case["description"],
        "runbook_url": rule["annotations"]["runbook_url"],
    }
    expected = {"exp_labels": {**case["labels"], **rule["labels"]}, "exp_annotations": annotations}
    too_early = int(rule["for"].removesuffix("m")) - 1
    return {
        "interval": "1m",
        "input_series": _series(case["series"]),
        "alert_rule_test": [
            {"alertname": alert, "eval_time": f"{too_early}m", "exp_alerts": []},
            {"alertname": alert, "eval_time": case["at"], "exp_alerts": [expected]},
        ],
    }


def _is_quiet(alert: str, series: dict[str, str]) -> dict[str, Any]:
    """That it does not fire at any minute."""
    times = [f"{minute}m" for minute in range(minutes(series) + 1)]
    looks = [{"alertname": alert, "eval_time": time, "exp_alerts": []} for time in times]
    return {"interval": "1m", "input_series": _series(series), "alert_rule_test": looks}


def _tests(alert: str) -> Iterator[dict[str, Any]]:
    """What promtool shall look at."""
    for case in CASES[alert]["fires"].values():
        yield _fires(alert, case)
    for series in CASES[alert]["quiet"].values():
        yield _is_quiet(alert, series)


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
