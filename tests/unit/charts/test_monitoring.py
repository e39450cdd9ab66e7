"""What the chart gives Prometheus and Grafana, all of it on demand."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from tests.support.helm import Helm, HelmError
from tests.support.prometheus import MONITORING

CHART = "redis-queue-operator"
KINDS = {
    "serviceMonitor": "ServiceMonitor",
    "podMonitor": "PodMonitor",
    "prometheusRule": "PrometheusRule",
    "dashboards": "ConfigMap",
}
ALL = tuple(f"monitoring.{part}.enabled=true" for part in KINDS)


def of_kind(items: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [item for item in items if item["kind"] == kind]


@pytest.mark.parametrize("part", KINDS)
def test_each_part_is_there_on_demand_alone(helm: Helm, part: str) -> None:
    kinds = [item["kind"] for item in helm.template(CHART)]
    assert not set(KINDS.values()) & set(kinds)
    more = [item["kind"] for item in helm.template(CHART, f"monitoring.{part}.enabled=true")]
    count = 2 if part == "dashboards" else 1
    assert sorted(more) == sorted(kinds + [KINDS[part]] * count)


def test_labels_by_which_they_are_found(helm: Helm) -> None:
    found = [f'monitoring.{part}.labels={{"release": "prometheus"}}' for part in KINDS]
    items = helm.template(CHART, *ALL, *found)
    for kind in KINDS.values():
        for item in of_kind(items, kind):
            assert item["metadata"]["labels"]["release"] == "prometheus"
            assert item["metadata"]["namespace"] == "system"


def test_the_operator_is_scraped_with_the_namespaces_that_its_series_name(helm: Helm) -> None:
    items = helm.template(CHART, *ALL, 'monitoring.serviceMonitor.interval="15s"')
    (monitor,) = of_kind(items, "ServiceMonitor")
    (endpoint,) = monitor["spec"]["endpoints"]
    assert (endpoint["honorLabels"], endpoint["interval"]) == (True, "15s")
    (service,) = of_kind(items, "Service")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]


@pytest.mark.parametrize(
    ("watched", "selected"),
    [("[]", {"any": True}), ('["shop", "{{ .Release.Namespace }}"]', {"matchNames": ["shop", "system"]})],
)
def test_workers_are_scraped_where_they_are_served(
    helm: Helm, watched: str, selected: dict[str, Any]
) -> None:
    (monitor,) = of_kind(helm.template(CHART, *ALL, f"watchNamespaces={watched}"), "PodMonitor")
    assert monitor["spec"]["namespaceSelector"] == selected


def test_the_rule_is_the_file(helm: Helm) -> None:
    (rule,) = of_kind(helm.template(CHART, *ALL), "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((MONITORING / "alerts.yaml").read_text())


def test_alerts_can_be_left_out_and_labelled_and_lead_to_ones_own_runbook(helm: Helm) -> None:
    settings = (
        'monitoring.prometheusRule.disabled=["RedisQueueRedisNotDurable"]',
        'monitoring.prometheusRule.alertLabels={"team": "shop"}',
        'monitoring.prometheusRule.runbookUrl="https://wiki.example.com/redisqueue"',
    )
    (rule,) = of_kind(helm.template(CHART, *ALL, *settings), "PrometheusRule")
    alerts = {alert["alert"]: alert for group in rule["spec"]["groups"] for alert in group["rules"]}
    assert "RedisQueueRedisNotDurable" not in alerts
    stalled = alerts["RedisQueueStalled"]
    assert stalled["labels"] == {"severity": "warning", "team": "shop"}
    assert stalled["annotations"]["runbook_url"] == "https://wiki.example.com/redisqueue#redisqueuestalled"


def test_dashboards_without_a_namespace_are_those_of_the_release(helm: Helm) -> None:
    """Null is how a value of a chart is taken back."""
    items = helm.template(CHART, "monitoring.dashboards.enabled=true", "monitoring.dashboards.namespace=null")
    assert {item["metadata"]["namespace"] for item in of_kind(items, "ConfigMap")} == {"system"}


def test_dashboards_are_where_the_sidecar_looks(helm: Helm) -> None:
    settings = (
        'monitoring.dashboards.namespace="grafana"',
        'monitoring.dashboards.annotations={"grafana_folder": "RedisQueue"}',
    )
    for item in of_kind(helm.template(CHART, *ALL, *settings), "ConfigMap"):
        assert item["metadata"]["namespace"] == "grafana"
        assert item["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert item["metadata"]["annotations"] == {"grafana_folder": "RedisQueue"}
        ((name, text),) = item["data"].items()
        assert text == (MONITORING / name.removeprefix("redisqueue-")).read_text().strip()


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("monitoring.serviceMonitor.enable=true", "enable"),
        ('monitoring.podMonitor.interval="half a minute"', "interval"),
        ('monitoring.prometheusRule.disabled=["RedisQueueOperatorDown"]', "there is no alert"),
        ('monitoring.prometheusRule.runbookUrl="https://example.com/a#b"', "runbookUrl"),
        ('monitoring.dashboards.labels="grafana"', "labels"),
    ],
)
def test_wrong_values_are_refused(helm: Helm, value: str, field: str) -> None:
    with pytest.raises(HelmError, match=field):
        helm.template(CHART, *ALL, value)
