"""What this folder needs of the machine: a real API server, and helm for what the charts give it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.api_server import ApiServer, binaries
from tests.support.helm import MISSING, NAMES, Helm, binary
from tests.support.required import required

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_SERVER = "etcd, kube-apiserver and kubectl not found: set REDISQUEUE_CLUSTER_BIN to their folder"
OURS = ("redisqueues", "redisqueueredrives", "redisqueuebudgets", "redisqueueschedules")
AUDITED = "system:serviceaccount:rights:redisqueue-operator"
"""Whose requests the shared server writes to its audit log."""
PLACES = 'jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name}{"\\n"}{end}'


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(300))  # several waits of a minute each, on a busy machine


@pytest.fixture(scope="session")
def shared_api_server() -> Iterator[ApiServer]:
    """etcd and kube-apiserver on loopback, one pair for the whole run."""
    with ApiServer(required(binaries(), NO_SERVER), audit_of=AUDITED) as server:
        yield server


@pytest.fixture(scope="module")
def api_server(shared_api_server: ApiServer) -> Iterator[ApiServer]:
    """It, as a file's tests find it: what others left is gone, since they may have chosen the same names."""
    yield shared_api_server
    for kind in OURS:
        _, left = shared_api_server.kubectl("get", kind, "-A", "-o", PLACES)
        for line in left.splitlines():
            namespace, _, name = line.partition("/")
            free = ("--type=merge", "-p", '{"metadata":{"finalizers":null}}')
            shared_api_server.kubectl("patch", kind, name, "-n", namespace, *free)
    at_once = ("--all", "-A", "--force", "--grace-period=0", "--wait=false")
    for kind in (*OURS, "deployments", "poddisruptionbudgets", "pods"):
        shared_api_server.kubectl("delete", kind, *at_once)


@pytest.fixture
def empty_api_server() -> Iterator[ApiServer]:
    """An API server of the test's own, without our definitions.

    Taking definitions away from the shared one is no way to get there: that server may take a minute over it.
    """
    with ApiServer(required(binaries(), NO_SERVER)) as server:
        yield server


@pytest.fixture(scope="session", params=NAMES)
def helm(request: pytest.FixtureRequest) -> Helm:
    """Helm 3, then Helm 4: they merge values and apply manifests each in its own way."""
    return Helm(required(binary(request.param), MISSING.format(request.param)))
