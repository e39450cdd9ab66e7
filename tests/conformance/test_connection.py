"""Clients made from settings against real servers: Sentinel, a database, rotating passwords."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import redis
from tests.support.servers import watched

from redis_message_queue.connection import ConnectionSettings
from redisqueue_operator.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.servers import Server


@pytest.fixture
def sentinel(server: Server) -> Iterator[str]:
    """The address of a Sentinel that watches a master of its own."""
    with EmbeddedRedis(binary=server.binary) as master, watched(server.binary, master) as (host, port):
        yield f"{host}:{port}"


async def test_sentinel_leads_to_the_master_and_its_database(sentinel: str) -> None:
    settings = ConnectionSettings(
        mode="Sentinel", sentinel_master="main", sentinel_addresses=(sentinel,), database=3
    )
    with settings.connect() as blocking:
        blocking.set("here", "1")
    async with settings.connect_async() as loop_bound:
        assert await loop_bound.get("here") == b"1"
    with replace(settings, database=0).connect() as other:
        assert other.exists("here") == 0


@pytest.fixture
def guarded(server: Server, tmp_path: Path) -> Iterator[tuple[EmbeddedRedis, Path]]:
    """A server that wants a password, and the file the password lies in."""
    with EmbeddedRedis(binary=server.binary) as guarded:
        password = tmp_path / "password"
        password.write_text("first\n")
        with redis.Redis.from_url(guarded.url) as client:
            client.config_set("requirepass", "first")
        yield guarded, password


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
