"""A Redis that cannot be read, for each reason there is: workers stay, people are told why, and it goes on.

With LONG=1 it stays away for a minute each time.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis
from tests.support.certificates import make_certificates
from tests.support.fault_proxy import Answer, FaultProxy, nothing
from tests.support.operator_process import Cluster, OperatorProcess, until
from tests.support.redisqueue_cases import redis_queue
from tests.support.required import required
from tests.support.server_binaries import Missing
from tests.support.servers import SERVERS

from redis_message_queue.keys import QueueKeys
from redisqueue_worker.embedded_redis import EmbeddedRedis, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.api_server import ApiServer

LONG = bool(os.environ.get("LONG"))
AWAY_SECONDS = 60 if LONG else 2
NAMESPACE, HASTY = "redis-away", "redis-hasty"
# How long a login is taken for today's where nothing is refused: a minute, if not told otherwise.
ROUTINE = """
import redisqueue_operator.observe.redis.reading as reading
import redisqueue_operator.observe.references as references
reading.SETTINGS_SECONDS = references.FRESH_SECONDS = {}
"""
HASTE = ROUTINE.format(8.0)
# Whoever reads a Secret again has an occasion to.
NEVER = ROUTINE.format(3600.0)
NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def cluster(api_server: ApiServer) -> Cluster:
    cluster = Cluster(api_server)
    cluster.install()
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    return cluster


@pytest.fixture(scope="module", autouse=True)
def operator(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    with serving(NAMESPACE, cluster, tmp_path_factory.mktemp("operator"), before=NEVER) as process:
        yield process


def serving(namespace: str, cluster: Cluster, folder: Path, before: str = "") -> OperatorProcess:
    flags = (f"--namespace={namespace}", f"--watch-namespaces={namespace}")
    return OperatorProcess(cluster.server, folder / "log", *flags, before=before)


class Served:
    """A RedisQueue with two workers while its queue is empty."""

    def __init__(self, cluster: Cluster, url: str, namespace: str = NAMESPACE, **of_redis: Any) -> None:
        self.cluster, self.namespace, self.name = cluster, namespace, f"jobs-{next(NUMBERS)}"
        down = {"idleSeconds": 0, "stabilizationSeconds": 0, "minRunSeconds": 0}
        scaling = {"minReplicas": 2, "maxReplicas": 9, "backlogPerSlot": 1, "scaleDown": down}
        queue = redis_queue(self.name, redis={"url": url, **of_redis}, scaling=scaling)
        queue["metadata"]["namespace"] = namespace
        cluster.apply(queue)

    def until_read(self) -> None:
        until(lambda: self.condition.get("status") == "True", "Redis is read")

    @property
    def condition(self) -> dict[str, Any]:
        return self.cluster.condition(self.name, "RedisReachable", self.namespace)

    @property
    def replicas(self) -> int | None:
        return self.cluster.replicas(self.name, self.namespace)

    @property
    def decided(self) -> int | None:
        """The number of workers that the status says was decided last."""
        return self.cluster.decision(self.name, self.namespace).get("to")

    def holds(self, reason: str) -> None:
        """It says why it cannot read Redis, and leaves the workers alone for as long as that lasts."""
        until(lambda: self.condition.get("reason") == reason, f"{reason}; it says {self.condition}")
        assert self.condition["status"] == "False"
        self.cluster.run("scale", "deployment", f"{self.name}-worker", "--replicas=3", "-n", self.namespace)
        ends_at = time.monotonic() + AWAY_SECONDS
        while time.monotonic() < ends_at:
            assert self.replicas == 3, "unknown was taken for empty"
            time.sleep(0.3)

    def goes_on(self, client: redis.Redis) -> None:
        """Redis is read again, and followed."""
        self.until_read()
        client.lpush(QueueKeys(self.name).pending, *(f"m{number}" for number in range(5)))
        until(lambda: self.replicas == 5, "5 workers")
        self.delete()

    def delete(self) -> None:
        self.cluster.run("delete", "rq", self.name, "-n", self.namespace)


@pytest.fixture
def server() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis() as started:
        yield started


@pytest.fixture
def client(server: EmbeddedRedis) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as connected:
        yield connected


def refuse(server: EmbeddedRedis, client: redis.Redis) -> Callable[[], object]:
    server.stop(kill=True)
    return server.start


def stop_answering(server: EmbeddedRedis, client: redis.Redis) -> Callable[[], object]:
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    return lambda: server.process and server.process.send_signal(signal.SIGCONT)


def want_a_password(server: EmbeddedRedis, client: redis.Redis) -> Callable[[], object]:
    client.config_set("requirepass", "hunter2")
    client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    return lambda: client.config_set("requirepass", "")


def become_a_replica(server: EmbeddedRedis, client: redis.Redis) -> Callable[[], object]:
    client.execute_command("REPLICAOF", "127.0.0.1", "1")
    return lambda: client.execute_command("REPLICAOF", "NO", "ONE")


@pytest.mark.parametrize(
    ("reason", "happen"),
    [
        ("ConnectionRefused", refuse),
        ("Timeout", stop_answering),
        ("AuthenticationFailed", want_a_password),
        ("ReadOnly", become_a_replica),
    ],
)
def test_workers_stay_while_redis_is_away(
    cluster: Cluster,
    server: EmbeddedRedis,
    client: redis.Redis,
    reason: str,
    happen: Callable[[EmbeddedRedis, redis.Redis], Callable[[], object]],
) -> None:
    jobs = Served(cluster, server.url)
    jobs.until_read()
    until(lambda: jobs.replicas == 2, "two workers")
    end = happen(server, client)
    jobs.holds(reason)
    end()
    jobs.goes_on(client)


def test_workers_stay_while_redis_loads_its_data(
    cluster: Cluster, server: EmbeddedRedis, client: redis.Redis
) -> None:
    with FaultProxy(server.port) as proxy:
        jobs = Served(cluster, proxy.url)
        jobs.until_read()
        until(lambda: jobs.replicas == 2, "two workers")
        proxy.rule = lambda _: Answer(b"-LOADING Redis is loading the dataset in memory\r\n")
        jobs.holds("Loading")
        proxy.rule = nothing
        jobs.goes_on(client)


def secret(name: str, namespace: str = NAMESPACE, **values: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values}


def set_password(client: redis.Redis, *passwords: str) -> None:
    words = (f">{password}" for password in passwords)
    client.execute_command("ACL", "SETUSER", "ann", "reset", "on", *words, "~*", "+@all")


def test_a_new_password_is_taken_up_at_once_where_the_old_one_is_refused(
    cluster: Cluster, server: EmbeddedRedis, client: redis.Redis
) -> None:
    set_password(client, "old")
    cluster.apply(secret("login", user="ann", password="old"))
    login = {"secretRef": {"name": "login", "usernameKey": "user", "passwordKey": "password"}}
    jobs = Served(cluster, server.url, auth=login)
    jobs.until_read()
    until(lambda: jobs.replicas == 2, "two workers")
    set_password(client, "new")
    client.execute_command("CLIENT", "KILL", "USER", "ann")
    jobs.holds("AuthenticationFailed")
    cluster.apply(secret("login", user="ann", password="new"))
    changed_at = time.monotonic()
    jobs.until_read()
    print(f"read again {time.monotonic() - changed_at:.1f} s after the Secret changed")
    jobs.goes_on(client)


def test_a_new_password_is_taken_up_within_a_minute_while_the_old_one_is_good(
    cluster: Cluster, server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HASTY}})
    set_password(client, "old", "new")
    cluster.apply(secret("login", HASTY, user="ann", password="old"))
    login = {"secretRef": {"name": "login", "usernameKey": "user", "passwordKey": "password"}}
    with serving(HASTY, cluster, tmp_path, before="" if LONG else HASTE):
        jobs = Served(cluster, server.url, HASTY, auth=login)
        jobs.until_read()
        since, before = jobs.condition["lastTransitionTime"], logins(client)
        cluster.apply(secret("login", HASTY, user="ann", password="new"))
        anew = lambda: (now := logins(client)) and now.isdisjoint(before)  # noqa: E731
        until(anew, "connections of the new login alone", seconds=75)
        set_password(client, "new")  # whoever still comes with the old one is refused from here on
        client.execute_command("CLIENT", "KILL", "USER", "ann")
        client.lpush(QueueKeys(jobs.name).pending, *(f"m{number}" for number in range(4)))
        until(lambda: jobs.replicas == 4, "4 workers")
        until(lambda: jobs.decided == 4, "a status after that")
        assert (jobs.condition["status"], jobs.condition["lastTransitionTime"]) == ("True", since)
        assert [each for each in client.acl_log() if each["reason"] == "auth"] == [], "a login was refused"
        jobs.delete()


def logins(client: redis.Redis) -> set[str]:
    return {each["id"] for each in client.client_list() if each["user"] == "ann"}


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The URL of a server that speaks TLS, and the certificate of its authority, which nobody else knows."""
    try:
        binary = SERVERS["redis-tls"].find()
    except Missing as missing:
        binary = str(required(None, str(missing)))
    files, port = make_certificates(tmp_path), free_port()
    options = {
        "tls-port": str(port),
        "tls-auth-clients": "no",
        "tls-ca-cert-file": str(files.authority),
        "tls-cert-file": str(files.server),
        "tls-key-file": str(files.server_key),
    }
    arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
    with EmbeddedRedis(binary=binary, arguments=arguments):
        yield f"rediss://localhost:{port}/0", files.authority.read_text()


def test_another_authority_is_taken_up_at_once_where_the_known_one_is_wrong(
    cluster: Cluster, tls: tuple[str, str], tmp_path: Path
) -> None:
    url, authority = tls
    (tmp_path / "other").mkdir()
    cluster.apply(secret("ca", pem=make_certificates(tmp_path / "other").authority.read_text()))
    jobs = Served(cluster, url, tls={"caFrom": {"secretKeyRef": {"name": "ca", "key": "pem"}}})
    jobs.holds("TLSFailed")
    cluster.apply(secret("ca", pem=authority))
    jobs.until_read()
    jobs.delete()
