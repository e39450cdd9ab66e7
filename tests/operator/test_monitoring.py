"""A real Prometheus scrapes a real operator and worker; a minute of the chart's rules is a second."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
import yaml
from tests.support.operator_process import Cluster, OperatorProcess, until
from tests.support.prometheus import MONITORING, Prometheus, documented, exposed, promtool
from tests.support.promql import asked
from tests.support.queues import publish
from tests.support.readmes import blocks
from tests.support.redisqueue_cases import budget, redis_queue, schedule
from tests.support.worker_process import KEYS, QUEUE, WorkerProcess

from redis_message_queue.keys import QueueKeys
from redisqueue_worker.embedded_redis import EmbeddedRedis, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.api_server import ApiServer

IDLE = "idle"
PAGE = Path("operator/docs/monitoring.md")
# What has no series while nothing drains, and the backlog does not shrink.
EMPTY = {"Empty in", "Age and time to go", "Drains"}


class Scene:
    """Everything that runs; `server` is the Redis of both RedisQueues."""

    def __init__(
        self, server: EmbeddedRedis, operator: OperatorProcess, worker: WorkerProcess, prometheus: Prometheus
    ) -> None:
        self.server, self.operator, self.worker, self.prometheus = server, operator, worker, prometheus

    def fires(self, *alerts: str) -> None:
        """Wait until all of these fire."""
        until(lambda: set(alerts) <= self.prometheus.firing(), f"{alerts} fire")

    def is_quiet(self, *alerts: str) -> None:
        """Wait until none of these fires."""
        until(lambda: not set(alerts) & self.prometheus.firing(), f"none of {alerts} fires")


def quick_rules(folder: Path) -> Path:
    """The chart's rules with a second for each minute, and a minute for each hour."""
    text = (MONITORING / "alerts.yaml").read_text()
    text = re.sub(r"(for: |\[|offset )(\d+)m\b", r"\1\2s", text)
    text = re.sub(r"(\[|offset )(\d+)h\b", r"\1\2m", text)
    file = folder / "alerts.yaml"
    file.write_text(text)
    promtool("check", "rules", file)
    return file


def jobs(ports: dict[str, int]) -> list[dict[str, Any]]:
    """Those of the page, with what Kubernetes would tell of the pods."""
    (text,) = [block.text for block in blocks(PAGE) if "scrape_configs" in block.text]
    found: list[dict[str, Any]] = yaml.safe_load(text)["scrape_configs"]
    told = {
        "redisqueue-operator": {
            "namespace": "system",
            "pod_label_app_kubernetes_io_name": "redis-queue-operator",
        },
        "redisqueue-workers": {
            "namespace": "default",
            "pod_label_app_kubernetes_io_name": "redisqueue-worker",
            "pod_label_redisqueue_dev_queue": QUEUE,
        },
    }
    for job in found:
        assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]
        labels = {**told[job["job_name"]], "pod_container_port_name": "http", "pod_name": job["job_name"]}
        target = {"targets": [f"127.0.0.1:{ports[job['job_name']]}"]}
        target["labels"] = {f"__meta_kubernetes_{name}": value for name, value in labels.items()}
        job["static_configs"] = [target]
    return found


@pytest.fixture(scope="module")
def scene(api_server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Two RedisQueues, of which one has a worker."""
    folder = tmp_path_factory.mktemp("monitoring")
    cluster = Cluster(api_server)
    cluster.install()
    port = free_port()
    with (
        # On disk: it keeps what it has while it is away.
        EmbeddedRedis(arguments=("--appendonly", "yes")) as server,
        OperatorProcess(cluster.server, folder / "operator.log") as operator,
        WorkerProcess(folder, server.url, "outcome", max_attempts=1, http_port=port) as worker,
    ):
        for name in (QUEUE, IDLE):
            cluster.apply(redis_queue(name, redis={"url": server.url}, scaling={"minReplicas": 1}))
        cluster.apply(budget(maxReplicas=50))
        beat = {"redis": {"url": server.url}, "queue": {"name": "beats"}, "queueRef": None}
        cluster.apply(schedule(schedule="* * * * * *", **beat))
        ports = {"redisqueue-operator": operator.port, "redisqueue-workers": port}
        with Prometheus(folder, [quick_rules(folder)], jobs(ports)) as prometheus:
            until(lambda: len(prometheus.query("redisqueue_queue_pending")) == 2, "both queues are scraped")
            until(lambda: prometheus.query("redisqueue_worker_slots"), "the worker is scraped")
            yield Scene(server, operator, worker, prometheus)


def test_alerts_fire_on_purpose_and_resolve(scene: Scene) -> None:
    given_up, waiting, away = (
        "RedisQueueDeadLettersGrowing",
        "RedisQueueBacklogWithoutWorkers",
        "RedisQueueRedisUnreachable",
    )
    assert not {given_up, waiting, away} & scene.prometheus.firing()
    with redis.Redis.from_url(scene.server.url) as client:
        publish(client, QueueKeys(IDLE), "nobody handles it")
        scene.fires(waiting)

        def given_up_again() -> bool:  # a growth between two scrapes that are far apart is in no window
            publish(client, KEYS, "dead")
            return given_up in scene.prometheus.firing()

        until(given_up_again, f"{given_up} fires")
        client.delete(QueueKeys(IDLE).pending)
    scene.is_quiet(waiting)
    scene.server.stop()
    scene.fires(away)
    scene.server.start()
    scene.is_quiet(given_up, waiting, away)


def test_every_metric_that_is_told_is_documented_and_the_other_way_round(scene: Scene) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{scene.worker.settings['http_port']}/metrics") as answer:
        pages = {"operator": scene.operator.read("/metrics"), "worker": answer.read().decode()}
    for side, page in pages.items():
        assert sorted(exposed(page)) == sorted(documented(side))
        assert "_created" not in page
        assert promtool("check", "metrics", stdin=page) == ""


def test_both_sides_have_the_labels_of_the_redis_queue(scene: Scene) -> None:
    by = "by (namespace, name)"
    asked_for = f"sum {by} (redisqueue_worker_slots) and max {by} (redisqueue_queue_pending)"
    assert [each["metric"] for each in scene.prometheus.query(asked_for)] == [
        {"namespace": "default", "name": QUEUE}
    ]
    (leader,) = scene.prometheus.query("redisqueue_operator_leader")
    assert (leader["metric"]["namespace"], leader["metric"]["pod"]) == ("system", "redisqueue-operator")


@pytest.mark.parametrize("board", ["fleet", "queue"])
def test_each_panel_of_a_dashboard_has_something_to_show(scene: Scene, board: str) -> None:
    publish_one = f"good for {board}"
    with redis.Redis.from_url(scene.server.url) as client:
        publish(client, KEYS, publish_one)

    def empty() -> set[str]:
        questions = asked(board, {"$namespace": "default", "$name": QUEUE, "$__rate_interval": "1m"})
        return {where for where, text in questions.items() if not scene.prometheus.query(text)}

    until(lambda: all(any(known in where for known in EMPTY) for where in empty()), f"only {EMPTY} are empty")
