"""`make bench-from-zero`: on a real cluster, from a message to its handler when there is no worker.

Each round waits until no worker is left, sends one message, and hears from the API server (by watches: what
objects say of times has a grain of a second), from the kubelet's events, and from the worker when what came
about. All clocks are one: the cluster is on this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
from tests.bench.from_zero_report import markdown, parts
from tests.bench.outcome import Outcome, retell
from tests.support.cluster import Cluster, CommandFailed, provider, wait_until
from tests.support.installation import installed
from tests.support.story import merged

from redis_message_queue import RedisMessageQueue
from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NAMESPACE, QUEUE = "redisqueue-from-zero", "from-zero"
HANDLER = Path(__file__).parent / "programs" / "first_message.py"
PATIENCE_SECONDS = 60.0
Manifest = dict[str, Any]


class Watches:
    """What the API server tells of Deployments, pods and events, each with the time at which it came."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._told: list[tuple[float, Manifest]] = []

    @contextmanager
    def following(self) -> Iterator[None]:
        kinds = ("apis/apps/v1/%s/deployments", "api/v1/%s/pods", "api/v1/%s/events")
        with ExitStack() as stack:
            for kind in kinds:
                path = kind % f"namespaces/{NAMESPACE}"
                command = ["kubectl", "get", "--raw", f"/{path}?watch=1&timeoutSeconds=3600"]
                process = subprocess.Popen(command, stdout=subprocess.PIPE, env=self._cluster.environment)
                stack.callback(process.kill)
                threading.Thread(target=self._listen, args=(process,), daemon=True).start()
            yield

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        for line in process.stdout or ():
            at = time.time()
            self._told.append((at, json.loads(line)["object"]))

    def wait_for(self, mark: str, since: float) -> None:
        wait_until(lambda: mark in self.marks(since), PATIENCE_SECONDS, mark)

    def marks(self, since: float) -> dict[str, float]:
        """When the parts of one round ended that others than the worker bring about, as far as they have."""
        found: dict[str, float] = {}
        for at, thing in list(self._told):
            if at >= since and (mark := _mark_of(thing)):
                found.setdefault(mark, at)
        return found


# The image is looked for when the sandbox is there.
_EVENTS = {"Pulled": "sandbox", "Started": "started"}


def _mark_of(thing: Manifest) -> str | None:
    """What an object, as it was told, shows to have come about."""
    if "involvedObject" in thing:
        of_worker = "{worker}" in thing["involvedObject"].get("fieldPath", "")
        return _EVENTS.get(thing.get("reason", "")) if of_worker else None
    spec, status = thing["spec"], thing.get("status", {})
    if "replicas" in spec:
        return "scaled" if spec["replicas"] == 1 else None
    if any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions", ())):
        return "ready"
    return "scheduled" if spec.get("nodeName") else "created"


def source() -> Manifest:
    """The handler, which needs no image of its own."""
    about = {"namespace": NAMESPACE, "name": QUEUE}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": about,
        "data": {HANDLER.name: HANDLER.read_text()},
    }


def resource(name: str, redis_url: str, changes: Manifest) -> Manifest:
    """A RedisQueue with those changes to its spec."""
    spec = {
        "redis": {"url": redis_url},
        "worker": {
            "handler": f"{HANDLER.stem}:handle",
            "source": {"configMapRef": {"name": QUEUE}},
            "env": [{"name": "MARKS", "value": redis_url.removeprefix("redis://").removesuffix("/0")}],
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
        },
        "scaling": {
            "maxReplicas": 1,
            "scaleDown": {"idleSeconds": 1, "stabilizationSeconds": 0, "minRunSeconds": 0},
        },
    }
    return {
        "apiVersion": "redisqueue.dev/v1alpha1",
        "kind": "RedisQueue",
        "metadata": {"namespace": NAMESPACE, "name": name},
        "spec": merged(spec, changes),
    }


class Rounds:
    """One message at a time for a queue without workers."""

    def __init__(self, cluster: Cluster, client: redis.Redis, watches: Watches) -> None:
        self._cluster = cluster
        self._client = client
        self._watches = watches
        self._sent = 0

    def measure(self, name: str) -> Manifest:
        """The parts of one round, and how long it was until the pod was Ready, in seconds."""
        wait_until(self._is_at_zero, PATIENCE_SECONDS, "no worker left")
        time.sleep(random.uniform(1, 2))  # not in step with anything that looks each second
        queue = RedisMessageQueue(name, client=self._client)
        self._sent += 1
        sent = time.time()
        assert queue.publish({"round": self._sent, "at": sent})
        heard = self._client.blpop(["marks"], timeout=PATIENCE_SECONDS)
        assert isinstance(heard, list | tuple), "the handler was not called"
        worker = json.loads(heard[1])
        assert worker["message"] == self._sent
        for mark in ("sandbox", "started", "ready"):
            self._watches.wait_for(mark, sent)
        marks = self._watches.marks(sent)
        return {"parts": parts(sent, marks | worker), "ready": marks["ready"] - sent}

    def _is_at_zero(self) -> bool:
        return not self._cluster.list("pods", NAMESPACE, "redisqueue.dev/queue")


def compete(rounds: int, variants: Mapping[str, Manifest], keep: bool) -> list[Manifest]:
    """All rounds; the variants take turns in random order.

    One of each before them is not counted: programs and their files are read from the disk in it.
    """
    results: list[Manifest] = []
    with installed(NAMESPACE, keep, "--set", "page.enabled=false") as cluster:
        host = provider("host")
        arguments = ("--bind", "127.0.0.1", host, "--protected-mode", "no")
        watches = Watches(cluster)
        with (
            EmbeddedRedis(arguments=arguments) as server,
            redis.Redis(port=server.port, decode_responses=True) as client,
            watches.following(),
        ):
            names = {variant: f"{QUEUE}-{number}" for number, variant in enumerate(variants)}
            url = f"redis://{host}:{server.port}/0"
            cluster.apply(source(), *(resource(names[one], url, variants[one]) for one in variants))
            cluster.kubectl(
                *("-n", NAMESPACE, "wait", "redisqueue", "--all"),
                *("--for=condition=RedisReachable", "--timeout=60s"),
            )
            stage = Rounds(cluster, client, watches)
            for number in range(rounds + 1):
                for variant in random.sample(list(variants), len(variants)):
                    result = {"variant": variant, **stage.measure(names[variant])}
                    print(f"{number} {variant}: {sum(result['parts'].values()):.3f} s", file=sys.stderr)
                    results += [result] if number else []
            cluster.kubectl("-n", NAMESPACE, "delete", "redisqueue", "--all", "--wait=true", "--timeout=60s")
    return results


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="NAME=SPEC",
        help="measure a RedisQueue with these changes to its spec, in JSON; several take turns",
    )
    parser.add_argument(
        "--keep", action="store_true", help="on the cluster that is up, with the images on it"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single measurement")
    parser.add_argument("--tables", type=Path, metavar="FILE", help="only print the table of such a file")
    options = parser.parse_args()
    if options.tables:
        retell(options.tables, markdown)
        return
    variants = {
        name: json.loads(text or "{}") for name, _, text in (one.partition("=") for one in options.variant)
    }
    outcome = Outcome(f"{os.cpu_count()} cores, with all of the cluster on them", platform.python_version())
    try:
        results = compete(options.rounds, variants or {"as it comes": {}}, options.keep)
    except CommandFailed as problem:
        sys.exit(f"bench-from-zero: {problem}")
    outcome.tell(results, markdown, options.json)


if __name__ == "__main__":
    main()
