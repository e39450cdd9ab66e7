"""A host without a dot is a Service of the RedisQueue's namespace, wherever it is dialled from."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from tests.support.fault_proxy import Answer, FaultProxy, nothing
from tests.support.names import Names
from tests.support.waiting import until

from redis_message_queue.keys import QueueKeys
from redisqueue_operator import api
from redisqueue_operator.cli import main
from redisqueue_operator.errors import SettingsUnavailable
from redisqueue_operator.observe.redis.dial_guard import AllowedHosts
from redisqueue_operator.observe.redis.endpoint import Watched
from redisqueue_operator.observe.redis.errors import classify
from redisqueue_operator.observe.redis.sampler import Sampler
from redisqueue_operator.observe.redis.settings import Connections
from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fault_proxy import Request, Rule

    from redis_message_queue.connection import ConnectionSettings
    from redisqueue_operator.api.model import Key

QUEUE = "{jobs}"
Object = dict[str, Any]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    return Names(monkeypatch)


@pytest.fixture
def other() -> Iterator[EmbeddedRedis]:
    """A second server, at another address."""
    with EmbeddedRedis(arguments=("--bind", "127.0.0.1", "127.0.0.2")) as server:
        yield server


def resource(namespace: str, **redis: Any) -> Object:
    return {
        "apiVersion": "redisqueue.dev/v1alpha1",
        "kind": "RedisQueue",
        "metadata": {"name": "jobs", "namespace": namespace, "uid": namespace},
        "spec": {"redis": redis, "queue": {"name": QUEUE}, "worker": {"handler": "m:f"}},
    }


class Referred:
    """The URL of `redis.urlFrom`."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def secret(self, key: Key, *, fresh: bool = False) -> Object:
        return {
            "metadata": {"name": key.name},
            "data": {"url": base64.b64encode(self._url.encode()).decode()},
        }

    async def config_map(self, key: Key) -> Object | None:
        raise AssertionError(key)


async def settings(obj: Object, *allowed: str, secret: str = "") -> ConnectionSettings:
    found = Connections(Referred(secret), Path(), AllowedHosts(allowed))
    return await found.settings(api.parse(obj))


def sentinel_of(host: str, port: int) -> Rule:
    """A Sentinel that says: the master is there."""
    state = {"name": "main", "ip": host, "port": port, "flags": "master", "num-other-sentinels": 0}
    words = [str(word).encode() for pair in state.items() for word in pair]
    text = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
    head = b"*%d\r\n" % len(words)

    def rule(request: Request) -> Answer | None:
        nonlocal head
        if request[:2] == [b"HELLO", b"3"]:  # what redis-py asks for since version 8: a map
            head = b"%%%d\r\n" % len(state)
        return Answer(b"*1\r\n" + head + text) if request[:2] == [b"SENTINEL", b"MASTERS"] else None

    return rule


def node_of(host: str, port: int) -> Rule:
    """A node of a cluster that says: all slots are there."""
    text = b"$%d\r\n%s\r\n:%d\r\n$4\r\nnode\r\n" % (len(host), host.encode(), port)
    slots = Answer(b"*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n" + text)
    return lambda request: slots if request[:2] == [b"CLUSTER", b"SLOTS"] else None


MODES = {
    "Standalone": lambda _: nothing,
    "Sentinel": lambda port: sentinel_of("master", port),
    "Cluster": lambda port: node_of("master", port),
}


def redis_of(mode: str, port: int) -> Object:
    """`spec.redis`, at the host `redis`."""
    if mode == "Sentinel":
        return {"mode": mode, "sentinel": {"masterName": "main", "addresses": [f"redis:{port}"]}} | {
            "url": "redis://unused"
        }
    return {"mode": mode, "url": f"redis://redis:{port}"}


@pytest.mark.parametrize("mode", MODES)
async def test_what_is_named_and_what_is_announced_is_looked_up_in_the_namespace(
    mode: str, names: Names, redis_server: EmbeddedRedis
) -> None:
    with FaultProxy(redis_server.port, MODES[mode](redis_server.port)) as proxy:
        names.known = {"redis.shop.svc": "127.0.0.1", "master.shop.svc": "127.0.0.1"}
        found = await settings(resource("shop", **redis_of(mode, proxy.port)))
        async with found.connect_async() as client:
            await client.set(QUEUE, "asyncio")
            assert await client.get(QUEUE) == b"asyncio"
        with await asyncio.to_thread(found.connect) as blocking:
            assert await asyncio.to_thread(blocking.get, QUEUE) == b"asyncio"
            await asyncio.to_thread(blocking.delete, QUEUE)
    assert names.asked <= set(names.known)
    assert (mode != "Standalone") == ("master.shop.svc" in names.asked)


@pytest.mark.parametrize("mode", MODES)
async def test_the_full_name_is_what_the_allowed_hosts_name(
    mode: str, names: Names, redis_server: EmbeddedRedis
) -> None:
    names.known = {"redis.shop.svc": "127.0.0.1", "master.shop.svc": "127.0.0.1", "redis": "127.0.0.1"}
    with FaultProxy(redis_server.port, MODES[mode](redis_server.port)) as proxy:
        obj = resource("shop", **redis_of(mode, proxy.port))
        for pattern in ("redis", "master", "*.other.svc"):
            with pytest.raises(SettingsUnavailable, match=r"'redis\.shop\.svc'"):
                await settings(obj, pattern)
        found = await settings(obj, "redis.shop.svc")
        async with AllowedHosts(["*.shop.svc"]).connect(found) as client:
            assert await client.exists(QUEUE) == 0
        if mode == "Standalone":
            return
        client = AllowedHosts(["redis.shop.svc", "master"]).connect(found)
        with pytest.raises(redis.RedisError) as refused:
            await client.exists(QUEUE)
        assert classify(refused.value)[0] == "HostNotAllowed"
        await client.aclose()


@pytest.mark.parametrize("secret", [False, True], ids=["url", "secret"])
async def test_one_url_in_two_namespaces_is_two_servers(
    secret: bool, names: Names, redis_server: EmbeddedRedis, redis_client: redis.Redis, other: EmbeddedRedis
) -> None:
    with FaultProxy(redis_server.port) as proxy:
        names.known = {"redis": "127.0.0.2", "redis.ours.svc": "127.0.0.2", "redis.shop.svc": "127.0.0.1"}
        ours, theirs = other.port, proxy.port
        sampler: Sampler[str] = Sampler(lambda _: None)
        redis_client.lpush(QueueKeys(QUEUE).pending, "m")
        for namespace, port in (("ours", ours), ("shop", theirs)):
            url = f"redis://:word@redis:{port}" if secret else f"redis://redis:{port}"
            place = {"urlFrom": {"secretKeyRef": {"name": "url"}}} if secret else {"url": url}
            found = await settings(resource(namespace, **place), secret=url.replace(":word@", ""))
            sampler.watch(namespace, Watched(QueueKeys(QUEUE), found, wake=False))

        def pending(namespace: str) -> int:
            return int(getattr(sampler.last(namespace), "pending", -1))

        await until(lambda: pending("ours") >= 0 and pending("shop") >= 0, "both are read")
        assert (pending("ours"), pending("shop")) == (0, 1)
        await sampler.close()


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost", "10.1.2.3", "[fd00::1]", "2130706433", "0x7f000001", "a.b"]
)
async def test_what_has_one_meaning_already_stays(host: str) -> None:
    found = await settings(resource("shop", url=f"redis://{host}:7000/2"))
    assert found.redacted == f"redis://{host}:7000/2"
    assert found.hosts == (host.strip("[]").lower(),)


async def test_the_namespace_is_part_of_where_a_queue_is() -> None:
    ours, theirs = [await settings(resource(each, url="redis://redis%2d1:7000")) for each in ("ours", "shop")]
    assert ours != theirs
    assert (ours.redacted, theirs.redacted) == (
        "redis://redis-1.ours.svc:7000/0",
        "redis://redis-1.shop.svc:7000/0",
    )


def test_the_command_line_means_the_same_but_for_a_url_of_its_own(
    names: Names,
    redis_server: EmbeddedRedis,
    other: EmbeddedRedis,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names.known = {"redis": "127.0.0.2", "redis.shop.svc": "127.0.0.1"}
    file = tmp_path / "queue.yaml"
    file.write_text(str(resource("shop", url=f"redis://redis:{redis_server.port}")))
    with redis.Redis(port=redis_server.port) as client:
        client.lpush(QueueKeys(QUEUE).pending, "of-the-shop")
    assert main(["peek", "-f", str(file)]) == 0
    assert "of-the-shop" in capsys.readouterr().out

    with redis.Redis(host="127.0.0.2", port=other.port) as client:
        client.lpush(QueueKeys(QUEUE).pending, "of-this-machine")
    assert main(["peek", "-f", str(file), "--redis-url", f"redis://redis:{other.port}"]) == 0
    assert "of-this-machine" in capsys.readouterr().out


def test_a_name_that_is_not_there_is_told_in_full(
    names: Names, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "queue.yaml"
    file.write_text(str(resource("shop", url="redis://redis:6379")))
    assert main(["peek", "-f", str(file)]) != 0
    assert "redis.shop.svc" in capsys.readouterr().err
    assert names.asked == {"redis.shop.svc"}
