"""A real API server for tests: etcd and kube-apiserver on loopback, nothing else of Kubernetes."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import shutil
import signal
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from tests.support.waiting import PATIENCE_SECONDS

from redisqueue_worker.embedded_redis import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

KUBERNETES = os.environ.get("KUBERNETES") or "1.34"
"""The minor release that is tested, as for tests/cluster/cluster."""
GATED: dict[str, Any] = (
    {"hostnameOverride": "mail"}
    if KUBERNETES == "1.34"
    else {"evictionResponders": [{"name": "example.com/mail", "priority": 1}]}
)
"""A field of a pod whose feature gate is off in that release: the API server drops it."""
PLACES = (
    ("~/.cache/redisqueue/cluster/bin", "~/.cache/redisqueue-cluster/bin")
    if KUBERNETES == "1.34"
    else (f"~/.cache/redisqueue/cluster/bin-{KUBERNETES}",)
)
_AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - {level: Request, resources: [{group: apps, resources: [deployments/scale]}]}
  - {level: Metadata}
"""
# Of one user alone: for all other requests it costs a comparison.
_AUDIT_OF = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - {level: Metadata, users: ["%s"]}
  - {level: None}
"""


def binaries() -> Path | None:
    """The folder that holds etcd, kube-apiserver and kubectl, or None."""
    candidates = [os.environ.get("REDISQUEUE_CLUSTER_BIN", ""), *PLACES]
    for folder in (Path(place).expanduser() for place in candidates if place):
        if all((folder / name).is_file() for name in ("etcd", "kube-apiserver", "kubectl")):
            return folder
    return None


@cache
def _any_server() -> ssl.SSLContext:
    """It trusts every server: the certificate of ours is minted at its start."""
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    return trust


class ApiServer:
    """Starts on `with`, stops what it started at the end. `kubectl` answers (exit code, output).

    With `audit` it notes every request as a line of JSON in `audit_log`; with `audit_of`, that user's.
    """

    def __init__(self, folder: Path, *, audit: bool = False, audit_of: str = "") -> None:
        self.folder = self._bin = folder
        self._audit_policy = _AUDIT_OF % audit_of if audit_of else _AUDIT_POLICY if audit else ""
        self._commands: dict[str, list[str | Path]] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._kept = threading.local()
        self._connections: list[http.client.HTTPSConnection] = []
        self._directory = Path(tempfile.mkdtemp(prefix="redisqueue-api-"))
        self._token = secrets.token_hex(16)
        self.kubeconfig = self._directory / "kubeconfig"
        self.certificate = self._directory / "keys" / "apiserver.crt"
        self.audit_log = self._directory / "audit.log"
        self.url = ""

    def __enter__(self) -> ApiServer:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections:
            connection.close()
        for process in reversed(self._processes.values()):
            process.terminate()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)

    def kubectl(self, *arguments: str, stdin: str = "") -> tuple[int, str]:
        """Run kubectl as cluster admin; stdout and stderr together."""
        done = subprocess.run(
            [self._bin / "kubectl", "--kubeconfig", self.kubeconfig, *arguments],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
        return done.returncode, done.stdout

    def read(self, path: str, accept: str = "application/json") -> tuple[int, str]:
        """Ask as cluster admin; status and text. 0 without an answer.

        Tests look at objects many times a second: a kubectl for each look would take most of the machine.
        """
        return self._ask("GET", path, {"Accept": accept})

    def apply(self, path: str, obj: dict[str, Any], *, dry_run: bool = False) -> tuple[int, str]:
        """`kubectl apply --server-side --force-conflicts`; status and text. 0 without an answer."""
        query = "fieldManager=kubectl&force=true&fieldValidation=Strict" + "&dryRun=All" * dry_run
        headers = {"Content-Type": "application/apply-patch+yaml"}
        return self._ask("PATCH", f"{path}?{query}", headers, json.dumps(obj))

    def _ask(self, method: str, path: str, headers: dict[str, str], body: str = "") -> tuple[int, str]:
        headers |= {"Authorization": f"Bearer {self._token}", "User-Agent": "kubectl's place in tests"}
        connection, problem = self._connection(), ""
        for _ in range(2):  # one that was kept may have ended meanwhile
            try:
                connection.request(method, f"/{path}", body, headers)
                answer = connection.getresponse()
                return answer.status, answer.read().decode()
            except TimeoutError as error:
                connection.close()
                return 0, str(error)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                problem = str(error)
        return 0, problem

    def _connection(self) -> http.client.HTTPSConnection:
        """This thread's: a new one for each look would cost five times as much, on both sides."""
        kept: http.client.HTTPSConnection | None = getattr(self._kept, "connection", None)
        if kept is None:
            place = self.url.removeprefix("https://")
            kept = http.client.HTTPSConnection(place, timeout=PATIENCE_SECONDS, context=_any_server())
            self._kept.connection = kept
            self._connections.append(kept)
        return kept

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        """The API server takes connections and answers nothing."""
        process = self._processes["kube-apiserver"]
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def pid(self, name: str) -> int:
        """Of `etcd` or `kube-apiserver`."""
        return self._processes[name].pid

    def kill(self, name: str) -> None:
        """SIGKILL for `etcd` or `kube-apiserver`; `start_again` brings it back on the same data and port."""
        self._processes[name].kill()
        self._processes[name].wait()

    def start_again(self, name: str, *arguments: str) -> None:
        """Start what was killed, with these arguments too, and wait until the API server answers."""
        self._commands[name] += arguments
        self._launch(name)
        self._await_ready()

    def _start(self) -> None:
        etcd, peer, port = free_port(), free_port(), free_port()
        etcd_url, self.url = f"http://127.0.0.1:{etcd}", f"https://127.0.0.1:{port}"
        keys = self._directory / "keys"
        keys.mkdir()
        private, public = keys / "sa.key", keys / "sa.pub"
        openssl = shutil.which("openssl") or "openssl"
        subprocess.run([openssl, "genrsa", "-out", private, "2048"], check=True, capture_output=True)
        subprocess.run(
            [openssl, "rsa", "-in", private, "-pubout", "-out", public], check=True, capture_output=True
        )
        tokens = self._directory / "tokens.csv"
        tokens.write_text(f'{self._token},admin,admin,"system:masters"\n')
        self._write_kubeconfig()
        self._spawn(
            "etcd",
            f"--data-dir={self._directory / 'etcd'}",
            "--unsafe-no-fsync",
            f"--listen-client-urls={etcd_url}",
            f"--advertise-client-urls={etcd_url}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster=default=http://127.0.0.1:{peer}",
        )
        self._spawn(
            "kube-apiserver",
            f"--etcd-servers={etcd_url}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={port}",
            f"--cert-dir={keys}",
            f"--token-auth-file={tokens}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={public}",
            f"--service-account-signing-key-file={private}",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--endpoint-reconciler-type=none",
            *self._audit_flags(),
        )
        self._await_ready()

    def _audit_flags(self) -> list[str]:
        if not self._audit_policy:
            return []
        policy = self._directory / "audit-policy.yaml"
        policy.write_text(self._audit_policy)
        # Who reads it would not see that a file of 100 MB, the default, goes on in another one.
        return [
            f"--audit-policy-file={policy}",
            f"--audit-log-path={self.audit_log}",
            "--audit-log-maxsize=100000",
        ]

    def _write_kubeconfig(self) -> None:
        cluster = {"server": self.url, "insecure-skip-tls-verify": True}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": self._token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            "current-context": "test",
        }
        self.kubeconfig.write_text(yaml.safe_dump(config))

    def _spawn(self, name: str, *arguments: str) -> None:
        self._commands[name] = [self._bin / name, *arguments]
        self._launch(name)

    def _launch(self, name: str) -> None:
        with (self._directory / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                self._commands[name], stdout=log, stderr=subprocess.STDOUT
            )

    def _await_ready(self) -> None:
        request = urllib.request.Request(
            f"{self.url}/readyz", headers={"Authorization": f"Bearer {self._token}"}
        )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            for process in self._processes.values():
                if process.poll() is not None:
                    raise RuntimeError(f"{process.args!r} ended: {self._last_log_lines()}")
            try:
                with urllib.request.urlopen(request, timeout=2, context=_any_server()):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)  # it opens no port before it is nearly ready: there is nothing to wait on
        raise RuntimeError(
            f"the API server was not ready within {PATIENCE_SECONDS:.0f} s: {self._last_log_lines()}"
        )

    def _last_log_lines(self) -> str:
        logs = sorted(self._directory.glob("*.log"))
        return "\n".join(line for log in logs for line in log.read_text(errors="replace").splitlines()[-5:])
