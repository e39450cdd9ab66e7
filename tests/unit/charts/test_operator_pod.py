"""What the values do to the operator's pod, and whether what is about that pod finds it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.helm import CHARTS, one

if TYPE_CHECKING:
    from tests.support.helm import Helm

CHART = "redis-queue-operator"
OPERATOR, VALKEY = "redisqueue-operator", "redisqueue-valkey"
Manifest = dict[str, Any]


def pod(items: list[Manifest], name: str = OPERATOR) -> Manifest:
    template: Manifest = one(items, "Deployment", name)["spec"]["template"]
    return template


def selects(selector: dict[str, str], template: Manifest) -> bool:
    return bool(selector) and selector.items() <= template["metadata"]["labels"].items()


def container_ports(template: Manifest) -> dict[str, int]:
    """Numbers by name."""
    (container,) = template["spec"]["containers"]
    return {port["name"]: port["containerPort"] for port in container["ports"]}


def test_what_kubernetes_is_to_know_of_the_pod_is_passed_on(helm: Helm) -> None:
    given: Manifest = {
        "imagePullSecrets": [{"name": "login"}],
        "priorityClassName": "system-cluster-critical",
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "infra", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}},
    }
    spec = pod(helm.template(CHART, *(f"{name}={json.dumps(value)}" for name, value in given.items())))[
        "spec"
    ]
    assert {name: spec[name] for name in given} == given
    assert not spec.get("hostNetwork")


def test_what_spreads_is_the_operators_pods_unless_others_are_named(helm: Helm) -> None:
    rule = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
    other = rule | {"labelSelector": {"matchLabels": {"a": "b"}}}
    template = pod(helm.template(CHART, f"topologySpreadConstraints={json.dumps([rule, other])}"))
    first, second = template["spec"]["topologySpreadConstraints"]
    assert selects(first.pop("labelSelector")["matchLabels"], template)
    assert (first, second) == (rule, other)


def test_more_variables_volumes_and_mounts(helm: Helm) -> None:
    variable = {"name": "SSL_CERT_FILE", "value": "/ca/ca.crt"}
    volume = {"name": "ca", "configMap": {"name": "ca"}}
    mount = {"name": "ca", "mountPath": "/ca", "readOnly": True}
    spec = pod(
        helm.template(
            CHART,
            f"extraEnv={json.dumps([variable])}",
            f"extraVolumes={json.dumps([volume])}",
            f"extraVolumeMounts={json.dumps([mount])}",
        )
    )["spec"]
    (container,) = spec["containers"]
    assert container["env"][-1] == variable
    assert (spec["volumes"][1:], container["volumeMounts"][1:]) == ([volume], [mount])
    names = [each["name"] for each in container["env"]]
    assert len(names) == len(set(names)) > 1


def test_common_labels_are_on_all_that_the_release_has_alone(helm: Helm) -> None:
    values = ("valkey.enabled=true", "podDisruptionBudget.enabled=true", "networkPolicy.enabled=true")
    own = {"team": "queues", "app.kubernetes.io/part-of": "shop"}
    items = helm.template(CHART, *values, f"commonLabels={json.dumps(own)}")
    templates = [pod(items), pod(items, VALKEY)]
    assert len(items) > 12
    for item in [*items, *templates]:
        shared = item.get("kind") == "CustomResourceDefinition"
        assert (own.items() <= item["metadata"].get("labels", {}).items()) is not shared, item
    for name in (OPERATOR, VALKEY):
        assert not own.items() & one(items, "Deployment", name)["spec"]["selector"]["matchLabels"].items()


def test_labels_and_annotations_of_the_pods_alone(helm: Helm) -> None:
    items = helm.template(
        CHART, 'podLabels={"a": "1"}', 'podAnnotations={"b": "2"}', 'deploymentAnnotations={"c": "3"}'
    )
    metadata = pod(items)["metadata"]
    assert (metadata["labels"]["a"], metadata["annotations"]) == ("1", {"b": "2"})
    deployment = one(items, "Deployment")["metadata"]
    assert deployment["annotations"] == {"c": "3"}
    assert "a" not in deployment["labels"]


def test_the_service_leads_to_the_operators_port(helm: Helm) -> None:
    items = helm.template(
        CHART,
        "valkey.enabled=true",
        "service.port=80",
        'service.annotations={"a": "b"}',
        'service.labels={"c": "d"}',
    )
    for name, port in ((OPERATOR, 80), (VALKEY, 6379)):
        service = one(items, "Service", name)
        found = [
            each
            for each in (pod(items), pod(items, VALKEY), one(items, "Pod"))
            if selects(service["spec"]["selector"], each)
        ]
        assert found == [pod(items, name)], "no other pod gets its requests"
        (told,) = service["spec"]["ports"]
        assert told["port"] == port
        assert told["targetPort"] in container_ports(pod(items, name))
    metadata = one(items, "Service", OPERATOR)["metadata"]
    assert metadata["annotations"] == {"a": "b"}
    assert metadata["labels"]["c"] == "d"


def test_the_budget_is_the_operators(helm: Helm) -> None:
    assert "PodDisruptionBudget" not in {item["kind"] for item in helm.template(CHART)}
    items = helm.template(CHART, "podDisruptionBudget.enabled=true", "valkey.enabled=true")
    spec = one(items, "PodDisruptionBudget")["spec"]
    assert spec["maxUnavailable"] == 1
    assert selects(spec["selector"]["matchLabels"], pod(items))
    assert not selects(spec["selector"]["matchLabels"], pod(items, VALKEY))


def test_the_network_policy_lets_through_what_the_operator_needs(helm: Helm) -> None:
    assert "NetworkPolicy" not in {item["kind"] for item in helm.template(CHART)}
    items = helm.template(CHART, "networkPolicy.enabled=true", "valkey.enabled=true")
    spec = one(items, "NetworkPolicy")["spec"]
    assert selects(spec["podSelector"]["matchLabels"], pod(items))
    assert not selects(spec["podSelector"]["matchLabels"], pod(items, VALKEY))
    assert not selects(spec["podSelector"]["matchLabels"], one(items, "Pod")), "the test pod may send"

    (accepted,) = spec["ingress"]
    assert "from" not in accepted
    (container,) = pod(items)["spec"]["containers"]
    told = {each["name"]: each.get("value") for each in container["env"]}
    assert [*container_ports(pod(items)).values()] == [int(told["REDISQUEUE_HTTP_PORT"])]
    probed = {container[f"{kind}Probe"]["httpGet"]["port"] for kind in ("startup", "readiness", "liveness")}
    assert {port["port"] for port in accepted["ports"]} == probed == {*container_ports(pod(items))}

    *sent, to_valkey = spec["egress"]
    assert [{(port["protocol"], port["port"]) for port in rule["ports"]} for rule in sent] == [
        {("UDP", 53), ("TCP", 53)},
        {("TCP", 443), ("TCP", 6443)},
        {("TCP", 6379), ("TCP", 26379)},
    ]
    assert not any("to" in rule for rule in sent)
    assert selects(to_valkey["to"][0]["podSelector"]["matchLabels"], pod(items, VALKEY))
    assert {port["port"] for port in to_valkey["ports"]} <= {*container_ports(pod(items, VALKEY))}


def test_the_network_policy_may_name_who_is_at_the_other_end(helm: Helm) -> None:
    block = [{"ipBlock": {"cidr": "10.0.0.1/32"}}]
    monitors = [{"namespaceSelector": {"matchLabels": {"team": "monitoring"}}}]
    more = [{"ports": [{"protocol": "TCP", "port": 4317}]}]
    policy = {
        "enabled": True,
        "metricsFrom": monitors,
        "redisPorts": [6380],
        "redisTo": block,
        "apiServerPorts": [6443],
        "apiServerTo": block,
        "dnsPorts": [5353],
        "extraEgress": more,
    }
    items = helm.template(CHART, f"networkPolicy={json.dumps(policy)}")
    spec = one(items, "NetworkPolicy")["spec"]
    (accepted,) = spec["ingress"]
    assert accepted["from"][:-1] == monitors
    assert selects(accepted["from"][-1]["podSelector"]["matchLabels"], one(items, "Pod")), "helm test may ask"
    names, api_server, servers, last = spec["egress"]
    assert {port["port"] for port in names["ports"]} == {5353}
    assert (api_server["to"], [port["port"] for port in api_server["ports"]]) == (block, [6443])
    assert (servers["to"], [port["port"] for port in servers["ports"]]) == (block, [6380])
    assert [last] == more


@pytest.mark.parametrize(
    "given",
    [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-more"}},
        'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-{{ "more" }}}\n',
    ],
    ids=["manifest", "text"],
)
def test_more_objects_are_templates(helm: Helm, given: Any) -> None:
    items = helm.template(CHART, f"extraObjects={json.dumps([given, given])}")
    assert [i["metadata"]["name"] for i in items if i["kind"] == "ConfigMap"] == ["redisqueue-more"] * 2


def test_what_is_applied_without_helm_may_leave_the_test_out(helm: Helm) -> None:
    words = ("template", "redisqueue", CHARTS / CHART, "--kube-version=1.34.0", "--skip-tests")
    text = helm.run(*words)
    assert "kind: Deployment" in text
    assert "kind: Pod\n" not in text


def test_helm_test_asks_the_operator_with_its_own_image(helm: Helm) -> None:
    items = helm.template(
        CHART,
        'image={"registry": "r.example.com", "tag": "1"}',
        'imagePullSecrets=[{"name": "login"}]',
        "service.port=80",
    )
    asking = one(items, "Pod")
    assert asking["metadata"]["annotations"]["helm.sh/hook"] == "test"
    (container,) = asking["spec"]["containers"]
    (told,) = pod(items)["spec"]["containers"]
    assert container["image"] == told["image"]
    assert asking["spec"]["imagePullSecrets"] == pod(items)["spec"]["imagePullSecrets"]
    assert container["args"][-1] == "http://redisqueue-operator.system.svc:80"
    compile(container["args"][0], "the test", "exec")
