"""What the chart's monitors and ConfigMaps are, with every option, compared with what was agreed on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from tests.support import monitors
from tests.support.helm import CHARTS, MISSING, Helm, binary
from tests.support.required import required

if TYPE_CHECKING:
    import pytest

EXPECTED = Path(__file__).parent / "monitoring.yaml"


def test_monitoring(pytestconfig: pytest.Config) -> None:
    helm = Helm(required(binary("helm"), MISSING.format("helm")))
    chart = CHARTS / "redis-queue-operator"
    target = ("--namespace=system", "--kube-version=1.34.0")
    made = helm.run("template", "redisqueue", chart, "--values", monitors.VALUES, *target)
    items = [item for item in yaml.load_all(made, yaml.CSafeLoader) if item]
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
