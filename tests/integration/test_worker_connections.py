"""Logins and servers change under a running worker: no restart, no message lost, none handled twice."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import redis
from tests.support import server_binaries as binaries
from tests.support.resharding import move_slot
from tests.support.servers import MASTER, QUEUE, QUICK_MS, cluster, sentinel_pair
from tests.support.worker_process import KEYS, WorkerProcess, eventually, publish

from redis_message_queue import envelope
from redis_message_queue.keys import QueueKeys
from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(120)
TAGGED = QueueKeys(QUEUE)


class Login:
    """A user, and the files that a worker reads its name and password from, as kubelet writes them."""

    def __init__(self, folder: Path, client: redis.Redis) -> None:
        self.client = client
        self.name, self.password = folder / "username", folder / "password"
        replace(self.name, "ann")

    def valid(self, *passwords: str) -> None:
        """These passwords are good from now on, and no connection of the user is left."""
        words = (f">{each}" for each in passwords)
        self.client.execute_command("ACL", "SETUSER", "ann", "reset", "on", *words, "~*", "+@all")
        self.client.execute_command("CLIENT", "KILL", "USER", "ann")

    def mounted(self, password: str) -> None:
        """The file has this password, and no login with the one before it is under way."""
        replace(self.password, password + "\n")
        eventually(lambda: self._strangers() == 0, "who has connected is logged in")

    def _strangers(self) -> int:
        """How many have connected and are not logged in yet: they may have read the file before."""
        own = self.client.client_id()
        others: Any = self.client.client_list()
        return sum(each["user"] != "ann" for each in others if int(each["id"]) != own)

    def refusals(self) -> int:
        """Failed logins since the server's start."""
        return sum(int(each["count"]) for each in self.client.acl_log() if each["reason"] == "auth")


def replace(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)


@pytest.fixture
def login(tmp_path: Path) -> Iterator[Login]:
    with EmbeddedRedis() as server, redis.Redis.from_url(server.url) as client:
        yield Login(tmp_path, client)


def worker_of(login: Login, folder: Path) -> WorkerProcess:
    port = login.client.connection_pool.connection_kwargs["port"]
    files = {"redis_username_file": login.name, "redis_password_file": login.password}
    return WorkerProcess(folder, f"redis://127.0.0.1:{port}/0", "record", concurrency=2, **files)


def test_a_new_password_is_used_from_the_next_connection_on(login: Login, tmp_path: Path) -> None:
    login.valid("old", "new")
    login.mounted("old")
    with worker_of(login, tmp_path) as worker:
        publish(login.client, "one")
        worker.until_noted("started", 1)
        login.mounted("new")
        login.valid("new")
        publish(login.client, "two")
        worker.until_noted("started", 2)
        assert login.refusals() == 0, "the old password was tried"
        assert worker.running


def test_a_worker_that_is_refused_waits_for_another_password(login: Login, tmp_path: Path) -> None:
    login.valid("old")
    login.mounted("old")
    with worker_of(login, tmp_path) as worker:
        publish(login.client, "one")
        worker.until_noted("started", 1)
        login.valid("new")
        publish(login.client, "two")
        eventually(lambda: login.refusals() >= 1, "a refusal")
        assert worker.running
        login.mounted("new")
        worker.until_noted("started", 2)
        assert worker.running
        assert Counter(worker.noted("started")) == {"one": 1, "two": 1}


def test_a_failover_of_sentinel_is_followed(tmp_path: Path) -> None:
    with sentinel_pair(binaries.valkey, patience_ms=QUICK_MS) as (master, replica, (host, port)):
        settings = {
            "redis_mode": "Sentinel",
            "sentinel_master": MASTER,
            "sentinel_addresses": f"{host}:{port}",
            "visibility_timeout_seconds": 3,
        }
        with WorkerProcess(tmp_path, "", "record", **settings) as worker:
            with redis.Redis.from_url(master.url) as client:
                publish(client, "one")
            worker.until_noted("started", 1)
            master.stop(kill=True)
            with redis.Redis.from_url(replica.url) as client:
                eventually(lambda: leads(client), "the replica leads")
                publish(client, "two")
                worker.until_noted("started", 2)
                eventually(lambda: not client.exists(KEYS.pending, KEYS.processing), "all is done")
            assert worker.running


def leads(client: redis.Redis) -> bool:
    with contextlib.suppress(redis.ConnectionError):  # a promotion ends connections
        return bool(client.role()[0] == b"master")
    return False


def test_a_slot_moves_while_its_queue_is_worked_on(tmp_path: Path) -> None:
    with cluster(binaries.valkey) as server:
        url = server.url.partition("?")[0].removesuffix("/0")
        settings = {
            "redis_mode": "Cluster",
            "queue": QUEUE,
            "concurrency": 4,
            "visibility_timeout_seconds": 30,
        }
        with WorkerProcess(tmp_path, url, "record", **settings) as worker:
            client, ended = server.blocking(), threading.Event()
            published: list[str] = []
            producer = threading.Thread(target=produce, args=(server.blocking(), published, ended))
            producer.start()
            try:
                worker.until_noted("started", 20)
                move_slot(client)
                move_slot(client)
                reached = len(worker.noted("started"))
                worker.until_noted("started", reached + 20)
            finally:
                ended.set()
                producer.join()
            eventually(lambda: not client.exists(TAGGED.pending, TAGGED.processing), "all is done")
            assert Counter(worker.noted("started")) == Counter(published)
            assert worker.running


def produce(client: Any, published: list[str], ended: threading.Event) -> None:
    """One message after the other, each once: the name is its number."""
    while not ended.is_set():
        name = f"m{len(published)}"
        client.lpush(TAGGED.pending, envelope.encode(name))
        published.append(name)
        time.sleep(0.01)


def test_a_url_that_allows_too_few_connections_is_named_at_start(tmp_path: Path, redis_url: str) -> None:
    worker = WorkerProcess(tmp_path, f"{redis_url}?max_connections=7", "record", concurrency=40)
    said, _ = (check := worker.command("check")).communicate(timeout=60)
    assert check.returncode == 0
    assert "redis    warning: REDISQUEUE_REDIS_URL (--redis-url): max_connections=7 is too few for 40" in said
    with worker:
        assert "give 42 or more" in worker.logged("the client is too small")["reason"]


def test_a_url_that_allows_enough_is_not(tmp_path: Path, redis_url: str) -> None:
    worker = WorkerProcess(tmp_path, f"{redis_url}?max_connections=42", "record", concurrency=40)
    with worker:
        assert "the client is too small" not in worker.messages()
