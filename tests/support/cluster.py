"""kubectl and helm on the cluster that tests/cluster/cluster provides."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = Path(__file__).parents[2]
PROVIDER = REPOSITORY / "tests" / "cluster" / "cluster"

Manifest = dict[str, Any]
Fact = TypeVar("Fact")


class CommandFailed(AssertionError):
    """A command ended with an error; the text holds its output."""


def run(*command: str | Path, stdin: str | None = None, environment: dict[str, str] | None = None) -> str:
    """The command's standard output; its progress on standard error is passed through.

    Raises CommandFailed with the output when the exit code is not 0.
    """
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, check=False, env=environment or dict(os.environ)
    )
    if done.returncode != 0:
        words = " ".join(map(str, command))
        raise CommandFailed(f"{words}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def provider(*arguments: str) -> str:
    """Run tests/cluster/cluster; its progress goes to this process' standard error."""
    done = subprocess.run([PROVIDER, *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise CommandFailed(f"tests/cluster/cluster {' '.join(arguments)}: exit code {done.returncode}")
    return done.stdout.strip()


def wait_until(fact: Callable[[], Fact], seconds: float, what: str) -> Fact:
    """The first true value of `fact`, asked for five times a second.

    Raises AssertionError that says `what` did not happen, with the last value.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = fact()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what} (last seen: {value!r})")
        time.sleep(0.2)


class Cluster:
    """A cluster that is up. Everything it runs is bounded in time by the test's own timeout."""

    def __init__(self, kubeconfig: str, tools: str) -> None:
        path = f"{tools}:{os.environ['PATH']}"
        self.environment = {**os.environ, "KUBECONFIG": kubeconfig, "PATH": path}
        self.tools = Path(tools)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return run(*self._tool("kubectl"), *arguments, stdin=stdin, environment=self.environment)

    def helm(self, *arguments: str | Path) -> str:
        """The helm that HELM names: `helm` (3) by default, or `helm-4`."""
        return run(*self._tool(os.environ.get("HELM") or "helm"), *arguments, environment=self.environment)

    def apply(self, *manifests: Manifest) -> str:
        """kubectl apply. Raises CommandFailed with the API server's refusal."""
        return self.kubectl("apply", "-f", "-", stdin="\n---\n".join(map(json.dumps, manifests)))

    def get(self, kind: str, name: str, namespace: str) -> Manifest | None:
        text = self.kubectl("-n", namespace, "get", kind, name, "--ignore-not-found", "-o", "json")
        return json.loads(text) if text.strip() else None

    def list(self, kind: str, namespace: str, selector: str = "") -> list[Manifest]:
        text = self.kubectl("-n", namespace, "get", kind, "-l", selector, "-o", "json")
        items: list[Manifest] = json.loads(text)["items"]
        return items

    def follow_log(self, namespace: str, pod: str, into: Path) -> subprocess.Popen[bytes]:
        """Write the pod's log into a file until the pod is gone; a deleted pod's log cannot be asked for."""
        with into.open("wb") as file:
            command = [
                *self._tool("kubectl"),
                "-n",
                namespace,
                "logs",
                "-f",
                pod,
                "--pod-running-timeout=60s",
            ]
            return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=self.environment)

    @contextmanager
    def forwarded(self, namespace: str, target: str, port: int) -> Iterator[str]:
        """The URL at which a port of a pod or Deployment is reached from this machine."""
        words = (*self._tool("kubectl"), "-n", namespace, "port-forward", target, f":{port}")
        with subprocess.Popen(words, env=self.environment, stdout=subprocess.PIPE, text=True) as forward:
            try:
                assert forward.stdout is not None
                found = re.search(r"127\.0\.0\.1:(\d+) ->", forward.stdout.readline())
                assert found is not None, f"kubectl port-forward {target} said nothing of a port"
                yield f"http://127.0.0.1:{found[1]}"
            finally:
                forward.terminate()

    def _tool(self, name: str) -> tuple[str, ...]:
        own = self.tools / name
        return (str(own) if own.exists() else name,)
