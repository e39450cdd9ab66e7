"""What the chaos happens to: RedisQueues on a cluster, their Redis, the operators."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from tests.chaos.queues import KINDS, SECRET, SERVICE, SOURCE, login, resource, source
from tests.support.cluster import CommandFailed, provider, wait_until
from tests.support.service_to_host import service_to_host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.books import Books
    from tests.chaos.load import Load
    from tests.chaos.redis_pair import RedisPair
    from tests.support.cluster import Cluster, Manifest

OPERATORS = "app.kubernetes.io/name=redis-queue-operator"
WORKERS = "redisqueue.dev/queue"
LEASE = "redisqueue-operator"


class World(Protocol):
    """What a run needs to know of it."""

    redis: RedisPair
    books: Books
    load: Load
    lease_seconds: int
    patience_seconds: float

    def unwell(self, since: float) -> list[str]: ...


@dataclass
class ClusterWorld:
    """`namespace` has the RedisQueues, `operators` is where these live."""

    cluster: Cluster
    namespace: str
    operators: str
    host: str
    redis: RedisPair
    books: Books
    load: Load
    lease_seconds: int = 20
    """Renewed after each quarter of it."""
    patience_seconds: float = field(init=False)
    """For all to be well after a fault, and for all to be settled at the end."""
    versions: dict[str, int] = field(default_factory=lambda: {kind.name: 1 for kind in KINDS})

    def __post_init__(self) -> None:
        self.patience_seconds = max(150.0, 3.0 * self.lease_seconds)

    def set_up(self) -> None:
        """Make all three, and wait until each has a worker that is ready."""
        self.redis.lead = self._lead
        self.make()
        wait_until(lambda: not self._unwell(0.0), self.patience_seconds, "all RedisQueues are ready")

    def make(self) -> None:
        """The namespace, and all that is in it."""
        self.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}})
        self._lead(self.redis.master.port)
        self.tell_password()
        self.cluster.apply(source(self.namespace))
        self.apply(*self.versions)

    def tear_down(self) -> None:
        names = [kind.name for kind in KINDS]
        self.kubectl("delete", "redisqueue", *names, "--ignore-not-found", "--timeout=90s")
        objects = (
            f"service/{SERVICE}",
            f"endpointslice/{SERVICE}",
            f"secret/{SECRET}",
            f"configmap/{SOURCE}",
        )
        self.kubectl("delete", *objects, "--ignore-not-found")

    def _lead(self, port: int) -> None:
        self.cluster.apply(*service_to_host(self.namespace, SERVICE, self.host, port))

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl("-n", self.namespace, *arguments)

    def apply(self, *names: str) -> None:
        """The RedisQueues of these names, in their present version."""
        self.cluster.apply(
            *(
                resource(
                    kind,
                    self.namespace,
                    self.redis.sentinel_addresses,
                    self.books.folder,
                    str(self.versions[kind.name]),
                    self.lease_seconds,
                )
                for kind in KINDS
                if kind.name in names
            )
        )

    def tell_password(self) -> None:
        self.cluster.apply(login(self.namespace, self.redis.password))

    def workers(self) -> list[Manifest]:
        """Pods whose workers run, those with the fewest restarts first: Kubernetes delays each more."""
        pods = [one for one in self.cluster.list("pods", self.namespace, WORKERS) if _runs(one)]
        return sorted(pods, key=lambda one: (_restarts(one), one["metadata"]["name"]))

    def versions_at_work(self, name: str) -> set[str]:
        """Which versions of a RedisQueue's template have pods."""
        pods = self.cluster.list("pods", self.namespace, f"{WORKERS}={name}")
        return {
            variable["value"]
            for pod in pods
            for variable in pod["spec"]["containers"][0]["env"]
            if variable["name"] == "VERSION"
        }

    def leader(self) -> Manifest:
        """The pod of the operator that leads."""
        holder = self._lease()["holderIdentity"]
        pods = self.cluster.list("pods", self.operators, OPERATORS)
        return next(one for one in pods if holder.startswith(one["metadata"]["name"]))

    def _lease(self) -> dict[str, Any]:
        found = self.cluster.get("lease", LEASE, self.operators)
        return {} if found is None else found["spec"]

    def kill(self, pod: Manifest) -> None:
        """SIGKILL to all of its processes."""
        provider("kill", pod["metadata"]["uid"])

    @contextlib.contextmanager
    def firewall(self, *rule: str) -> Iterator[None]:
        """A rule of the node for what is forwarded to and from its pods."""
        provider("inside", "iptables", "--wait", "--insert", "FORWARD", *rule)
        try:
            yield
        finally:
            provider("inside", "iptables", "--wait", "--delete", "FORWARD", *rule)

    def unwell(self, since: float) -> list[str]:
        """What is not as it should be again since that time (seconds since the epoch)."""
        try:
            return self._unwell(since) or self.books.waiting(since, self.versions)
        except CommandFailed as error:
            return [str(error).splitlines()[-1]]

    def _unwell(self, since: float) -> list[str]:
        found = json.loads(self.kubectl("get", "redisqueues,deployments", "-o", "json"))["items"]
        named = {(one["kind"], one["metadata"]["name"]): one for one in found}
        told = []
        lease = self._lease()
        if not lease.get("holderIdentity") or _seconds(lease.get("renewTime")) < since:
            told.append("no operator leads")
        for name in self.versions:
            queue = named.get(("RedisQueue", name), {})
            conditions = {one["type"]: one["status"] for one in queue.get("status", {}).get("conditions", ())}
            told += [
                f"{name}: {kind} is {conditions.get(kind)}"
                for kind in ("Ready", "RedisReachable")
                if conditions.get(kind) != "True"
            ]
            status = named.get(("Deployment", f"{name}-worker"), {}).get("status", {})
            if not status.get("readyReplicas"):
                told.append(f"{name}: no worker is ready")
        return told


def _runs(pod: Manifest) -> bool:
    statuses = pod["status"].get("containerStatuses", ())
    return "deletionTimestamp" not in pod["metadata"] and any("running" in one["state"] for one in statuses)


def _restarts(pod: Manifest) -> int:
    return sum(one["restartCount"] for one in pod["status"].get("containerStatuses", ()))


def _seconds(stamp: str | None) -> float:
    """A time of Kubernetes as seconds since the epoch; 0 for none."""
    return datetime.fromisoformat(stamp).timestamp() if stamp else 0.0
