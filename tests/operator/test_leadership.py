"""Several operators, one leader: handover, takeover, and what a lost Lease does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.support.operator_process import Cluster, OperatorProcess, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.api_server import ApiServer

NAMESPACE = "leading"


def holder(cluster: Cluster) -> str:
    lease = cluster.get("lease", "redisqueue-operator", NAMESPACE) or {}
    return str((lease.get("spec") or {}).get("holderIdentity") or "")


def start(server: ApiServer, folder: Path, name: str) -> OperatorProcess:
    return OperatorProcess(server, folder / name, f"--namespace={NAMESPACE}", f"--pod-name={name}")


def test_one_leads_and_a_leaving_leader_hands_over_at_once(api_server: ApiServer, tmp_path: Path) -> None:
    cluster = Cluster(api_server)
    cluster.install()
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    with start(api_server, tmp_path, "one") as one:
        until(lambda: holder(cluster).startswith("one_"), "the first leads")
        with start(api_server, tmp_path, "two"):
            time.sleep(3)  # longer than a standby waits between two tries
            assert holder(cluster).startswith("one_")
            left = time.monotonic()
            assert one.stop() == 0
            until(lambda: holder(cluster).startswith("two_"), "the second leads")
            assert time.monotonic() - left < 6
            lease = cluster.get("lease", "redisqueue-operator", NAMESPACE)
            assert lease is not None
            assert lease["spec"]["leaseTransitions"] == 1
