"""The operator where it sees only a part: many namespaces, missing rights, no definition, a proxy."""

from __future__ import annotations

import json
import select
import socket
import socketserver
import threading
import urllib.error
import urllib.request
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.support.operator_process import Cluster, OperatorProcess, until
from tests.support.redisqueue_cases import redis_queue

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.api_server import ApiServer

MANY = 30
# More namespaces than the pool of the API client has connections.
SMALL_POOL = """
import redisqueue_operator.kubernetes_api as api
api.session.__kwdefaults__["connections"] = 20
"""


def queue_in(namespace: str, name: str = "jobs") -> dict[str, Any]:
    queue = redis_queue(name, redis={"url": "redis://127.0.0.1:1"})
    queue["metadata"]["namespace"] = namespace
    return queue


def namespaces(cluster: Cluster, *names: str) -> None:
    items = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names]
    cluster.run("apply", "--server-side", "-f", "-", stdin="\n---\n".join(map(json.dumps, items)))


def ready_text(operator: OperatorProcess) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{operator.port}/readyz", timeout=20) as response:
            return int(response.status), str(response.read().decode())
    except urllib.error.HTTPError as error:
        return int(error.code), str(error.read().decode())
    except OSError:
        return 0, ""


def test_many_namespaces_leave_connections_for_the_lease(api_server: ApiServer, tmp_path: Path) -> None:
    cluster = Cluster(api_server)
    cluster.install()
    names = [f"many-{number}" for number in range(MANY)]
    namespaces(cluster, *names, "many")
    flags = (f"--watch-namespaces={','.join(names)}", "--namespace=many")
    with OperatorProcess(api_server, tmp_path / "log", *flags, before=SMALL_POOL) as operator:
        lease = lambda: (cluster.get("lease", "redisqueue-operator", "many") or {}).get("spec") or {}  # noqa: E731
        until(lambda: lease().get("holderIdentity"), "it leads")
        for name in (names[0], names[-1]):
            cluster.apply(queue_in(name))
            until(lambda name=name: cluster.get("deployment", "jobs-worker", name), "a Deployment")
        led_at = lease()["renewTime"]
        renewed = lambda: lease()["renewTime"] > led_at and lease()["leaseTransitions"] == 0  # noqa: E731
        until(renewed, "the Lease is renewed beside it all")
        assert not operator.ended
        log = operator.log.read_text()
    assert "lost the lease" not in log


@pytest.fixture
def restricted(api_server: ApiServer, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """Somebody who may do all in `open-ns`, nothing in `shut-ns`, and a way to give rights."""
    cluster = Cluster(api_server)
    cluster.install()
    namespaces(cluster, "open-ns", "shut-ns")
    rule = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "rules": [rule]}
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "some", "namespace": "open-ns"},
    }
    cluster.apply({**role, "metadata": {"name": "coverage"}}, account)

    def grant(namespace: str) -> None:
        cluster.apply(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": "coverage", "namespace": namespace},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "ClusterRole",
                    "name": "coverage",
                },
                "subjects": [{"kind": "ServiceAccount", "name": "some", "namespace": "open-ns"}],
            }
        )

    grant("open-ns")
    config = yaml.safe_load(api_server.kubeconfig.read_text())
    token = cluster.run("create", "token", "some", "-n", "open-ns").strip()
    config["users"][0]["user"] = {"token": token}
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    yield SimpleNamespace(kubeconfig=kubeconfig, cluster=cluster, grant=grant)
    cluster.run("delete", "clusterrole", "coverage")
    cluster.run("delete", "rq", "--all", "-n", "open-ns")
    cluster.run("delete", "rq", "--all", "-n", "shut-ns")


def test_a_namespace_that_cannot_be_read_holds_up_no_other(restricted: Any, tmp_path: Path) -> None:
    cluster: Cluster = restricted.cluster
    cluster.apply(queue_in("open-ns"), queue_in("shut-ns"))
    flags = ("--watch-namespaces=gone-ns,open-ns,shut-ns", "--namespace=open-ns", "--resync-seconds=600")
    with OperatorProcess(restricted, tmp_path / "log", *flags) as operator:  # type: ignore[arg-type]
        until(lambda: cluster.get("deployment", "jobs-worker", "open-ns"), "a Deployment")
        until(lambda: cluster.status("jobs", "open-ns").get("conditions"), "a status")
        operator.shows("redisqueue_operator_unreadable 8.0")
        status, text = ready_text(operator)
        assert status == 200
        assert "redisqueues in shut-ns" in text
        assert "redisqueues in open-ns" not in text
        assert cluster.get("deployment", "jobs-worker", "shut-ns") is None
        cluster.run("delete", "deployment", "jobs-worker", "-n", "open-ns")
        until(lambda: cluster.get("deployment", "jobs-worker", "open-ns"), "drift is mended all the while")
        restricted.grant("shut-ns")
        until(lambda: cluster.get("deployment", "jobs-worker", "shut-ns"), "rights that come are used")
        whole = lambda: (seen := ready_text(operator))[0] == 200 and "shut-ns" not in seen[1]  # noqa: E731
        until(whole, "and nothing is unread there")
        assert "redisqueues in gone-ns" in ready_text(operator)[1]
        assert not operator.ended


def test_the_definition_may_go_and_come_back(empty_api_server: ApiServer, tmp_path: Path) -> None:
    cluster = Cluster(empty_api_server)
    operator = OperatorProcess(empty_api_server, tmp_path / "log")
    operator._spawn()
    try:
        until(lambda: "is missing: install it" in ready_text(operator)[1], "it says what it waits for")
        cluster.install()
        until(lambda: ready_text(operator)[0] == 200, "it works")
        cluster.apply(queue_in("default"))
        until(lambda: cluster.get("deployment", "jobs-worker"), "a Deployment")
        cluster.run("delete", "crd", "redisqueues.redisqueue.dev", "--wait=false")
        until(lambda: "is missing: install it" in ready_text(operator)[1], "it waits again", seconds=60)
        until(
            lambda: cluster.server.kubectl("get", "crd/redisqueues.redisqueue.dev")[0],
            "it is gone",
            seconds=60,
        )
        cluster.install()
        until(lambda: ready_text(operator)[0] == 200, "it works again", seconds=60)
        cluster.apply(queue_in("default", "again"))
        until(lambda: cluster.get("deployment", "again-worker"), "a Deployment", seconds=60)
        assert not operator.ended
    finally:
        assert operator.stop() == 0


def test_an_operator_that_waits_for_the_api_server_leaves_when_told(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    cluster = {"name": "away", "cluster": {"server": "https://127.0.0.1:1"}}
    context = {"name": "away", "context": {"cluster": "away", "user": "some"}}
    user = {"name": "some", "user": {"token": "some"}}
    config = {"clusters": [cluster], "contexts": [context], "users": [user], "current-context": "away"}
    kubeconfig.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **config}))
    away: Any = SimpleNamespace(kubeconfig=kubeconfig)
    operator = OperatorProcess(away, tmp_path / "log")
    operator._spawn()
    until(lambda: operator.answer("/livez") == 200, "it is alive")
    until(lambda: "does not answer" in ready_text(operator)[1], "and not ready")
    # A signal of its own would end it with another status: process 1 of a container would stay.
    assert operator.stop() == 0


class Tunnel(socketserver.BaseRequestHandler):
    """One connection through an HTTP proxy, by CONNECT."""

    def handle(self) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            if not (data := self.request.recv(4096)):
                return
            request += data
        method, target, _ = request.split(b" ", 2)
        self.server.tunnels.append((method, target))  # type: ignore[attr-defined]
        host, _, port = target.decode().rpartition(":")
        with socket.create_connection((host, int(port)), timeout=20) as other:
            self.request.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            pair = {self.request: other, other: self.request}
            while True:
                for source in select.select([*pair], [], [])[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    pair[source].sendall(data)


@pytest.mark.parametrize("excepted", [False, True], ids=["proxy", "NO_PROXY"])
def test_a_proxy_of_the_environment_is_for_watches_and_calls_alike(
    api_server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, excepted: bool
) -> None:
    cluster = Cluster(api_server)
    cluster.install()
    name = f"proxied-{'not' if excepted else 'yes'}"
    namespaces(cluster, name)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Tunnel) as proxy:
        proxy.daemon_threads = True
        proxy.tunnels = []  # type: ignore[attr-defined]
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.server_address[1]}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1" if excepted else "example.com")
        flags = (f"--watch-namespaces={name}", f"--namespace={name}")
        with OperatorProcess(api_server, tmp_path / "log", *flags):
            cluster.apply(queue_in(name))
            until(lambda: cluster.get("deployment", "jobs-worker", name), "a Deployment")
        proxy.shutdown()
        tunnels = list(proxy.tunnels)  # type: ignore[attr-defined]
    assert len(tunnels) == 0 if excepted else len(tunnels) >= 5, "each watch has a connection of its own"
    cluster.run("delete", "rq", "--all", "-n", name)
