"""The charts on a real API server: installation, upgrade, both orders, and what stays in the end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.helm import CHARTS

if TYPE_CHECKING:
    from tests.support.api_server import ApiServer
    from tests.support.helm import Helm

pytestmark = pytest.mark.timeout(120)
CRDS = CRD, OTHER_CRD = "crd/redisqueues.redisqueue.dev", "crd/redisqueueredrives.redisqueue.dev"


class Releases:
    """helm and kubectl on one API server, in a namespace of its own."""

    def __init__(self, helm: Helm, server: ApiServer, namespace: str) -> None:
        self._helm = helm
        self._server = server
        self._target = ("--kubeconfig", server.kubeconfig, "--namespace", namespace)
        self.namespace = namespace

    def upgrade(self, release: str, chart: str, *settings: str) -> str:
        flags = [part for setting in settings for part in ("--set-json", setting)]
        target = (*self._target, "--create-namespace")
        return self._helm.run("upgrade", "--install", release, CHARTS / chart, *target, *flags)

    def uninstall(self, release: str) -> None:
        self._helm.run("uninstall", release, *self._target)

    def get(self, *what: str) -> dict[str, Any] | None:
        code, output = self._server.kubectl("-n", self.namespace, "get", *what, "-o", "json")
        return json.loads(output) if code == 0 else None

    def owner_of_crd(self) -> str:
        """The release that both belong to."""
        found = [crd["metadata"]["annotations"] for name in CRDS if (crd := self.get(name))]
        first, second = (str(notes.get("meta.helm.sh/release-name", "")) for notes in found)
        assert first == second
        return first


@pytest.fixture
def releases(empty_api_server: ApiServer, helm: Helm, request: pytest.FixtureRequest) -> Releases:
    return Releases(helm, empty_api_server, request.node.name.removeprefix("test_").replace("_", "-"))


def test_crd_of_its_own_chart_is_left_alone(releases: Releases) -> None:
    releases.upgrade("crds", "redis-queue-crds")
    releases.upgrade("one", "redis-queue-operator")
    releases.upgrade("one", "redis-queue-operator", "replicas=2")
    assert releases.owner_of_crd() == "crds"
    releases.uninstall("one")
    assert releases.owner_of_crd() == "crds"
    releases.uninstall("crds")
    assert releases.get(CRD), "kept, and with it every RedisQueue"
    assert releases.get(OTHER_CRD)


def test_operator_chart_alone_brings_and_upgrades_the_crd(releases: Releases) -> None:
    releases.upgrade("one", "redis-queue-operator", "valkey.enabled=true")
    assert releases.owner_of_crd() == "one"
    releases.upgrade("one", "redis-queue-operator", "valkey.enabled=false")
    assert releases.owner_of_crd() == "one", "an upgrade does not let go of it"
    assert releases.get("deployment", "redisqueue-valkey") is None
    releases.uninstall("one")
    assert releases.get("deployment", "one-operator") is None
    assert releases.get("lease", "one-operator") is None
    assert releases.get(CRD)
    assert releases.upgrade("two", "redis-queue-operator"), "and it is no obstacle to a new start"


def test_a_lease_of_a_running_operator_is_left_alone(releases: Releases) -> None:
    releases.upgrade("one", "redis-queue-operator")
    server = releases._server
    spec = {"holderIdentity": "me", "leaseTransitions": 3, "leaseDurationSeconds": 15}
    held = json.dumps({"spec": spec})
    target = ("-n", releases.namespace, "patch", "lease", "one-operator")
    assert server.kubectl(*target, "--type=merge", "-p", held)[0] == 0
    releases.upgrade("one", "redis-queue-operator", 'logLevel="DEBUG"')
    lease = releases.get("lease", "one-operator")
    assert lease is not None
    assert lease["spec"] == spec
