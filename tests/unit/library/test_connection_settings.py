"""Connection settings: wrong ones are named before anything is dialled, secrets stay out of texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from redis.credentials import StreamingCredentialProvider

from redis_message_queue.connection import ConnectionSettings, FileCredentials, host_and_port
from redis_message_queue.pipelined import PipelinedConsumer

if TYPE_CHECKING:
    from collections.abc import Callable

SENTINEL: dict[str, Any] = {
    "mode": "Sentinel",
    "sentinel_master": "main",
    "sentinel_addresses": ("s1:26379", "s2"),
}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({}, "url"),
        ({"url": "http://h"}, "url"),
        ({"url": "redis://"}, "url"),
        ({"url": "redis://h/queue"}, "url"),
        ({"url": "unix://"}, "url"),
        ({"url": "redis://h:99999"}, "url"),
        ({"url": "redis://h:0/1"}, "url"),
        ({"url": "redis://h", "mode": "Single"}, "mode"),
        ({"url": "redis://h", "database": -1}, "database"),
        ({"url": "redis://h/2", "mode": "Cluster"}, "database"),
        ({"url": "rediss://h", "tls_cert_file": Path("c")}, "tls_key_file"),
        ({"url": "rediss://h", "mode": "Cluster", "tls_server_name": "n"}, "tls_server_name"),
        ({"url": "redis://h", "socket_timeout_seconds": 1}, "socket_timeout_seconds"),
        ({"mode": "Sentinel", "sentinel_addresses": ("s",)}, "sentinel_master"),
        ({"mode": "Sentinel", "sentinel_master": "main"}, "sentinel_addresses"),
        ({**SENTINEL, "sentinel_addresses": ("s:port",)}, "sentinel_addresses"),
        ({**SENTINEL, "sentinel_addresses": ("s:0",)}, "sentinel_addresses"),
        ({**SENTINEL, "sentinel_addresses": ("s:65536",)}, "sentinel_addresses"),
    ],
)
def test_a_wrong_field_is_named(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=f"'{named}'"):
        ConnectionSettings(**arguments)


@pytest.mark.parametrize(
    "url",
    ["redis://u:hunter2/x@h", "redis://u:hunter2@h:x/0", "htp://u:hunter2@h", "redis://u:hunter2@h/hunter2"],
)
def test_no_error_repeats_the_password(url: str) -> None:
    with pytest.raises(ValueError, match="url") as raised:
        ConnectionSettings(url=url)
    assert "hunter2" not in str(raised.value)


def test_texts_hide_credentials() -> None:
    settings = ConnectionSettings(url="redis://u:hunter2@h:7/3", password="hunter3")
    assert settings.redacted == "redis://h:7/3"
    assert "hunter" not in repr(settings)


def test_redacted_names_what_is_dialled() -> None:
    assert ConnectionSettings(url="rediss://h", database=2).redacted == "rediss://h/2"
    assert ConnectionSettings(url="unix:///run/redis.sock").redacted == "unix:///run/redis.sock"
    assert ConnectionSettings(**SENTINEL).redacted == "sentinel://s1:26379,s2/main/0"


@pytest.mark.parametrize(
    ("address", "expected"),
    [("h:1", ("h", 1)), ("h", ("h", 26379)), ("[::1]:2", ("::1", 2)), (" h:3 ", ("h", 3))],
)
def test_sentinel_addresses(address: str, expected: tuple[str, int]) -> None:
    assert host_and_port(address) == expected


async def test_credential_files_are_read_at_each_connect(tmp_path: Path) -> None:
    user, password = tmp_path / "username", tmp_path / "password"
    user.write_text("alice\n")
    password.write_text("one\n")
    provider = FileCredentials(user, password, None)
    assert provider.get_credentials() == ("alice", "one")
    password.write_text("two")
    assert await provider.get_credentials_async() == ("alice", "two")
    password.unlink()
    with pytest.raises(redis.AuthenticationError, match="password"):
        provider.get_credentials()


WAYS: dict[str, dict[str, Any]] = {
    "plain": {"url": "redis://h"},
    "with a password file": {"url": "redis://h", "password_file": Path("password")},
    "TLS": {"url": "rediss://h", "tls_server_name": "n"},
    "a Unix socket": {"url": "unix:///run/redis.sock"},
    "Sentinels": SENTINEL | {"password_file": Path("password")},
    "Sentinels with TLS": SENTINEL | {"url": "rediss://h"},
    "a name of another namespace": {"url": "redis://h", "host_domain": "shop.svc", "client_name": "w"},
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_workers_calls_overlap_however_it_reaches_one_server_and_logs_in(way: dict[str, Any]) -> None:
    with ConnectionSettings(**way).connect() as client:
        assert PipelinedConsumer(client, "jobs").may_overlap


class Renewing(StreamingCredentialProvider):
    """Logs connections in anew whenever they come back to their pool."""

    def get_credentials(self) -> tuple[str, str]:
        return "alice", "one"

    def on_next(self, callback: Any) -> None:
        pass

    def on_error(self, callback: Any) -> None:
        pass

    def is_streaming(self) -> bool:
        return True


NOT_KEPT: dict[str, Callable[[], redis.Redis]] = {
    "logged in anew now and then": lambda: redis.Redis(credential_provider=Renewing()),
    "counted by its owner": lambda: redis.Redis(max_connections=10),
    "waited for": lambda: redis.Redis.from_pool(redis.BlockingConnectionPool()),
}


@pytest.mark.parametrize("client", NOT_KEPT.values(), ids=NOT_KEPT)
def test_no_connection_is_kept_from_its_pool_that(client: Callable[[], redis.Redis]) -> None:
    with client() as made:
        assert not PipelinedConsumer(made, "jobs").may_overlap


@pytest.mark.parametrize("server_name", ["", "redis.internal"])
async def test_tls_options_reach_both_kinds_of_connection(server_name: str) -> None:
    settings = ConnectionSettings(url="rediss://h:1", tls_server_name=server_name)
    blocking, loop_bound = settings.connect(), settings.connect_async()
    assert issubclass(blocking.connection_pool.connection_class, redis.SSLConnection)
    connection = loop_bound.connection_pool.make_connection()
    assert connection._connection_arguments().get("server_hostname", "") == server_name


@pytest.mark.parametrize(
    "arguments",
    [{"url": "redis://h"}, {"url": "unix:///s"}, {"url": "rediss://h"}, SENTINEL],
    ids=["plain", "unix", "tls", "sentinel"],
)
async def test_a_client_may_have_as_many_connections_as_are_used_at_once(arguments: dict[str, Any]) -> None:
    settings = ConnectionSettings(**arguments)
    for client in (settings.connect(), settings.connect_async()):
        assert client.connection_pool.max_connections == settings.max_connections > 10_000


async def test_the_url_may_keep_a_client_small() -> None:
    settings = ConnectionSettings(url="redis://h?max_connections=7")
    assert settings.max_connections == 7
    for client in (settings.connect(), settings.connect_async()):
        assert client.connection_pool.max_connections == 7


async def test_a_client_of_a_cluster_is_as_large() -> None:
    client = ConnectionSettings(url="redis://h", mode="Cluster").connect_async()
    assert client.connection_kwargs["max_connections"] > 10_000
