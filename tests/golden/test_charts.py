"""Sets of values → what the operator's chart makes of them, compared with what was agreed on."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from tests.support.helm import CHARTS

if TYPE_CHECKING:
    from tests.support.helm import Helm

CHART = CHARTS / "redis-queue-operator"
FOLDER = Path(__file__).parent / "charts"
NAMES = sorted(path.name.removesuffix(".values.yaml") for path in FOLDER.glob("*.values.yaml"))
# The definitions are compared with their source elsewhere.
TARGET = ("--namespace=queues", "--kube-version=1.34.0", "--set=crds.install=false")


@pytest.mark.parametrize("name", NAMES)
def test_manifests(helm: Helm, name: str, pytestconfig: pytest.Config) -> None:
    path, values = FOLDER / f"{name}.yaml", FOLDER / f"{name}.values.yaml"
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    rendered = helm.run("template", "redisqueue", CHART, "--values", values, *TARGET)
    # A new version alone changes nothing here. Helm 4 leaves empty lines at the end of a manifest.
    text = re.sub(r"\n+(?=---\n|\Z)", "\n", rendered.replace(version, "0.0.0"))
    if pytestconfig.getoption("--update-golden", default=False):
        path.write_text(text)
    expected = path.read_text() if path.exists() else ""
    difference = "\n".join(difflib.unified_diff(expected.splitlines(), text.splitlines(), lineterm="", n=2))
    assert not difference, f"as intended? pytest tests/golden --update-golden\n{difference}"


@pytest.mark.parametrize("name", NAMES)
def test_lint(helm: Helm, name: str) -> None:
    told = helm.run("lint", "--strict", CHART, "--values", FOLDER / f"{name}.values.yaml")
    assert "0 chart(s) failed" in told


def test_nothing_is_expected_of_values_that_are_gone() -> None:
    of_values = {f"{name}.values.yaml" for name in NAMES}
    assert {path.name for path in FOLDER.iterdir()} - of_values == {f"{name}.yaml" for name in NAMES}


def test_maps_may_be_null_as_a_file_has_them_of_which_all_is_commented_out(helm: Helm) -> None:
    monitors = ("serviceMonitor", "podMonitor", "prometheusRule", "dashboards")
    maps = ["commonLabels", "podLabels", "podAnnotations", "deploymentAnnotations", "nodeSelector"]
    maps += ["service.labels", "service.annotations", "serviceAccount.annotations", "resources"]
    maps += [f"monitoring.{name}.labels" for name in monitors]
    maps += ["monitoring.prometheusRule.alertLabels", "monitoring.dashboards.annotations"]
    enabled = [f"monitoring.{name}.enabled=true" for name in monitors]
    made = helm.template("redis-queue-operator", *enabled, *(f"{path}=null" for path in maps))
    assert {"ServiceMonitor", "PodMonitor", "PrometheusRule", "Service"} <= {item["kind"] for item in made}
    assert all(item["metadata"]["labels"] for item in made if item["kind"] == "Deployment")
