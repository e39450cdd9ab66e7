"""Clients made from settings against real servers: Sentinel, a database, rotating passwords."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
import redis

from redis_message_queue.connection import ConnectionSettings
from redisqueue_operator.embedded_redis import EmbeddedRedis, find_server, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def sentinel(redis_url: str, tmp_path: Path) -> Iterator[str]:
    """The address of a Sentinel that watches the shared server as `main`."""
    master, port = redis_url.removeprefix("redis://").partition("/")[0].split(":")[1], free_port()
    config = tmp_path / "sentinel.conf"
    config.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {master} 1\n")
    process = subprocess.Popen([find_server(), config, "--sentinel"], stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port, retry=None) as client:
            while not answers(client):
                assert process.poll() is None
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"))
    except redis.RedisError:
        return False


async def test_sentinel_leads_to_the_master_and_its_database(
    sentinel: str, redis_client: redis.Redis
) -> None:
    settings = ConnectionSettings(
        mode="Sentinel", sentinel_master="main", sentinel_addresses=(sentinel,), database=3
    )
    with settings.connect() as blocking:
        blocking.set("here", "1")
    async with settings.connect_async() as loop_bound:
        assert await loop_bound.get("here") == b"1"
    assert redis_client.exists("here") == 0


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[EmbeddedRedis, Path]]:
    """A server that wants a password, and the file the password lies in."""
    with EmbeddedRedis() as server:
        password = tmp_path / "password"
        password.write_text("first\n")
        with redis.Redis.from_url(server.url) as client:
            client.config_set("requirepass", "first")
        yield server, password


async def test_a_rotated_password_needs_no_new_client(guarded: tuple[EmbeddedRedis, Path]) -> None:
    server, password = guarded
    settings = ConnectionSettings(url=server.url, password_file=password, client_name="rotated")
    with settings.connect() as blocking:
        async with settings.connect_async() as loop_bound:
            assert blocking.client_getname() in ("rotated", b"rotated")
            assert await loop_bound.ping()
            blocking.config_set("requirepass", "second")
            password.write_text("second\n")
            blocking.connection_pool.disconnect()
            await loop_bound.connection_pool.disconnect()
            assert blocking.ping()
            assert await loop_bound.ping()


def test_a_password_given_by_field_wins_over_the_urls(guarded: tuple[EmbeddedRedis, Path]) -> None:
    url = guarded[0].url.replace("redis://", "redis://:wrong@")
    with ConnectionSettings(url=url, password="first").connect() as client:
        assert client.ping()
    with ConnectionSettings(url=url).connect() as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    with ConnectionSettings(url=url.replace("wrong", "first"), database=2).connect() as client:
        assert client.connection_pool.connection_kwargs["db"] == 2
        assert client.ping()
