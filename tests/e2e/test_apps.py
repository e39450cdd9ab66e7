"""The projects of `tests/integration/apps` on a cluster: one image, a RedisQueue each, services in pods."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml
from tests.support.apps import APPS, ASKED_FOR, JOURNAL, SAVED, copy_of, site, without_picture
from tests.support.cluster import provider, wait_until
from tests.support.programs import output_of
from tests.support.story import merged

from redis_message_queue import RedisMessageQueue

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.cluster import Cluster
    from tests.support.story import Story

    from redisqueue_worker.embedded_redis import EmbeddedRedis

NEEDED = ("fastapi", "flask", "gunicorn", "httpx", "uvicorn")
PORT = 8000
READ = """
import json, sqlite3
print(json.dumps(sqlite3.connect("/tmp/archive.db").execute("SELECT * FROM pages").fetchall()))
"""
ONE_WORKER = {"minReplicas": 1, "maxReplicas": 1}


@pytest.fixture(scope="module")
def image(installed: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The worker's, with each of them in a folder of its own below /app, and what they import."""
    folder = tmp_path_factory.mktemp("apps")
    for app in ("archive", "exports", "moving", "reports"):
        copy_of(app, folder)
    return provider("app", "apps", str(folder), *(f"{name}=={version(name)}" for name in NEEDED))


@dataclass
class Deployed:
    """A project on the cluster."""

    app: str
    story: Story
    image: str

    @property
    def queue(self) -> RedisMessageQueue:
        """As a producer beside the cluster has it."""
        return RedisMessageQueue(self.app, client=self.story.client)

    def environment(self, *folders: str, **variables: str) -> list[dict[str, str]]:
        """Of a container that has these folders of the image on its path."""
        path = ":".join(f"/app/{folder}" for folder in (*folders, self.app))
        variables |= {"REDIS_URL": self.story.redis_url, "PYTHONPATH": f"{path}:/app"}
        return [{"name": name, "value": value} for name, value in variables.items()]

    def apply(self, **spec: Any) -> None:
        """Its RedisQueue, with the image."""
        base = {
            "redis": {"url": self.story.redis_url},
            "queue": {"name": self.app},
            "worker": {"image": self.image, "env": self.environment()},
        }
        self.story.cluster.apply(self.story.manifest() | {"spec": merged(base, spec)})

    def has_worker(self) -> None:
        """Wait for one that is ready."""
        wait_until(lambda: self.story.ready_workers() == 1, 120, "a worker is ready")

    def python(self, code: str) -> str:
        """What it prints in the worker's container."""
        worker = f"deployment/{self.story.name}-worker"
        return self.story.cluster.kubectl(
            "-n", self.story.namespace, "exec", worker, "--", "python", "-c", code
        )

    def at_rest(self) -> bool:
        """Nothing is left to do."""
        stats = self.queue.stats()
        return not stats.pending and not stats.processing and not stats.delayed

    @contextmanager
    def served(self, *words: str) -> Iterator[httpx.Client]:
        """Its service in a pod, by a module of Python."""
        name, namespace = f"{self.app}-service", self.story.namespace
        probe = {"httpGet": {"path": "/healthz", "port": PORT}, "periodSeconds": 1}
        container: dict[str, Any] = {
            "name": "service",
            "image": self.image,
            "command": ["python", "-m", *words],
        }
        container |= {"workingDir": f"/app/{self.app}", "env": self.environment(), "readinessProbe": probe}
        pod = {"metadata": {"name": name, "namespace": namespace}, "spec": {"containers": [container]}}
        self.story.cluster.apply({"apiVersion": "v1", "kind": "Pod", **pod})
        try:
            wait = ("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=120s")
            self.story.cluster.kubectl("-n", namespace, *wait)
            with (
                self.story.cluster.forwarded(namespace, f"pod/{name}", PORT) as url,
                httpx.Client(base_url=url, timeout=120) as client,
            ):
                yield client
        finally:
            self.story.cluster.kubectl("-n", namespace, "delete", "pod", name, "--wait=false")


def test_an_archive_of_three_kinds_of_work(
    story: Story, image: str, redis_host: str, redis_on_host: EmbeddedRedis, tmp_path: Path
) -> None:
    archive = Deployed("archive", story, image)
    spec = yaml.safe_load((APPS / "archive" / "queue.yaml").read_text())["spec"]
    worker = {**spec["worker"], "env": archive.environment(ARCHIVE_DATABASE="/tmp/archive.db")}
    archive.apply(queue=spec["queue"], worker=worker, drain=spec["drain"], scaling=ONE_WORKER)
    with site(redis_host) as web:
        add = (sys.executable, "add.py", redis_on_host.url, *(web + path for path in ASKED_FOR))
        said = output_of(*add, folder=copy_of("archive", tmp_path))
        assert said.count("is fetched") == len(ASKED_FOR)
        wait_until(lambda: archive.at_rest() and archive.queue.failed(), 180, "all pages are done with")
    (gone,), (evil,) = archive.queue.dead_letters(), archive.queue.failed()
    assert gone.reason == "HTTP 404"
    assert str(evil.reason).startswith("timeout: ")
    saved = {url: (title, words) for url, title, words in json.loads(archive.python(READ))}
    assert saved == {web + path: found for path, found in SAVED.items()}


def test_a_report_is_made_by_a_worker_that_was_not_there(story: Story, image: str) -> None:
    reports = Deployed("reports", story, image)
    with reports.served("uvicorn", "service:app", "--host", "0.0.0.0", "--port", str(PORT)) as client:
        january = {"customer": "ada", "month": "2030-01-01"}
        asked = client.post("/reports", json=january)
        assert asked.status_code == 202, asked.text
        place = asked.headers["Location"]
        assert client.post("/reports", json=january).json() == asked.json(), "the same report"
        assert client.get(place).json() == {"state": "pending", "before": 0}
        unwanted = client.post("/reports", json={**january, "month": "2030-02-01"}).headers["Location"]
        assert client.delete(unwanted).json() == {"state": "removed"}
        reports.apply(worker={"handler": "work:make", "results": {"ttlSeconds": 600}})
        done = client.get(place, params={"wait": 60})
        assert done.json() == {
            "state": "completed",
            "report": {"month": "2030-01-01", "sales": 2, "total": 15},
        }
        never = client.post("/reports", json={**january, "month": "2031-07-01"}).headers["Location"]
        refused = client.get(never, params={"wait": 60})
        assert (refused.status_code, refused.json()) == (422, {"detail": "there are no sales of July 2031"})


def test_exports_of_one_tenant_hold_up_no_other(story: Story, image: str) -> None:
    exports = Deployed("exports", story, image)
    environment = exports.environment(EXPORTS_FOLDER="/tmp/exports")
    worker = {"handler": "work:write", "concurrency": 3, "results": {"ttlSeconds": 600}, "env": environment}
    queue = {"limits": {"perKey": {"maxInFlight": 2}}}
    exports.apply(worker=worker, queue=queue, scaling=ONE_WORKER)
    names = [str(number) for number in range(4)]
    options = ("--preload", "--workers", "2", "--bind", f"0.0.0.0:{PORT}", "service:app")
    with exports.served("gunicorn", *options) as client:

        def asked(tenant: str, name: str) -> str:
            answer = client.post(f"/tenants/{tenant}/exports", json={"name": name})
            assert answer.status_code == 202, answer.text
            return str(answer.headers["Location"])

        def state(place: str) -> str:
            return str(client.get(place).json()["state"])

        exports.has_worker()
        large = "/tmp/exports/large"  # whoever writes there is held up until it is read
        exports.python(
            f"import os; os.makedirs('{large}'); [os.mkfifo(f'{large}/{{n}}.csv') for n in {names}]"
        )
        places = [asked("large", name) for name in names]
        for name in names:
            small = asked("small", name)
            wait_until(lambda small=small: state(small) == "completed", 60, "the small one is done")
        assert "completed" not in map(state, places)
        exports.python(f"print([open(f'{large}/{{n}}.csv').read() for n in {names}])")
        wait_until(lambda: [*map(state, places)] == ["completed"] * 4, 60, "the large ones are done")


def test_a_shop_that_was_moved_here(
    story: Story, image: str, redis_on_host: EmbeddedRedis, tmp_path: Path
) -> None:
    shop = Deployed("shop", story, image)
    environment = shop.environment("moving", "moving/with_redisqueue", SHOP_JOURNAL="/tmp/journal")
    worker = {"handler": "jobs", "concurrency": 2, "results": {"ttlSeconds": 60}, "env": environment}
    shop.apply(worker=worker, scaling=ONE_WORKER)
    shop.has_worker()
    shop.python("open('/tmp/journal', 'a')")
    folder = copy_of("moving", tmp_path) / "with_redisqueue"
    sent = output_of(sys.executable, "send.py", folder=folder, environment={"REDIS_URL": redis_on_host.url})
    assert sent == "total 7\n"
    wait_until(lambda: shop.at_rest() and shop.queue.failed(), 120, "all jobs are done")
    (letter,) = shop.queue.failed()
    assert letter.reason == "ValueError: order 7 is not paid"
    assert without_picture(shop.python("print(open('/tmp/journal').read(), end='')").splitlines()) == JOURNAL
