"""What the charts make, judged by a real API server and by kubeconform with that server's own schemas."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.support.environments import Unavailable
from tests.support.helm import CHARTS
from tests.support.kubernetes_schemas import Kubeconform, kubeconform
from tests.support.operator_process import Cluster, until
from tests.support.required import missing

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.api_server import ApiServer

ROOT = CHARTS.parent
GOLDEN = ROOT / "tests" / "golden"
CHART_FILES = sorted(path for path in (GOLDEN / "charts").glob("*.yaml") if ".values" not in path.name)
FILES = [
    *CHART_FILES,
    *sorted((GOLDEN / "manifests").glob("*.yaml")),
    *sorted((ROOT / "crds" / "samples").glob("*.yaml")),
    *sorted((ROOT / "crds").glob("*.yaml")),
]


def objects(path: Path) -> list[dict[str, Any]]:
    return [item for item in yaml.safe_load_all(path.read_text()) if item]


@pytest.fixture(scope="module")
def server(api_server: ApiServer) -> ApiServer:
    """With the definitions, and the namespace of the manifests, where only restricted pods may be."""
    cluster = Cluster(api_server)
    cluster.install()
    level = {f"pod-security.kubernetes.io/{what}": "restricted" for what in ("enforce", "warn")}
    for name in ("queues", "shop"):
        cluster.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": level}},
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": "default", "namespace": name},
            },
        )
    # The server takes that up some moments after it was made.
    words = ("run", "try", "--image=example.org/try:1", "--dry-run=server", "-n", "queues")
    until(lambda: "violates PodSecurity" in api_server.kubectl(*words)[1], "it is in force")
    return api_server


@pytest.mark.parametrize("path", CHART_FILES, ids=lambda path: path.stem)
def test_the_api_server_takes_them_without_a_warning(server: ApiServer, path: Path) -> None:
    strictly = ("apply", "--server-side", "--validate=strict", "--dry-run=server", "-f", str(path))
    code, output = server.kubectl(*strictly)
    assert code == 0, output
    assert "Warning" not in output
    assert output.count("serverside-applied") == len(objects(path))


@pytest.mark.parametrize("path", CHART_FILES, ids=lambda path: path.stem)
def test_pods_are_admitted_where_only_restricted_ones_are(server: ApiServer, path: Path) -> None:
    for item in objects(path):
        if item["kind"] == "Deployment":
            template = item["spec"]["template"]
            metadata = {**template["metadata"], "name": "try", "namespace": "queues"}
            # Its account is not there yet; that of the namespace will do.
            spec = {**template["spec"], "serviceAccountName": "default"}
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
            code, output = server.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
            assert code == 0, output


@pytest.fixture(scope="module")
def judge(server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Kubeconform:
    """kubeconform, with the schemas of all API versions that our manifests use."""
    try:
        found = kubeconform(tmp_path_factory.mktemp("schemas"))
    except Unavailable as problem:
        missing(f"kubeconform: {problem}")
    versions = {item["apiVersion"] for path in FILES for item in objects(path)}
    ours = "/openapi/v3/apis/redisqueue.dev/v1alpha1"
    kinds = ('"RedisQueue"', '"RedisQueueRedrive"', '"RedisQueueBudget"', '"RedisQueueSchedule"')
    # It publishes new kinds some moments after they are served.
    until(lambda: all(kind in server.kubectl("get", "--raw", ours)[1] for kind in kinds), "ours are there")
    found.learn(server, versions)
    return found


def test_kubeconform_finds_nothing(judge: Kubeconform) -> None:
    assert len(FILES) > 10
    assert judge.complaints(FILES) == []


def test_it_would_find_what_is_wrong(judge: Kubeconform, tmp_path: Path) -> None:
    """In a field of Kubernetes, in one of ours, and a kind that nobody knows."""
    deployment = next(
        item for item in objects(GOLDEN / "charts" / "defaults.yaml") if item["kind"] == "Deployment"
    )
    deployment["spec"]["template"]["spec"]["tolerations"] = [{"kee": "infra"}]
    queue = next(item for item in objects(ROOT / "crds/samples/hello.yaml") if item["kind"] == "RedisQueue")
    queue["spec"]["scaling"] = {"maxReplicas": "many"}
    unknown = {"apiVersion": "example.com/v1", "kind": "Unknown", "metadata": {"name": "x"}}
    file = tmp_path / "wrong.yaml"
    file.write_text(yaml.safe_dump_all([deployment, queue, unknown]))
    first, second, third = judge.complaints([file])
    assert "kee" in first
    assert "maxReplicas" in second
    assert "could not find schema for Unknown" in third
