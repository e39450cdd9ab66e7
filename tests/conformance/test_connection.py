"""Clients made from settings against real servers: Sentinel, a database, rotating passwords."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
import redis
from tests.support.names import Names
from tests.support.required import required
from tests.support.server_binaries import Missing
from tests.support.servers import SERVERS, watched

from redis_message_queue.connection import ConnectionSettings
from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@pytest.fixture(scope="module")
def tls() -> Iterator[ConnectionSettings]:
    """How to reach a server that wants a certificate of its clients, at an address with another name."""
    try:
        SERVERS["redis-tls"].find()
    except Missing as missing:
        required(None, str(missing))
    with SERVERS["redis-tls"].start() as server:
        parts = urlsplit(server.url)
        files = {name: Path(values[0]) for name, values in parse_qs(parts.query).items() if "ssl_" in name}
        yield ConnectionSettings(
            url=f"rediss://127.0.0.1:{parts.port}/0",
            tls_ca_file=files["ssl_ca_certs"],
            tls_cert_file=files["ssl_certfile"],
            tls_key_file=files["ssl_keyfile"],
            tls_server_name="localhost",
        )


async def test_tls_with_client_certificates(tls: ConnectionSettings) -> None:
    with tls.connect() as blocking:
        assert blocking.ping()
    async with tls.connect_async() as loop_bound:
        assert await loop_bound.ping()


async def test_tls_expects_the_name_that_was_given_wherever_it_is_looked_up(
    tls: ConnectionSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names(monkeypatch)
    names.known = {"redis.shop.svc": "127.0.0.1"}
    settings = replace(
        tls, url=tls.url.replace("127.0.0.1", "redis"), tls_server_name="", host_domain="shop.svc"
    )
    for each in (settings, replace(settings, tls_server_name="localhost")):
        with each.connect() as blocking:
            assert blocking.ping()
            blocking.connection_pool.disconnect()
            assert blocking.ping(), "the second time"
        async with each.connect_async() as loop_bound:
            assert await loop_bound.ping()
    assert names.asked == {"redis.shop.svc"}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        # The client has ended its side of the handshake: it reads the alert, or meets a closed socket.
        ({"tls_cert_file": None, "tls_key_file": None}, "certificate required|closed|reset|EOF|lost|pipe"),
        ({"tls_server_name": ""}, "certificate is not valid for '127.0.0.1'"),
        ({"tls_ca_file": None}, "certificate verify failed: (self|unable)"),
    ],
    ids=["no certificate", "another name", "unknown authority"],
)
async def test_tls_refuses_both_ways(tls: ConnectionSettings, change: dict[str, Any], problem: str) -> None:
    settings = replace(tls, **change)
    with settings.connect() as blocking, pytest.raises(redis.ConnectionError, match=problem):
        blocking.ping()
    async with settings.connect_async() as loop_bound:
        with pytest.raises(redis.ConnectionError, match=problem):
            await loop_bound.ping()
