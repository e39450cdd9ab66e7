"""Several operators, one leader: handover, takeover, and what a lost Lease does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.support.operator_process import Cluster, OperatorProcess, until

from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    from pathlib import Path

    import redis
    from tests.support.api_server import ApiServer

NAMESPACE = "leading"
# Longer than the test waits: a Lease that ends would hand over, too. A standby tries every eighth of it.
LEASE_SECONDS = 90


def holder(cluster: Cluster) -> str:
    lease = cluster.get("lease", "redisqueue-operator", NAMESPACE) or {}
    return str((lease.get("spec") or {}).get("holderIdentity") or "")


def start(server: ApiServer, folder: Path, name: str) -> OperatorProcess:
    names = (f"--namespace={NAMESPACE}", f"--pod-name={name}")
    return OperatorProcess(server, folder / name, *names, f"--lease-seconds={LEASE_SECONDS}")


def test_one_leads_and_a_leaving_leader_hands_over_at_once(api_server: ApiServer, tmp_path: Path) -> None:
    cluster = Cluster(api_server)
    cluster.install()
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    with start(api_server, tmp_path, "one") as one:
        until(lambda: holder(cluster).startswith("one_"), "the first leads")
        with start(api_server, tmp_path, "two"):
            time.sleep(3)
            assert holder(cluster).startswith("one_")
            assert one.stop() == 0
            until(lambda: holder(cluster).startswith("two_"), "the second leads")
            lease = cluster.get("lease", "redisqueue-operator", NAMESPACE)
            assert lease is not None
            assert lease["spec"]["leaseTransitions"] == 1


def test_a_short_stall_of_the_api_server_is_survived_and_a_long_one_ends_the_reign(
    api_server: ApiServer, tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    cluster = Cluster(api_server)
    cluster.install()
    rq = {
        "apiVersion": "redisqueue.dev/v1alpha1",
        "kind": "RedisQueue",
        "metadata": {"name": "stalled", "namespace": "default"},
        "spec": {"redis": {"url": redis_url}, "worker": {"handler": "app:handle"}},
    }
    # Four seconds are far less than it may go without a renewal, also where the machine stalls, too.
    flags = ("--namespace=default", "--lease-seconds=30")
    with OperatorProcess(api_server, tmp_path / "log", *flags) as operator:
        cluster.apply(rq)
        until(lambda: cluster.condition("stalled", "RedisReachable").get("status") == "True", "sampled")
        with api_server.stalled():
            redis_client.lpush(QueueKeys("stalled").pending, "one")
            time.sleep(4)
        until(lambda: cluster.replicas("stalled") == 1, "a worker after the stall")
        assert not operator.ended

        with api_server.stalled():
            until(lambda: operator.ended, "it gives up before anybody else may lead")
        assert operator.process is not None
        assert operator.process.returncode == 1
    cluster.run("delete", "rq", "stalled")
