"""Two operators share a fleet by labels: each leads, each takes its own, neither touches the other's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.operator_process import Cluster, OperatorProcess, until
from tests.support.queues import publish
from tests.support.redisqueue_cases import redis_queue
from tests.support.waiting import quiet

from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    from pathlib import Path

    import redis
    from tests.support.api_server import ApiServer

NAMESPACE = "shards"


def shard(server: ApiServer, folder: Path, name: str) -> OperatorProcess:
    return OperatorProcess(
        server,
        folder / name,
        f"--namespace={NAMESPACE}",
        f"--watch-namespaces={NAMESPACE}",
        f"--watch-selector=shard={name}",
        f"--lease-name=shard-{name}",
    )


def known(operator: OperatorProcess) -> set[str]:
    """The RedisQueues that an operator has series of."""
    lines = operator.read("/metrics").splitlines()
    return {
        line.split('name="')[1].split('"')[0] for line in lines if line.startswith("redisqueue_condition{")
    }


def writes(operator: OperatorProcess) -> float:
    """Its write calls so far, those to the Lease left out (they are PUTs)."""
    lines = operator.read("/metrics").splitlines()
    prefix = "redisqueue_operator_api_calls_total{"
    found = [line for line in lines if line.startswith(prefix) and 'verb="P' in line and '"PUT"' not in line]
    return sum(float(line.rpartition(" ")[2]) for line in found)


def test_each_takes_its_share(
    api_server: ApiServer, tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    cluster = Cluster(api_server)
    cluster.install()
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    for name, labels in (("one", {"shard": "a"}), ("two", {"shard": "b"}), ("nobodys", {})):
        queue = redis_queue(name, redis={"url": redis_url})
        queue["metadata"] |= {"namespace": NAMESPACE, "labels": labels}
        cluster.apply(queue)

    with shard(api_server, tmp_path, "a") as a, shard(api_server, tmp_path, "b") as b:
        for operator, name in ((a, "one"), (b, "two")):
            until(lambda operator=operator, name=name: known(operator) == {name}, f"{name} has its operator")
            until(lambda name=name: cluster.status(name, NAMESPACE).get("state") == "Idle", f"{name} is idle")
            operator.shows("redisqueue_operator_leader 1.0")

        quiet(lambda: writes(a), "the first operator has told all", 2)
        before = writes(a)
        publish(redis_client, QueueKeys("two"), *(str(n) for n in range(12)))
        publish(redis_client, QueueKeys("nobodys"), "one")
        until(lambda: cluster.replicas("two", NAMESPACE) == 3, "workers by the second operator")
        until(lambda: cluster.decision("two", NAMESPACE), "its decision")
        assert writes(a) == before
        assert cluster.replicas("nobodys", NAMESPACE) is None

        deployment = cluster.get("deployment", "two-worker", NAMESPACE)
        cluster.run("label", "rq", "two", "shard=a", "--overwrite", "-n", NAMESPACE)
        until(lambda: known(a) == {"one", "two"} and known(b) == set(), "the queue changes hands")
        publish(redis_client, QueueKeys("two"), *(str(n) for n in range(12, 22)))
        until(lambda: cluster.replicas("two", NAMESPACE) == 5, "workers by the first operator")
        after = cluster.get("deployment", "two-worker", NAMESPACE)
        assert deployment is not None
        assert after is not None
        assert after["metadata"]["uid"] == deployment["metadata"]["uid"]
        assert after["metadata"]["generation"] == deployment["metadata"]["generation"] + 1, "scaled, no more"
    cluster.run("delete", "rq", "--all", "-n", NAMESPACE)
