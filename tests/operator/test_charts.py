"""The charts on a real API server: installation, upgrade, both orders, and what stays in the end."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import monitors
from tests.support.helm import CHARTS
from tests.support.operator_process import Cluster, OperatorProcess, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.api_server import ApiServer
    from tests.support.helm import Helm

DEFINITIONS = CHARTS.parent / "crds"
EVERYTHING = CHARTS.parent / "tests" / "golden" / "charts" / "everything.values.yaml"
OPTIONAL = {
    "clusterrole.rbac.authorization.k8s.io",
    "configmap",
    "networkpolicy.networking.k8s.io",
    "poddisruptionbudget.policy",
    "podmonitor.monitoring.coreos.com",
    "prometheusrule.monitoring.coreos.com",
    "service",
    "servicemonitor.monitoring.coreos.com",
}
CRDS = tuple(
    f"crd/{path.stem.removeprefix('redisqueue.dev_')}.redisqueue.dev"
    for path in sorted(DEFINITIONS.glob("*.yaml"))
)


class Releases:
    """helm and kubectl on one API server, in a namespace of its own."""

    def __init__(self, helm: Helm, server: ApiServer, namespace: str) -> None:
        self._helm = helm
        self._server = server
        self._target = ("--kubeconfig", server.kubeconfig, "--namespace", namespace)
        self.namespace = namespace

    def upgrade(self, release: str, chart: str, *settings: str, flags: tuple[str, ...] = ()) -> str:
        values = [part for setting in settings for part in ("--set-json", setting)]
        target = (*self._target, "--create-namespace", *flags)
        return self._helm.run("upgrade", "--install", release, CHARTS / chart, *target, *values)

    def helm(self, *arguments: str) -> str:
        """Any other command of helm."""
        return self._helm.run(*arguments, *self._target)

    def all_of(self, release: str) -> set[str]:
        """What bears the release's labels, of every kind and in every namespace."""
        _, text = self._server.kubectl("api-resources", "--verbs=list", "-o", "name")
        kinds = ",".join(name for name in text.split() if name.partition(".")[0] != "events")
        labels = f"app.kubernetes.io/instance={release}"
        code, found = self._server.kubectl(
            "get", kinds, "-A", "-l", labels, "-o", "name", "--ignore-not-found"
        )
        assert code == 0, found
        return {line for line in found.splitlines() if not line.startswith("Warning: ")}

    def uninstall(self, release: str) -> None:
        self._helm.run("uninstall", release, *self._target)

    def get(self, *what: str) -> dict[str, Any] | None:
        code, output = self._server.kubectl(
            "-n", self.namespace, "get", *what, "-o", "json", "--show-managed-fields"
        )
        return json.loads(output) if code == 0 else None

    def owner_of_crd(self) -> str:
        """The release that all of them belong to."""
        found = [crd["metadata"]["annotations"] for crd in self.crds()]
        (owner,) = {str(notes.get("meta.helm.sh/release-name", "")) for notes in found}
        return owner

    def crds(self) -> list[dict[str, Any]]:
        """Every definition of ours; fails if one is not there."""
        found = [self.get(name) for name in CRDS]
        assert len(found) > 1
        assert all(found)
        return [each for each in found if each]


@pytest.fixture
def releases(empty_api_server: ApiServer, helm: Helm) -> Releases:
    return Releases(helm, empty_api_server, "charts")


def test_crd_of_its_own_chart_is_left_alone(releases: Releases) -> None:
    releases.upgrade("crds", "redis-queue-crds")
    releases.upgrade("one", "redis-queue-operator")
    releases.upgrade("one", "redis-queue-operator", "replicas=2")
    assert releases.owner_of_crd() == "crds"
    releases.uninstall("one")
    assert releases.owner_of_crd() == "crds"
    releases.uninstall("crds")
    assert releases.crds(), "kept, and with them every RedisQueue"


def test_operator_chart_alone_brings_and_upgrades_the_crd(releases: Releases) -> None:
    releases.upgrade("one", "redis-queue-operator", "valkey.enabled=true")
    assert releases.owner_of_crd() == "one"
    releases.upgrade("one", "redis-queue-operator", "valkey.enabled=false")
    assert releases.owner_of_crd() == "one", "an upgrade does not let go of it"
    assert releases.get("deployment", "redisqueue-valkey") is None
    releases.uninstall("one")
    assert releases.get("deployment", "one-operator") is None
    assert releases.crds()
    assert releases.upgrade("two", "redis-queue-operator"), "and it is no obstacle to a new start"


def test_an_upgrade_while_nobody_leads(releases: Releases, tmp_path: Path) -> None:
    """A Lease that was released belongs to the operators alone: Helm 4 would refuse to share its fields."""
    releases.upgrade("one", "redis-queue-operator")
    flags = (f"--namespace={releases.namespace}", "--lease-name=one-operator", "--lease-seconds=15")
    with OperatorProcess(releases._server, tmp_path / "log", *flags):
        until(lambda: holder(releases), "it leads")
    released = releases.get("lease", "one-operator")
    assert released is not None
    assert (released["spec"]["holderIdentity"], released["spec"]["leaseDurationSeconds"]) == ("", 15)
    assert {each["manager"] for each in released["metadata"]["managedFields"]} == {"redisqueue-operator"}
    releases.upgrade("one", "redis-queue-operator", 'logLevel="DEBUG"')
    assert releases.get("lease", "one-operator") == released
    releases.uninstall("one")
    assert releases.upgrade("one", "redis-queue-operator"), "one that was left behind is no obstacle"


def next_version(folder: Path) -> Path:
    """The operator's chart as the next version of it will be called."""
    chart = shutil.copytree(CHARTS / "redis-queue-operator", folder / "next")
    about = chart / "Chart.yaml"
    text, places = re.subn(r"(?m)^((?:appV|v)ersion:).*", r'\1 "999.0.0"', about.read_text())
    assert places == 2
    about.write_text(text)
    return chart


def chart_of(releases: Releases) -> str:
    """Which version of the chart its Deployment says it comes from."""
    deployment = releases.get("deployment", "side-operator")
    assert deployment is not None
    return str(deployment["metadata"]["labels"]["helm.sh/chart"])


def test_every_option_is_upgraded_rolled_back_and_removed(
    api_server: ApiServer, helm: Helm, tmp_path: Path
) -> None:
    """To the next version; beside a release of the same name in another namespace, which is not touched."""
    cluster = Cluster(api_server)
    cluster.install()
    cluster.define(*monitors.definitions())
    first, second = (Releases(helm, api_server, f"side-{name}") for name in "ab")
    values = ("--values", str(EVERYTHING), "--values", str(monitors.VALUES))
    everything = (*values, "--set=crds.install=false")
    for each in (first, second):
        each.upgrade("side", "redis-queue-operator", flags=everything)
    installed, chart = first.all_of("side"), chart_of(first)
    assert {name.partition("/")[0] for name in installed} >= OPTIONAL
    first.upgrade(
        "side",
        str(next_version(tmp_path)),
        'logLevel="INFO"',
        "podDisruptionBudget.enabled=false",
        flags=everything,
    )
    assert first.get("pdb", "side-operator") is None
    assert chart_of(first) == "redis-queue-operator-999.0.0" != chart
    first.helm("rollback", "side", "1")
    assert first.get("pdb", "side-operator")
    assert (first.all_of("side"), chart_of(first)) == (installed, chart)
    deployment = second.get("deployment", "side-operator")
    first.uninstall("side")
    assert second.get("deployment", "side-operator") == deployment
    second.uninstall("side")
    assert first.all_of("side") == set()


def holder(releases: Releases) -> str:
    lease = releases.get("lease", "one-operator") or {}
    return str((lease.get("spec") or {}).get("holderIdentity") or "")


@pytest.mark.parametrize(
    ("settings", "told", "not_told"),
    [
        (
            [],
            ["all namespaces", "any Secret by name", "valkey.enabled=true", "rq --all-namespaces"],
            ["get crd"],
        ),
        (
            ['watchNamespaces=["shop"]', 'watchSelector="a=b"', "crds.install=false"],
            ["RedisQueues of shop", '"a=b"', "get crd", "rq --namespace shop"],
            ["all namespaces", "any Secret"],
        ),
        (
            [
                "valkey.enabled=true",
                "networkPolicy.enabled=true",
                'allowedRedisHosts=["*.svc"]',
                "rbac.create=false",
            ],
            ["redis://redisqueue-valkey.charts:6379", "*.svc", "6379, 26379", "charts:one-operator"],
            ["HOST", "redisTo"],
        ),
    ],
    ids=["defaults", "a share", "with a Valkey"],
)
def test_the_notes_tell_the_next_commands(
    api_server: ApiServer, helm: Helm, settings: list[str], told: list[str], not_told: list[str]
) -> None:
    Cluster(api_server).install()
    releases = Releases(helm, api_server, "charts")
    notes = releases.upgrade("one", "redis-queue-operator", *settings, flags=("--dry-run=server",)).partition(
        "NOTES:\n"
    )[2]
    assert [each for each in told if each not in notes] == []
    assert [each for each in not_told if each in notes] == []
    _, _, manifests = notes.partition("<<'EOF'\n")
    manifests, end, _ = manifests.partition("\nEOF\n")
    assert end, "as a shell has it, at the beginning of a line"
    strictly = ("apply", "--dry-run=server", "--validate=strict", "--namespace=default", "-f", "-")
    code, output = api_server.kubectl(*strictly, stdin=manifests)
    assert code == 0, output
