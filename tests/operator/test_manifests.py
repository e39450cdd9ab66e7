"""What resources/ makes, judged by a real API server: strictly, and by the restricted standard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.support.operator_process import until

if TYPE_CHECKING:
    from tests.support.api_server import ApiServer

GOLDEN = Path(__file__).parents[1] / "golden" / "manifests"
FILES = sorted(GOLDEN.glob("*.yaml"))


@pytest.fixture(scope="module")
def server(api_server: ApiServer) -> ApiServer:
    """With what the samples refer to, in a namespace that enforces the restricted Pod Security Standard."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    for manifest in (
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": labels}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "shop"}},
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": "background"},
            "value": -10,
        },
    ):
        code, output = api_server.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
        assert code == 0, output
    # The server takes all that up some moments after it was made.
    words = ("run", "try", "--image=example.org/try:1", "--dry-run=server", "-n", "shop")
    background = '--overrides={"spec":{"priorityClassName":"background"}}'
    until(lambda: "violates PodSecurity" in api_server.kubectl(*words, background)[1], "it is in force")
    return api_server


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_children_are_accepted(server: ApiServer, path: Path) -> None:
    strictly = ("apply", "--server-side", "--validate=strict", "--dry-run=server", "-f", "-")
    # As JSON, as the operator sends it: kubectl's YAML takes a hash such as 2574715e26 for a number.
    items = list(yaml.safe_load_all(path.read_text()))
    code, output = server.kubectl(
        *strictly, stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    )
    assert code == 0, output
    assert "Warning" not in output


@pytest.mark.parametrize("sample", [path.stem for path in FILES])
def test_pods_are_admitted_where_only_restricted_ones_are(server: ApiServer, sample: str) -> None:
    objects: list[dict[str, Any]] = list(yaml.safe_load_all((GOLDEN / f"{sample}.yaml").read_text()))
    (deployment,) = (item for item in objects if item["kind"] == "Deployment")
    template = deployment["spec"]["template"]
    metadata = {**template["metadata"], "name": sample, "namespace": "shop"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    code, output = server.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
    assert code == 0, output
