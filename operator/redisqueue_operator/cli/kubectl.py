"""kubectl, for commands that ask a cluster: its logins, contexts and plugins are the user's own."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from redisqueue_operator.cli.options import UserError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

TIMEOUT_SECONDS = 30
CONTAINER = "worker"
"""The one of a worker pod in which the handlers run."""


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """Declare --namespace and --context."""
    parser.add_argument("-n", "--namespace", metavar="NAME", help="as for kubectl (default: the context's)")
    parser.add_argument("--context", metavar="NAME", help="as for kubectl (default: the current one)")


def plain_name(name: str) -> str:
    """Of a RedisQueue that may be given as rq/NAME, or as kubectl prints it. Raises UserError for others."""
    kind, slash, rest = name.rpartition("/")
    if slash and kind not in ("rq", "redisqueue", "redisqueues", "redisqueue.redisqueue.dev"):
        raise UserError(f"NAME: {name!r} is no RedisQueue: give rq/{rest}, or its name alone")
    return rest


def of_queue(name: str) -> str:
    """The argument that selects the pods of a RedisQueue's workers."""
    return f"--selector=redisqueue.dev/queue={name}"


class Kubectl:
    """Runs kubectl in the context and namespace of the options. Raises UserError when it cannot be run."""

    def __init__(self, options: argparse.Namespace) -> None:
        found = shutil.which("kubectl")
        if found is None:
            raise UserError("kubectl is not on PATH: this command asks the cluster through it")
        self._program = found
        self._context = [f"--context={options.context}"] if options.context else []
        self._namespace = options.namespace

    def run(self, *arguments: str, namespace: str | None = None) -> str:
        """Its output. Raises UserError with its own words when it fails."""
        command = self._command(namespace, f"--request-timeout={TIMEOUT_SECONDS}s", *arguments)
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode != 0:
            raise UserError(done.stderr.strip() or f"kubectl ended with {done.returncode}")
        return done.stdout

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """One that goes on by itself, with pipes for what it says."""
        pipe = subprocess.PIPE
        command = self._command(None, *arguments)
        return subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, errors="replace"
        )

    def _command(self, namespace: str | None, *arguments: str) -> list[str]:
        place = namespace or self._namespace
        return [self._program, *self._context, *([f"--namespace={place}"] if place else []), *arguments]

    def get(self, *arguments: str, namespace: str | None = None) -> dict[str, Any]:
        """What `kubectl get … -o json` says."""
        answer: dict[str, Any] = json.loads(self.run("get", *arguments, "-o", "json", namespace=namespace))
        return answer

    def items(self, *arguments: str) -> Sequence[dict[str, Any]]:
        """The objects of a list in all namespaces."""
        found: list[dict[str, Any]] = json.loads(self.run("get", *arguments, "-A", "-o", "json"))["items"]
        return found
