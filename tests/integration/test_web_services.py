"""The services of `apps/` behind the servers that run them, with a worker beside them: FastAPI, Flask."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import httpx
from tests.support.apps import copy_of
from tests.support.programs import paused, running
from tests.support.waiting import PATIENCE_SECONDS, eventually

from redisqueue_worker.embedded_redis import EmbeddedRedis, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    import redis

WAITING = 110


class Service:
    """A folder of `apps/`, its programs, and a client of what it serves."""

    def __init__(self, app: str, folder: Path, redis_url: str) -> None:
        self.folder = copy_of(app, folder)
        self.queue, self.redis_url, self.port = app, redis_url, free_port()
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            timeout=PATIENCE_SECONDS * 2,
            limits=httpx.Limits(max_connections=None),
        )
        self.environment = {
            **os.environ,
            "REDIS_URL": redis_url,
            "REDISQUEUE_RUN_DIR": str(folder / "run"),
            "EXPORTS_FOLDER": str(folder / "files"),
        }

    def running(self, *words: str) -> AbstractContextManager[None]:
        """A module of Python as a program."""
        command = (sys.executable, "-m", *words)
        log = self.folder / f"{words[0]}.log"
        return running(*command, folder=self.folder, environment=self.environment, log=log)

    @contextmanager
    def served(self, *words: str) -> Iterator[httpx.Client]:
        """The server; it answers."""
        with self.running(*words), self.client:
            eventually(self.answers, "the server answers")
            yield self.client

    def answers(self) -> bool:
        with suppress(httpx.TransportError):
            return self.client.get("/healthz").status_code == 200
        return False

    @contextmanager
    def worked_on(self, handler: str, *options: str) -> Iterator[None]:
        """A worker."""
        place = ("--queue", self.queue, "--redis-url", self.redis_url, "--http-port", "0")
        keep = ("--results-ttl-seconds", "600")
        with self.running("redisqueue_worker.cli", "run", handler, *place, *keep, *options):
            yield


# ---- FastAPI, asyncio ----


@contextmanager
def reports(folder: Path, redis_url: str) -> Iterator[tuple[Service, httpx.Client]]:
    service = Service("reports", folder, redis_url)
    with service.served("uvicorn", "service:app", "--port", str(service.port)) as client:
        yield service, client


def test_a_report_is_asked_for_waited_for_and_fetched(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    january = {"customer": "ada", "month": "2030-01-01"}
    with reports(tmp_path, redis_url) as (service, client), ThreadPoolExecutor(WAITING) as pool:
        asked = client.post("/reports", json=january)
        assert asked.status_code == 202
        place = asked.headers["Location"]
        assert client.post("/reports", json=january).json() == asked.json(), "the same report"
        waiting = client.get(place)
        assert (waiting.status_code, waiting.json()) == (202, {"state": "pending", "before": 0})
        answers = [pool.submit(client.get, place, params={"wait": 60}) for _ in range(WAITING)]
        eventually(
            lambda: redis_client.info("clients")["blocked_clients"] >= WAITING, "more wait than a pool has"
        )
        never = client.post("/reports", json={**january, "month": "2031-07-01"}).headers["Location"]
        unwanted = client.post("/reports", json={**january, "month": "2030-02-01"}).headers["Location"]
        assert client.delete(unwanted).json() == {"state": "removed"}
        assert client.get(unwanted, params={"wait": 60}).status_code == 422
        with service.worked_on("work:make"):
            for answer in answers:
                assert answer.result().json() == {
                    "state": "completed",
                    "report": {"month": "2030-01-01", "sales": 2, "total": 15},
                }
            refused = client.get(never, params={"wait": 60})
        assert (refused.status_code, refused.json()) == (422, {"detail": "there are no sales of July 2031"})
        assert client.get("/reports/nobody").status_code == 404
        assert client.post("/reports", json={"customer": "ada", "month": "soon"}).status_code == 422


def sees_redis_away(client: httpx.Client, ask: str, question: dict[str, str], fetch: str) -> None:
    with ThreadPoolExecutor() as pool:
        asked, got = pool.submit(client.post, ask, json=question), pool.submit(client.get, fetch)
    for answer in (asked.result(), got.result()):
        assert answer.status_code == 503, answer.text
        assert answer.headers["Retry-After"] == "5"
    assert client.get("/healthz").status_code == 200


def test_without_redis_a_service_says_so_lives_on_and_recovers(tmp_path: Path) -> None:
    server = EmbeddedRedis()  # not started yet
    january = {"customer": "ada", "month": "2030-01-01"}
    with reports(tmp_path, server.url) as (service, client):
        sees_redis_away(client, "/reports", january, "/reports/any")
        with server, service.worked_on("work:make"):
            asked = client.post("/reports", json=january)
            assert asked.status_code == 202
            done = client.get(asked.headers["Location"], params={"wait": 60})
            assert done.json()["state"] == "completed"
            with paused(server):
                sees_redis_away(client, "/reports", january, "/reports/any")


# ---- Flask, sync, forked workers that preload ----


@contextmanager
def exports(tmp_path: Path, redis_url: str) -> Iterator[tuple[Service, httpx.Client]]:
    service = Service("exports", tmp_path, redis_url)
    options = ("--preload", "--workers", "2", "--bind", f"127.0.0.1:{service.port}", "service:app")
    with service.served("gunicorn", *options) as client:
        yield service, client


def export(client: httpx.Client, tenant: str, name: str) -> str:
    asked = client.post(f"/tenants/{tenant}/exports", json={"name": name})
    assert asked.status_code == 202, asked.text
    return str(asked.headers["Location"])


def test_the_sync_service_says_that_redis_is_away_and_recovers(tmp_path: Path) -> None:
    server = EmbeddedRedis()  # not started yet
    with exports(tmp_path, server.url) as (service, client):
        ask, question = "/tenants/small/exports", {"name": "all"}
        sees_redis_away(client, ask, question, "/exports/any")
        with server, service.worked_on("work:write"):
            with paused(server):
                sees_redis_away(client, ask, question, "/exports/any")
            place = export(client, "small", "all")
            assert export(client, "small", "all") == place
            assert eventually(lambda: fetched(client, place), "it is done")["file"] == "small/all.csv"
            assert client.get("/exports/nobody").status_code == 404


def test_no_tenant_takes_all_slots(tmp_path: Path, redis_url: str) -> None:
    with exports(tmp_path, redis_url) as (service, client):
        (large := tmp_path / "files" / "large").mkdir(parents=True)
        names = [str(number) for number in range(4)]
        for name in names:
            os.mkfifo(large / f"{name}.csv")  # whoever writes it is held up until it is read
        places = [export(client, "large", name) for name in names]
        with service.worked_on("work:write", "--concurrency", "3", "--key-max-in-flight", "2"):
            for number in range(3):  # each time the others might take its slot
                small = export(client, "small", f"{number}")
                done = eventually(lambda small=small: fetched(client, small), "the small one is done")
                assert done == {"state": "completed", "file": f"small/{number}.csv", "reason": ""}
            assert not any(fetched(client, place) for place in places)
            with ThreadPoolExecutor() as pool:
                texts = pool.map(lambda name: (large / f"{name}.csv").read_text(), names)
                assert {*texts} == {"id,name\n"}
            for place in places:
                eventually(lambda place=place: fetched(client, place), f"{place} is done")


def fetched(client: httpx.Client, place: str) -> dict[str, str]:
    """The answer, once there is one; empty before."""
    answer = client.get(place)
    assert answer.status_code in (200, 202), answer.text
    return dict(answer.json()) if answer.status_code == 200 else {}
