"""A `redisqueue-operator` process against a test API server, and eyes on that server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, TypeVar

from tests.support.waiting import PATIENCE_SECONDS

from redisqueue_operator.api.definition import FILES, definition
from redisqueue_worker.embedded_redis import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.api_proxy import ApiProxy
    from tests.support.api_server import ApiServer

T = TypeVar("T")
_WRITE = re.compile(
    r'^apiserver_request_total\{(?=[^}]*verb="(?:POST|PUT|PATCH|APPLY|DELETE)")'
    r"(?P<labels>[^}]*)\} (?P<count>\S+)"
)


_OURS, _APPS, _CORE = "apis/redisqueue.dev/v1alpha1", "apis/apps/v1", "api/v1"
_PLACES = {
    "configmap": (_CORE, "configmaps"),
    "deployment": (_APPS, "deployments"),
    "event": ("apis/events.k8s.io/v1", "events"),
    "lease": ("apis/coordination.k8s.io/v1", "leases"),
    "pod": (_CORE, "pods"),
    "poddisruptionbudget": ("apis/policy/v1", "poddisruptionbudgets"),
    "rq": (_OURS, "redisqueues"),
    "rqr": (_OURS, "redisqueueredrives"),
    "rqb": (_OURS, "redisqueuebudgets"),
    "rqs": (_OURS, "redisqueueschedules"),
}
_OF_NO_NAMESPACE = {
    "APIService",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "Namespace",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}
_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
"""What kubectl asks for."""


def _place(kind: str, namespace: str) -> str:
    group, plural = _PLACES[kind]
    return f"{group}/namespaces/{namespace}/{plural}"


def _path(obj: dict[str, Any]) -> str:
    """Where an object is, on the server."""
    group, kind, metadata = obj["apiVersion"], obj["kind"].lower(), obj["metadata"]
    plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
    within = "" if obj["kind"] in _OF_NO_NAMESPACE else f"namespaces/{metadata.get('namespace', 'default')}/"
    return f"{'apis' if '/' in group else 'api'}/{group}/{within}{plural}/{metadata['name']}"


def _shown(obj: dict[str, Any]) -> dict[str, Any]:
    """An object without what kubectl leaves out."""
    obj["metadata"].pop("managedFields", None)
    return obj


def until(look: Callable[[], T], what: str, *, seconds: float = PATIENCE_SECONDS) -> T:
    """Look again and again until there is something true; fails naming `what` and what was seen last."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}; last seen: {seen!r}")
        time.sleep(0.05)
    return seen


class Cluster:
    """What a test does to the API server and reads from it."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server

    def apply(self, *objects: dict[str, Any], dry_run: bool = False) -> None:
        """As `kubectl apply --server-side --force-conflicts` does; fails with the server's words."""
        for each in objects:
            name = f"{each['kind']} {each['metadata']['name']}"
            status, text = self.server.apply(_path(each), each, dry_run=dry_run)
            assert status in (200, 201), f"{name}: {status} {text}"

    def install(self, *kinds: str) -> None:
        """The CustomResourceDefinitions of ours, all of them unless told which."""
        self.define(*(definition(kind) for kind in kinds or FILES))

    def define(self, *definitions: dict[str, Any]) -> None:
        """Make these CustomResourceDefinitions, and wait until they are served."""
        self.apply(*definitions)
        places = {
            f"apis/{spec['group']}/{version['name']}/{spec['names']['plural']}"
            for spec in (each["spec"] for each in definitions)
            for version in spec["versions"]
        }
        until(lambda: self._serves(places), f"{', '.join(sorted(places))} are served")

    def _serves(self, places: set[str]) -> bool:
        """Whether the server tells kubectl and the operator of these resources, and answers for them."""
        status, text = self.server.read("apis", _DISCOVERY)
        groups = json.loads(text)["items"] if status == 200 else []
        told = {
            f"apis/{group['metadata']['name']}/{version['version']}/{item['resource']}"
            for group in groups
            for version in group["versions"]
            for item in version.get("resources", ())
        }
        return places <= told and all(self.server.read(f"{place}?limit=1")[0] == 200 for place in places)

    def run(self, *arguments: str, stdin: str = "") -> str:
        """kubectl; its output. Fails when it does."""
        code, text = self.server.kubectl(*arguments, stdin=stdin)
        assert code == 0, f"kubectl {' '.join(arguments)}: {text}"
        return text

    def get(self, kind: str, name: str, namespace: str = "default") -> dict[str, Any] | None:
        """The object, or None where there is none: what the server cannot tell just now is asked again."""

        def look() -> tuple[int, str] | None:
            status, text = self.server.read(f"{_place(kind, namespace)}/{name}")
            return (status, text) if status in (200, 404) else None

        status, text = until(look, f"an answer about {kind} {name}")
        return _shown(json.loads(text)) if status == 200 else None

    def list(self, kind: str, namespace: str = "default", query: str = "") -> list[dict[str, Any]]:
        """The objects of a namespace. Fails where the server does not tell them."""
        status, text = self.server.read(f"{_place(kind, namespace)}?{query}")
        assert status == 200, f"{kind} of {namespace}: {status} {text}"
        return [_shown(each) for each in json.loads(text)["items"]]

    def metadata(self, kind: str, name: str, namespace: str = "default") -> dict[str, Any]:
        """The metadata of an object that is there."""
        found = self.get(kind, name, namespace)
        assert found is not None, f"no {kind} {name}"
        metadata: dict[str, Any] = found["metadata"]
        return metadata

    def replicas(self, name: str, namespace: str = "default") -> int | None:
        """`spec.replicas` of the queue's Deployment, or None where there is none."""
        deployment = self.get("deployment", f"{name}-worker", namespace)
        return None if deployment is None else deployment["spec"]["replicas"]

    def container(self, name: str) -> dict[str, Any]:
        """The worker container of the queue's Deployment."""
        deployment = self.get("deployment", f"{name}-worker")
        assert deployment is not None, f"no Deployment for {name}"
        found: dict[str, Any] = deployment["spec"]["template"]["spec"]["containers"][0]
        return found

    def environment(self, name: str) -> set[str]:
        """The names of the worker's environment variables."""
        return {each["name"] for each in self.container(name).get("env") or ()}

    def status(self, name: str, namespace: str = "default") -> dict[str, Any]:
        """A RedisQueue's status; empty where there is none."""
        return (self.get("rq", name, namespace) or {}).get("status") or {}

    def decision(self, name: str, namespace: str = "default") -> dict[str, Any]:
        """What was decided last, as the status of a RedisQueue says; empty where it says nothing."""
        return self.status(name, namespace).get("decision") or {}

    def pending(self, name: str, namespace: str = "default") -> int | None:
        """The messages that wait, as the status of a RedisQueue says; None where it says nothing."""
        return (self.status(name, namespace).get("queue") or {}).get("pending")

    def condition(self, name: str, kind: str, namespace: str = "default") -> dict[str, Any]:
        """That condition of a RedisQueue; empty where there is none."""
        conditions = self.status(name, namespace).get("conditions") or []
        return next((each for each in conditions if each["type"] == kind), {})

    def events(self, name: str, namespace: str = "default", kind: str = "RedisQueue") -> dict[str, str]:
        """The notes of the Events about a RedisQueue, or an object of another kind, by their reason."""
        about = f"fieldSelector=regarding.name={name},regarding.kind={kind}"
        return {each["reason"]: each.get("note") or "" for each in self.list("event", namespace, about)}

    def writes(self) -> int:
        """Write requests so far, Leases and what tests do with kubectl to RedisQueues included, reads not."""
        found = self._writes()
        return sum(int(float(each["count"])) for each in found if 'resource="leases"' not in each["labels"])

    def writes_to(self, resource: str, subresource: str = "") -> int:
        """Writes to objects of that kind so far, or to that part of them."""
        found = self._writes()
        wanted = (f'resource="{resource}"', f'subresource="{subresource}"')
        return sum(int(float(each["count"])) for each in found if all(w in each["labels"] for w in wanted))

    def _writes(self) -> Iterator[re.Match[str]]:
        # A request is counted after its answer: until a kubectl has asked, those of the test itself are.
        text = self.run("get", "--raw", "/metrics")
        return (match for match in map(_WRITE.match, text.splitlines()) if match)

    def scale_writes(self) -> int:
        """Writes to the /scale of Deployments so far."""
        return self.writes_to("deployments", "scale")


class OperatorProcess:
    """Starts on `with`, ends with SIGTERM at the latest on leaving it. Its log is in `log`.

    With `restarts` it is started again whenever it ends by itself, as kubelet would. `before` is Python that
    runs before anything of the operator does.
    """

    def __init__(
        self,
        server: ApiServer | ApiProxy,
        log: Path,
        *arguments: str,
        restarts: bool = False,
        before: str = "",
    ) -> None:
        self.log = log
        self.port = free_port()
        self._command = [
            sys.executable,
            "-c",
            f"import sys\n{before}\nfrom redisqueue_operator.main import main\nsys.exit(main())",
            f"--http-port={self.port}",
            *arguments,
        ]
        # What a killed one leaves behind goes with the test's folder.
        ours = {"KUBECONFIG": str(server.kubeconfig), "TMPDIR": str(log.parent)}
        # A machine that stalls for some seconds ends no reign, where a test is not about that.
        ours["REDISQUEUE_LEASE_SECONDS"] = "40"
        self._environment = {**os.environ, **ours}
        self._environment.pop("KUBERNETES_SERVICE_HOST", None)
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self._restarts = restarts
        self._left = threading.Event()
        self._keeper: threading.Thread | None = None

    def __enter__(self) -> OperatorProcess:
        self._spawn()
        try:
            until(lambda: self.answer("/readyz") == 200 or self.ended, "the operator is ready")
            assert not self.ended, self.log.read_text()[-3000:]
        except BaseException:
            self.stop(kill=True)
            raise
        if self._restarts:
            self._keeper = threading.Thread(target=self._keep)
            self._keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _spawn(self) -> None:
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(self._command, env=self._environment, stdout=out, stderr=out)
        self.starts += 1

    def _keep(self) -> None:
        while not self._left.wait(0.2):
            if self.ended:
                self._spawn()

    @property
    def ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def answer(self, path: str) -> int:
        """The HTTP status of a probe; 0 without an answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=20) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return int(error.code)
        except OSError:
            return 0

    def read(self, path: str) -> str:
        """The text of a page."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=20) as response:
            return str(response.read().decode())

    def shows(self, series: str) -> None:
        """Wait until its metrics have that line: they are counted after what they count has happened."""
        until(lambda: series in self.read("/metrics").splitlines(), series)

    def explains(self, name: str, words: str, namespace: str = "default") -> None:
        """Wait until its last look at a RedisQueue says so: a look is over after all that it writes."""

        def told() -> bool:
            try:
                return words in self.read(f"/explain/{namespace}/{name}")
            except urllib.error.HTTPError:  # before its first look
                return False

        until(told, f"{words!r} of {name}")

    def stop(self, *, kill: bool = False) -> int:
        """SIGTERM (or SIGKILL) and wait; the exit status."""
        assert self.process is not None
        self._left.set()
        if self._keeper is not None:
            self._keeper.join()
        if self.process.poll() is None:
            self.process.kill() if kill else self.process.terminate()
        try:
            return self.process.wait(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
