"""What the charts install, without a cluster."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
import yaml
from tests.support.helm import CHARTS, Helm, HelmError, one

from redisqueue_operator.api import definition
from redisqueue_operator.api.kubectl_yaml import load_all

OPERATOR, CRDS = "redis-queue-operator", "redis-queue-crds"
CRD_COPIES = [
    (kind, CHARTS / chart / "files" / file)
    for kind, file in definition.FILES.items()
    for chart in (OPERATOR, CRDS)
]


def crd_of(items: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The definition of that kind."""
    return one(items, "CustomResourceDefinition", definition.definition(kind)["metadata"]["name"])


def environment(items: list[dict[str, Any]]) -> dict[str, Any]:
    (container,) = one(items, "Deployment", "redisqueue-operator")["spec"]["template"]["spec"]["containers"]
    return {item["name"]: item.get("value") for item in container["env"]}


def permissions(role: dict[str, Any]) -> dict[str, set[str]]:
    """Verbs by resource."""
    return {
        f"{group}/{resource}".removeprefix("/"): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


@pytest.mark.parametrize(
    ("kind", "path"), CRD_COPIES, ids=lambda part: part if isinstance(part, str) else part.parts[-3]
)
def test_crd_is_the_one_source(kind: str, path: Any) -> None:
    assert path.read_text() == definition.text(kind), f"cp crds/{path.name} {path.relative_to(CHARTS.parent)}"


@pytest.mark.parametrize("chart", [OPERATOR, CRDS])
def test_version_is_the_projects(chart: str) -> None:
    project = tomllib.loads((CHARTS.parent / "pyproject.toml").read_text())["project"]
    meta = yaml.safe_load((CHARTS / chart / "Chart.yaml").read_text())
    assert (meta["version"], meta["appVersion"]) == (project["version"], project["version"])


@pytest.mark.parametrize("chart", [OPERATOR, CRDS])
def test_lint(helm: Helm, chart: str) -> None:
    assert "0 chart(s) failed" in helm.run("lint", "--strict", CHARTS / chart)


@pytest.mark.parametrize("chart", [OPERATOR, CRDS])
def test_crd_is_a_template_and_stays(helm: Helm, chart: str) -> None:
    items = helm.template(chart)
    for kind in definition.FILES:
        crd = crd_of(items, kind)
        assert crd["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        assert crd == definition.definition(kind)


def test_crd_may_go_or_be_left_out(helm: Helm) -> None:
    items = helm.template(CRDS, "keep=false")
    assert [crd_of(items, kind) for kind in definition.FILES] == [
        *map(definition.definition, definition.FILES)
    ]
    kinds = {item["kind"] for item in helm.template(OPERATOR, "crds.install=false")}
    assert "CustomResourceDefinition" not in kinds


def test_rights_of_the_operator(helm: Helm) -> None:
    role = one(helm.template(OPERATOR), "ClusterRole", "redisqueue-operator:system")
    assert permissions(role) == {
        "redisqueue.dev/redisqueues": {"get", "list", "watch", "patch"},
        "redisqueue.dev/redisqueues/status": {"patch"},
        "redisqueue.dev/redisqueueredrives": {"get", "list", "watch", "delete"},
        "redisqueue.dev/redisqueueredrives/status": {"patch"},
        "redisqueue.dev/redisqueuebudgets": {"get", "list", "watch"},
        "redisqueue.dev/redisqueuebudgets/status": {"patch"},
        "redisqueue.dev/redisqueueschedules": {"get", "list", "watch"},
        "redisqueue.dev/redisqueueschedules/status": {"patch"},
        "apps/deployments": {"get", "list", "watch", "create", "patch", "delete"},
        "apps/deployments/scale": {"patch"},
        "apps/replicasets": {"list", "watch"},
        "pods": {"list", "watch", "patch"},
        "configmaps": {"get", "list", "create", "patch", "delete"},
        "secrets": {"get"},
        "policy/poddisruptionbudgets": {"list", "create", "patch", "delete"},
        "events.k8s.io/events": {"create"},
    }


def test_rights_end_at_the_watched_namespaces(helm: Helm) -> None:
    names = 'watchNamespaces=["{{ .Release.Namespace }}", "shop"]'
    items = helm.template(OPERATOR, names)
    roles = [i for i in items if i["kind"] == "Role" and i["metadata"]["name"] == "redisqueue-operator"]
    assert [role["metadata"]["namespace"] for role in roles] == ["system", "shop"]
    assert all("secrets" in permissions(role) for role in roles)
    bindings = [
        i for i in items if i["kind"] == "RoleBinding" and i["roleRef"]["name"] == "redisqueue-operator"
    ]
    assert [item["metadata"]["namespace"] for item in bindings] == ["system", "shop"]
    assert {item["subjects"][0]["namespace"] for item in bindings} == {"system"}
    assert not [item for item in items if item["kind"].startswith("ClusterRole")]
    assert environment(items)["REDISQUEUE_WATCH_NAMESPACES"] == "system,shop"


@pytest.mark.parametrize(
    ("values", "made"),
    [
        ([], True),
        (["rbac.aggregate=false"], False),
        (['watchNamespaces=["shop"]'], False),
        (['watchNamespaces=["shop"]', "rbac.aggregate=true"], True),
    ],
)
def test_the_built_in_roles_see_queues_where_that_is_wanted(
    helm: Helm, values: list[str], made: bool
) -> None:
    roles = [item for item in helm.template(OPERATOR, *values) if item["kind"] == "ClusterRole"]
    aggregated = {
        label.removeprefix("rbac.authorization.k8s.io/aggregate-to-"): permissions(role)
        for role in roles
        for label in role["metadata"]["labels"]
        if label.startswith("rbac.authorization.k8s.io/")
    }
    assert set(aggregated) == ({"view", "edit", "admin"} if made else set())
    if made:
        kinds = tuple(
            f"redisqueue.dev/redisqueue{each}" for each in ("s", "redrives", "budgets", "schedules")
        )
        assert all(aggregated["view"][kind] == {"get", "list", "watch"} for kind in kinds)
        assert all("delete" in aggregated["edit"][kind] for kind in kinds)


def test_each_right_is_explained(helm: Helm) -> None:
    """In what a reviewer reads: the rendered manifests."""
    for values in ((), ("--set", "watchNamespaces={shop}")):
        text = helm.run("template", "redisqueue", CHARTS / OPERATOR, "--kube-version=1.34.0", *values)
        lines = text.splitlines()
        rules = [number for number, line in enumerate(lines) if line.startswith("  - apiGroups:")]
        assert len(rules) > 10
        assert [lines[at] for at in rules if not lines[at - 1].startswith("  # ")] == []


def test_rights_and_account_may_be_made_by_somebody_else(helm: Helm) -> None:
    given = ("rbac.create=false", "serviceAccount.create=false", 'serviceAccount.name="given"')
    items = helm.template(OPERATOR, *given, "rbac.aggregate=false")
    kinds = {item["kind"] for item in items}
    assert not kinds & {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "ServiceAccount"}
    assert one(items, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"] == "given"
    bound = helm.template(OPERATOR, *given[1:])
    subjects = [item["subjects"] for item in bound if item["kind"].endswith("Binding")]
    assert subjects == [[{"kind": "ServiceAccount", "name": "given", "namespace": "system"}]] * 2
    with pytest.raises(HelmError, match=r"serviceAccount\.name is empty"):
        helm.template(OPERATOR, "serviceAccount.create=false")


def test_releases_of_one_name_in_two_namespaces_share_nothing(helm: Helm) -> None:
    first, second = (
        {
            (item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"])
            for item in helm.template(OPERATOR, "crds.install=false", namespace=namespace)
        }
        for namespace in ("one", "two")
    )
    assert len(first) == len(second) > 5
    assert not first & second


def test_a_share_of_the_fleet_has_a_lease_of_its_own(helm: Helm) -> None:
    items = helm.template(OPERATOR, 'watchSelector="shard notin (a,b)"')
    told = environment(items)
    assert told["REDISQUEUE_WATCH_SELECTOR"] == "shard notin (a,b)"
    lease = told["REDISQUEUE_LEASE_NAME"]
    rule = one(items, "Role", "redisqueue-operator-lease")["rules"][0]
    assert (rule["resourceNames"], set(rule["verbs"])) == ([lease], {"get", "update"})
    assert "Lease" not in {item["kind"] for item in items}, "it is the operator's to make and to change"


def test_images(helm: Helm) -> None:
    items = helm.template(
        OPERATOR,
        'image.registry="registry.example.com/mirror/"',
        'image.tag="1"',
        'workerImage.registry="registry.example.com"',
    )
    (container,) = one(items, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example.com/mirror/redisqueue-operator:1"
    version = yaml.safe_load((CHARTS / OPERATOR / "Chart.yaml").read_text())["appVersion"]
    assert (
        environment(items)["REDISQUEUE_WORKER_IMAGE"] == f"registry.example.com/redisqueue-worker:{version}"
    )


def test_a_digest_wins_over_the_tag(helm: Helm) -> None:
    digests = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    items = helm.template(
        OPERATOR,
        f'image={{"tag": "1", "digest": "{digests[0]}"}}',
        f'workerImage={{"registry": "r.example.com", "tag": "1", "digest": "{digests[1]}"}}',
    )
    for item in (one(items, "Deployment")["spec"]["template"], one(items, "Pod")):
        assert item["spec"]["containers"][0]["image"] == f"redisqueue-operator@{digests[0]}"
    assert environment(items)["REDISQUEUE_WORKER_IMAGE"] == f"r.example.com/redisqueue-worker@{digests[1]}"


def test_the_operator_is_told_by_what_secrets_its_default_image_is_pulled(helm: Helm) -> None:
    name = "REDISQUEUE_WORKER_IMAGE_PULL_SECRETS"
    assert name not in environment(helm.template(OPERATOR))
    items = helm.template(OPERATOR, 'workerImage.pullSecrets=["one", "two"]')
    assert environment(items)[name] == "one,two"


def test_pods_meet_the_restricted_standard(helm: Helm) -> None:
    items = helm.template(OPERATOR, "valkey.enabled=true")
    specs = [i["spec"]["template"]["spec"] for i in items if i["kind"] == "Deployment"]
    specs.append(one(items, "Pod")["spec"])
    assert len(specs) == 3
    for spec in specs:
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }


@pytest.mark.parametrize("name", ["no", "null", "1234", "1e3", "0x1f", "y"])
def test_names_that_yaml_reads_as_something_else_stay_names(helm: Helm, name: str) -> None:
    parts = ("podMonitor", "serviceMonitor", "prometheusRule", "dashboards")
    on = [f"monitoring.{part}.enabled" for part in parts]
    on += ["podDisruptionBudget.enabled", "networkPolicy.enabled", "valkey.enabled", "page.enabled"]

    def made(name: str) -> list[str]:
        named = {"watchNamespaces": [name], "priorityClassName": name, "serviceAccount.name": name}
        values: dict[str, Any] = {**dict.fromkeys(on, True), **named}
        values |= {"page.hosts": ["a.example.com"], "crds.install": False}
        settings = [f"--set-json={key}={json.dumps(value)}" for key, value in values.items()]
        target = ("--namespace", name, "--kube-version=1.34.0")
        text = helm.run("template", name, CHARTS / OPERATOR, *target, *settings)
        return [json.dumps(item) for item in load_all(text) if item]

    usual = [item.replace("plain-name", name) for item in made("plain-name")]
    assert sorted(made(name)) == sorted(usual)


def test_a_release_that_no_service_can_be_called_after_is_refused(helm: Helm) -> None:
    with pytest.raises(HelmError, match=r"a release called team\.a would make the Service team\.a-operator"):
        helm.run("template", "team.a", CHARTS / OPERATOR, "--kube-version=1.34.0")


@pytest.mark.parametrize(
    "name", ["{{ .Values.global.team }}", "{{ .Release.Nmae }}", " ", "Shop", "a,b", "-a", "*"]
)
def test_a_name_that_is_none_never_comes_to_mean_all_namespaces(helm: Helm, name: str) -> None:
    with pytest.raises(HelmError, match="watchNamespaces"):
        helm.template(OPERATOR, f"watchNamespaces={json.dumps(['shop', name])}", 'global={"region": "x"}')
    with pytest.raises(HelmError, match="watchNamespaces"):
        helm.template(OPERATOR, f"watchNamespaces={json.dumps([name])}", 'global={"region": "x"}')


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('podSecurityContext={"runAsUser": null, "runAsGroup": null}', {"runAsNonRoot", "seccompProfile"}),
        (
            'podSecurityContext={"runAsUser": 1000620000}',
            {"runAsNonRoot", "runAsUser", "runAsGroup", "seccompProfile"},
        ),
        ("podSecurityContext=null", None),
    ],
)
def test_the_user_of_the_pods_may_be_the_clusters_to_choose(
    helm: Helm, value: str, expected: set[str] | None
) -> None:
    for item in helm.template(OPERATOR, value, "valkey.enabled=true"):
        if item["kind"] == "Deployment":
            context = item["spec"]["template"]["spec"].get("securityContext")
            assert (set(context) if context else None) == expected
            assert not context or context.get("runAsUser") in (None, 1000620000)


def test_valkey_is_there_on_demand(helm: Helm) -> None:
    assert "redisqueue-valkey" not in {item["metadata"]["name"] for item in helm.template(OPERATOR)}
    items = helm.template(OPERATOR, "valkey.enabled=true", 'valkey.image="mirror/valkey:1"')
    service = one(items, "Service", "redisqueue-valkey")
    valkey = one(items, "Deployment", "redisqueue-valkey")["spec"]["template"]
    assert service["spec"]["selector"].items() <= valkey["metadata"]["labels"].items()
    assert valkey["spec"]["containers"][0]["image"] == "mirror/valkey:1"


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("replicas=3", "replicas"),
        ("replica=1", "replica"),
        ('logLevel="loud"', "logLevel"),
        ('image.pullPolicy="Sometimes"', "pullPolicy"),
        ('watchNamespaces="shop"', "watchNamespaces"),
        ('watchSelector="shard="a""', "watchSelector"),
        ("valkey.enable=true", "enable"),
        ('allowedRedisHosts=["redis://host"]', "allowedRedisHosts"),
        ('image.digest="latest"', "digest"),
        ('workerImage.pullPolicy="Always"', "pullPolicy"),
        ('workerImage.pullSecrets=[{"name": "login"}]', "pullSecrets"),
        ('commonLabels={"team": "a b"}', "team"),
        ('podAnnotations={"a": 1}', "podAnnotations"),
        ("podDisruptionBudget.maxUnavailable=0", "maxUnavailable"),
        ('podDisruptionBudget.maxUnavailable="0%"', "maxUnavailable"),
        ('networkPolicy.redisPorts=["redis"]', "redisPorts"),
        ("networkPolicy.dnsPorts=[]", "dnsPorts"),
        ('networkPolicy.metricsFrom=[{"namespace": "x"}]', "metricsFrom"),
        ('topologySpreadConstraints=[{"maxSkew": 1}]', "topologyKey"),
        ('affinity={"nodeAfinity": {}}', "nodeAfinity"),
        ('extraEnv=[{"name": "A", "value": 1}]', "extraEnv"),
        ('extraVolumeMounts=[{"name": "a", "mountPath": "a"}]', "mountPath"),
        ('rbac.aggregate="yes"', "aggregate"),
        ("service.port=0", "port"),
        # What the schema cannot see, the templates refuse.
        ('extraEnv=[{"name": "REDISQUEUE_LOG_LEVEL", "value": "DEBUG"}]', "REDISQUEUE_LOG_LEVEL"),
        ('extraEnv=[{"name": "REDISQUEUE_HTTP_PORT", "value": "80"}]', "REDISQUEUE_HTTP_PORT"),
        ('extraEnv=[{"name": "A", "value": ""}, {"name": "A", "value": ""}]', "extraEnv: A is there twice"),
        ('extraVolumes=[{"name": "tmp", "emptyDir": {}}]', "extraVolumes: tmp"),
        ('podLabels={"app.kubernetes.io/name": "mine"}', "podLabels: app.kubernetes.io/name"),
        ('commonLabels={"app.kubernetes.io/instance": "mine"}', "commonLabels: app.kubernetes.io/instance"),
    ],
)
def test_wrong_values_are_refused(helm: Helm, value: str, field: str) -> None:
    with pytest.raises(HelmError, match=field):
        helm.template(OPERATOR, value)


def test_chart_may_be_a_dependency(helm: Helm) -> None:
    assert helm.template(OPERATOR, 'global={"region": "x"}')
