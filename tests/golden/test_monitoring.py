"""What the chart's monitors and ConfigMaps are, all switched on, compared with what was agreed on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from tests.support.helm import MISSING, Helm, binary
from tests.support.required import required

if TYPE_CHECKING:
    import pytest

EXPECTED = Path(__file__).parent / "monitoring.yaml"
PARTS = ("serviceMonitor", "podMonitor", "prometheusRule", "dashboards")


def test_monitoring(pytestconfig: pytest.Config) -> None:
    helm = Helm(required(binary("helm"), MISSING.format("helm")))
    items = helm.template("redis-queue-operator", *(f"monitoring.{part}.enabled=true" for part in PARTS))
    found = [item for item in items if item["kind"].endswith(("Monitor", "Rule", "ConfigMap"))]
    for item in found:  # what is in them is tested as it is
        item["data"] = dict.fromkeys(item["data"], "") if "data" in item else None
        for group in item["spec"].get("groups", ()) if "spec" in item else ():
            group["rules"] = [rule["alert"] for rule in group["rules"]]
        for label in ("app.kubernetes.io/version", "helm.sh/chart"):
            del item["metadata"]["labels"][label]
    text = yaml.safe_dump_all(
        [{key: value for key, value in item.items() if value} for item in found], sort_keys=False, width=110
    )
    if pytestconfig.getoption("--update-golden", default=False):
        EXPECTED.write_text(text)
    assert EXPECTED.read_text() == text, "as intended? pytest tests/golden --update-golden"
