"""Bounds by the time of day on a real API server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.operator_process import Cluster, OperatorProcess, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.api_server import ApiServer


@pytest.fixture(scope="module")
def cluster(api_server: ApiServer) -> Cluster:
    cluster = Cluster(api_server)
    cluster.install()
    return cluster


def _scheduled(name: str, redis_url: str, **window: Any) -> dict[str, Any]:
    spec = {
        "redis": {"url": redis_url},
        "worker": {"handler": "app:handle"},
        "scaling": {"schedules": [window]},
    }
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "redisqueue.dev/v1alpha1", "kind": "RedisQueue", "metadata": metadata, "spec": spec}


def _cron(moment: datetime) -> str:
    """That second, once a year."""
    return f"{moment.second} {moment.minute} {moment.hour} {moment.day} {moment.month} *"


def test_the_second_in_which_a_window_opens_changes_the_number_of_workers(
    cluster: Cluster, redis_url: str, tmp_path: Path
) -> None:
    opens = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=8)
    name = f"hours-{opens:%H%M%S}"
    window = {"start": _cron(opens), "end": _cron(opens + timedelta(days=3)), "minReplicas": 2}
    cluster.apply(
        _scheduled(name, redis_url, **window),
        _scheduled("no-such-day", redis_url, start="0 8 30 2 *", end="0 18 * * *", minReplicas=1),
    )
    with OperatorProcess(cluster.server, tmp_path / "log") as operator:
        until(lambda: cluster.status(name).get("schedule"), "what holds is told")
        until(lambda: cluster.replicas(name) == 2, "the workers of the window")
        in_force = f"{window['start']} to {window['end']} UTC"
        until(lambda: cluster.status(name)["schedule"]["inForce"] == in_force, "the window is told")
        until(lambda: cluster.decision(name).get("schedule") == in_force, "the decision names it")
        until(lambda: in_force in str(cluster.events(name)), "an Event names it")
        operator.explains(name, f"by schedule: {in_force}")
        operator.shows(f'redisqueue_workers_min{{name="{name}",namespace="default"}} 2.0')
        wide = cluster.run("get", "rq", name, "-o", "wide")
        assert "NEXT CHANGE" in wide
        assert (opens + timedelta(days=3)).strftime("%Y-%m-%dT%H:%M:%SZ") in wide
        until(lambda: cluster.condition("no-such-day", "Ready").get("reason") == "InvalidSpec", "refused")
        assert "change the day of the month" in cluster.condition("no-such-day", "Ready")["message"]
