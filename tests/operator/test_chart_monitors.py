"""The chart's monitors and alerts, judged by a real API server with prometheus-operator's own definitions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.support import monitors
from tests.support.helm import CHARTS, one
from tests.support.operator_process import Cluster
from tests.support.readmes import blocks

if TYPE_CHECKING:
    from tests.support.api_server import ApiServer
    from tests.support.helm import Helm

CHART = CHARTS / "redis-queue-operator"
ALERTS = re.findall(r"- alert: (\w+)", (CHART / "files" / "monitoring" / "alerts.yaml").read_text())
KINDS = {"PodMonitor", "PrometheusRule", "ServiceMonitor"}
TARGET = ("--namespace=default", "--kube-version=1.34.0")
EVERY_OPTION = ("--values", str(monitors.VALUES))


def of_the_page() -> tuple[str, ...]:
    """The options of the installation that the page of monitoring shows."""
    shown = [words for block in blocks(Path("operator/docs/monitoring.md")) for words in block.commands]
    (words,) = [words for words in shown if words[:2] == ["helm", "install"]]
    return tuple(words[4:])


OPTIONS = {
    "of the page": of_the_page(),
    "no alert": (*EVERY_OPTION, f"--set=monitoring.prometheusRule.disabled={{{','.join(ALERTS)}}}"),
    **{
        path.name.partition(".")[0]: ("--values", str(path), *EVERY_OPTION)
        for path in sorted(monitors.VALUES.parent.glob("charts/*.values.yaml"))
    },
}


def made(helm: Helm, options: tuple[str, ...]) -> list[dict[str, Any]]:
    """What the chart makes of these kinds."""
    text = helm.run("template", "redisqueue", CHART, *options, *TARGET)
    return [item for item in yaml.load_all(text, yaml.CSafeLoader) if item and item["kind"] in KINDS]


@pytest.fixture(scope="module")
def cluster(api_server: ApiServer) -> Cluster:
    cluster = Cluster(api_server)
    cluster.define(*monitors.definitions())
    return cluster


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_api_server_takes_them(cluster: Cluster, helm: Helm, options: tuple[str, ...]) -> None:
    items = made(helm, options)
    assert {item["kind"] for item in items} == KINDS
    cluster.apply(*items, dry_run=True)


@pytest.mark.parametrize(
    ("kind", "path", "field", "value"),
    [
        ("ServiceMonitor", "endpoints", "honourLabels", True),
        ("PodMonitor", "podMetricsEndpoints", "interval", "half a minute"),
        ("PrometheusRule", "groups", "rules", [{"alert": "RedisQueueStalled", "for": "5m"}]),
    ],
    ids=["an unknown field", "not its pattern", "a field missing"],
)
def test_it_would_refuse_what_is_wrong(
    cluster: Cluster, helm: Helm, kind: str, path: str, field: str, value: Any
) -> None:
    item = one(made(helm, EVERY_OPTION), kind)
    item["spec"][path][0][field] = value
    with pytest.raises(AssertionError, match=field):
        cluster.apply(item, dry_run=True)


def test_the_definitions_are_of_the_version_in_go_mod() -> None:
    (version,) = re.findall(r"pkg/apis/monitoring v(\S+)", (monitors.FOLDER / "go.mod").read_text())
    noted = {
        each["metadata"]["annotations"]["operator.prometheus.io/version"] for each in monitors.definitions()
    }
    assert noted == {version}, f"{monitors.FOLDER.name}/generate writes them anew"
