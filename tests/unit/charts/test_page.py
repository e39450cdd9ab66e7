"""What the chart does for the page: nothing, a port, or a port and a Service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.support.helm import HelmError, one

if TYPE_CHECKING:
    from tests.support.helm import Helm

CHART, NAME = "redis-queue-operator", "redisqueue-operator"
HOSTS = 'page.hosts=["queues.example.com","redisqueue-operator-page.system.svc"]'


def container(items: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = one(items, "Deployment", NAME)["spec"]["template"]["spec"]["containers"]
    return found


def variables(items: list[dict[str, Any]]) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in container(items)["env"] if "PAGE" in each["name"]}


def services(items: list[dict[str, Any]]) -> set[str]:
    return {item["metadata"]["name"] for item in items if item["kind"] == "Service"}


def test_it_is_off_unless_it_is_asked_for(helm: Helm) -> None:
    items = helm.template(CHART, HOSTS)
    assert variables(items) == {}
    assert [port["name"] for port in container(items)["ports"]] == ["http"]
    assert services(items) == {NAME}


def test_without_hosts_there_is_a_port_to_forward_and_no_service(helm: Helm) -> None:
    items = helm.template(CHART, "page.enabled=true", "page.port=9000", "networkPolicy.enabled=true")
    assert variables(items) == {"REDISQUEUE_PAGE_PORT": "9000", "REDISQUEUE_PAGE_HOSTS": ""}
    assert {"name": "page", "containerPort": 9000} in container(items)["ports"]
    assert services(items) == {NAME}
    allowed = one(items, "NetworkPolicy")["spec"]["ingress"]
    assert [[port["port"] for port in rule["ports"]] for rule in allowed] == [["http"]]


def test_with_hosts_a_service_leads_to_it_and_the_network_policy_says_for_whom(helm: Helm) -> None:
    peers = 'networkPolicy.pageFrom=[{"podSelector":{"matchLabels":{"app":"proxy"}}}]'
    items = helm.template(CHART, "page.enabled=true", HOSTS, "networkPolicy.enabled=true", peers)
    service = one(items, "Service", f"{NAME}-page")
    labels = one(items, "Deployment", NAME)["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert service["spec"]["ports"] == [{"name": "page", "port": 8081, "targetPort": "page"}]
    hosts = "queues.example.com,redisqueue-operator-page.system.svc"
    assert variables(items) == {"REDISQUEUE_PAGE_PORT": "8081", "REDISQUEUE_PAGE_HOSTS": hosts}
    _, rule = one(items, "NetworkPolicy")["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": "page"}]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app": "proxy"}}}]


@pytest.mark.parametrize(
    "value", ["page.port=8080", "page.port=80", 'page.hosts=["https://x"]', "page.open=true"]
)
def test_what_cannot_work_is_refused(helm: Helm, value: str) -> None:
    with pytest.raises(HelmError, match="page"):
        helm.template(CHART, "page.enabled=true", value)
