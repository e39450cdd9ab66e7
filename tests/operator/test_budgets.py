"""RedisQueueBudgets on a real API server and a real Valkey, shared out by the operator process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.support.operator_process import Cluster, OperatorProcess, until
from tests.support.queues import publish
from tests.support.redisqueue_cases import budget, redis_queue

from redis_message_queue.consumer import Consumer, Outcome, Settlement, WorkerIdentity
from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis
    from tests.support.api_server import ApiServer

NAMESPACE = "budgets"
FLAGS = (f"--namespace={NAMESPACE}", f"--watch-namespaces={NAMESPACE}")


class Shared:
    """Two RedisQueues whose workers the test plays, and the operator that shares out."""

    def __init__(
        self, cluster: Cluster, operator: OperatorProcess, client: redis.Redis, redis_url: str
    ) -> None:
        self.cluster, self.operator, self.client, self.redis_url = cluster, operator, client, redis_url

    def queue(self, name: str, priority: int) -> None:
        down = {"idleSeconds": 0, "stabilizationSeconds": 0, "minRunSeconds": 0}
        scaling = {"backlogPerSlot": 1, "priority": priority, "scaleDown": down}
        made = redis_queue(name, redis={"url": self.redis_url}, scaling=scaling)
        made["metadata"]["namespace"] = NAMESPACE
        self.cluster.apply(made)

    def budget(self, name: str = "shared", **spec: Any) -> None:
        made = budget(**spec)
        made["metadata"] |= {"name": name, "namespace": NAMESPACE}
        self.cluster.apply(made)
        # A queue that is made next might be looked at before a budget that nobody has read yet.
        until(lambda: self.condition("Ready", name), "it is in force")

    def publish(self, name: str, number: int) -> None:
        publish(self.client, QueueKeys(name), *(str(n) for n in range(number)))

    def have(self, **wanted: int) -> None:
        """Wait until they have so many workers."""
        for name, number in wanted.items():
            until(lambda n=name: self.cluster.replicas(n, NAMESPACE) == wanted[n], f"{name}: {number}")  # type: ignore[misc]

    def condition(self, kind: str, name: str = "shared") -> str:
        status = (self.cluster.get("rqb", name, NAMESPACE) or {}).get("status") or {}
        found = [each["reason"] for each in status.get("conditions") or () if each["type"] == kind]
        return found[0] if found else ""


@pytest.fixture
def shared(
    api_server: ApiServer, redis_client: redis.Redis, redis_url: str, tmp_path: Path
) -> Iterator[Shared]:
    cluster = Cluster(api_server)
    cluster.install()
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    with OperatorProcess(api_server, tmp_path / "log", *FLAGS) as operator:
        yield Shared(cluster, operator, redis_client, redis_url)
    # Now that nobody is there to make them anew.
    cluster.run("delete", "rq,rqb", "--all", "-n", NAMESPACE)
    cluster.run("delete", "deployment,poddisruptionbudget", "--all", "-n", NAMESPACE)


def test_idle_workers_go_to_who_goes_first_and_come_back(shared: Shared) -> None:
    shared.budget(maxReplicas=4)
    shared.queue("low", 0)
    shared.publish("low", 9)
    shared.have(low=4)
    until(lambda: shared.cluster.decision("low", NAMESPACE).get("reason") == "Budget", "it says why")
    until(lambda: shared.cluster.decision("low", NAMESPACE).get("budget") == "shared", "and which one")
    shared.operator.shows(
        f'redisqueue_budget_used{{name="shared",namespace="{NAMESPACE}",resource="workers"}} 4.0'
    )
    until(lambda: shared.condition("Limited") == "Scarce", "and so does the budget")
    shared.queue("high", 1)
    shared.publish("high", 3)
    shared.have(high=3, low=1)

    shared.client.delete(QueueKeys("high").pending)
    shared.have(high=0, low=4)
    shared.cluster.run("delete", "rqb", "shared", "-n", NAMESPACE)
    shared.have(low=9)


def test_busy_workers_stay(shared: Shared) -> None:
    shared.publish("low", 9)
    # A lease of which no pod is known: any of the workers may have it.
    worker = Consumer(shared.client, "low", worker=WorkerIdentity("elsewhere", 1))
    (claimed,) = worker.claim(1).claims
    shared.budget(maxReplicas=4)
    shared.queue("low", 0)
    shared.have(low=4)
    shared.queue("high", 1)
    shared.publish("high", 3)
    shared.operator.explains("low", "do not say", NAMESPACE)
    assert shared.cluster.replicas("low", NAMESPACE) == 4
    assert not shared.cluster.replicas("high", NAMESPACE)
    worker.settle([Settlement(claimed, Outcome.DONE)])
    shared.have(high=3, low=1)


def test_two_budgets_of_one_queue_say_so_and_a_mended_one_is_in_force(shared: Shared) -> None:
    shared.budget("first", maxReplicas=2)
    until(lambda: shared.condition("Ready", "first") == "NoQueues", "nobody shares it")
    shared.queue("low", 0)
    shared.publish("low", 9)
    shared.have(low=2)
    # In a later second, or the name decides.
    shared.budget("later", maxReplicas=5)
    for name in ("first", "later"):
        until(lambda n=name: shared.condition("Exclusive", n) == "Overlapping", f"{name} tells")  # type: ignore[misc]
    assert shared.cluster.replicas("low", NAMESPACE) == 2
    shared.cluster.run("delete", "rqb", "first", "-n", NAMESPACE)
    shared.have(low=5)
    until(lambda: shared.condition("Exclusive", "later") == "NoOverlap", "all is well")
