"""What a fleet costs, in counts: writes to the API server, connections to Redis, modules in memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.support.operator_process import Cluster, OperatorProcess, until
from tests.support.redisqueue_cases import redis_queue
from tests.support.waiting import quiet

from redis_message_queue.keys import QueueKeys
from redisqueue_operator.observe.redis.sampler import MOST_SLEEPERS
from redisqueue_operator.observe.redis.settings import CLIENT_NAME

if TYPE_CHECKING:
    from pathlib import Path

    import redis
    from tests.support.api_server import ApiServer

NAMESPACE = "costs"
NAMES = [f"costs-{number}" for number in range(MOST_SLEEPERS + 16)]

# At its end, the operator says whether it had the Kubernetes client in memory.
TELLS_OF_THE_CLIENT = """
import atexit
tell = lambda: print("client:", "there" if "kubernetes" in sys.modules else "absent", file=sys.stderr)
atexit.register(tell)
"""


def states(cluster: Cluster) -> set[str]:
    listed = cluster.list("rq", NAMESPACE)
    return {(each.get("status") or {}).get("state", "") for each in listed}


def test_in_counts(api_server: ApiServer, tmp_path: Path, redis_url: str, redis_client: redis.Redis) -> None:
    cluster = Cluster(api_server)
    cluster.install()
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    items = []
    for name in NAMES:
        item = redis_queue(name, redis={"url": redis_url})
        item["metadata"]["namespace"] = NAMESPACE
        item["spec"]["scaling"] = {"maxReplicas": 20, "backlogPerSlot": 5}
        items.append(item)
    flags = (f"--namespace={NAMESPACE}", f"--watch-namespaces={NAMESPACE}")
    with OperatorProcess(api_server, tmp_path / "log", *flags, before=TELLS_OF_THE_CLIENT):
        kinds = ("deployments", "poddisruptionbudgets")
        made = {kind: cluster.writes_to(kind) + len(NAMES) for kind in kinds}
        cluster.run(
            "create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        )
        until(lambda: states(cluster) == {"Idle"}, "all are idle", seconds=90)
        quiet(cluster.writes, "no write of an idle fleet", 4)
        counted = lambda: {kind: cluster.writes_to(kind) for kind in kinds}  # noqa: E731
        until(lambda: all(counted()[kind] >= made[kind] for kind in kinds), "all writes are counted")
        assert counted() == made, "each is made in one write"
        mine = lambda: sum(one["name"] == CLIENT_NAME for one in redis_client.client_list())  # noqa: E731
        until(lambda: mine() <= 3, "for samples, for what is asked seldom, and one for all that sleep")

        scaled = cluster.scale_writes()
        woken = NAMES[:: len(NAMES) // 10]  # more than there ever are sleepers of
        for name in woken:
            redis_client.lpush(QueueKeys(name).pending, *(f"message {number}" for number in range(100)))
        for name in woken:
            until(lambda name=name: cluster.replicas(name, NAMESPACE) == 20, f"20 workers for {name}")
        until(lambda: cluster.scale_writes() >= scaled + len(woken), "all writes are counted")
        assert cluster.scale_writes() == scaled + len(woken), "from 0 to 20 in one write"
    assert "client: absent" in (tmp_path / "log").read_text()
    cluster.run("delete", "rq", "--all", "-n", NAMESPACE)
