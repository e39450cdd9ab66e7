"""How to reach a Redis: one checked description, from which blocking and asyncio clients are made."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.cluster
import redis.connection
import redis.sentinel
from redis.credentials import CredentialProvider

from redis_message_queue.dial import (
    asyncio_in,
    asyncio_introduction,
    blocking_in,
    change_connections,
    expecting,
    full_name,
    introduction,
    keep_looking_at,
    master_of,
    say_name,
)
from redis_message_queue.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Mode = Literal["Standalone", "Sentinel", "Cluster"]
_REDIS_PORT, _SENTINEL_PORT = 6379, 26379
# Who uses a client at once is bounded already, and redis-py 8 would refuse the hundred and first.
_NO_LIMIT = 2**31
# What a connection says of its client: redis-py would read it from its installed files, at each connect.
_CLIENT: dict[str, Any] = {}
with suppress(ImportError):  # an older redis-py has no such module
    _CLIENT["driver_info"] = import_module("redis.driver_info").DriverInfo(lib_version=redis.__version__)
# redis-py does not type it.
_parse_url: Any = redis.connection.parse_url


class FileCredentials(CredentialProvider):
    """Reads user name and password from files at every connect, so that a rotation needs no restart."""

    def __init__(self, username_file: Path | None, password_file: Path | None, username: str | None) -> None:
        self._username_file = username_file
        self._password_file = password_file
        self._username = username

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """User name (when there is one) and password.

        Raises redis.AuthenticationError when a file cannot be read: a trouble of the connection.
        """
        username = _read(self._username_file) if self._username_file else self._username
        password = _read(self._password_file) if self._password_file else ""
        return (username, password) if username else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """As `get_credentials`, without blocking the loop."""
        return await asyncio.to_thread(self.get_credentials)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise redis.AuthenticationError(f"cannot read the Redis credentials file {path}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class ConnectionSettings:
    """A Redis and how to log in.

    Credentials come from the files, else from `username`/`password`, else from the URL. With Sentinel the URL
    may be left out; its scheme still says whether to use TLS, its path which database.

    Raises:
        ConfigurationError (a ValueError): naming the field that cannot work.
    """

    url: str = field(default="", repr=False)
    mode: Mode = "Standalone"
    database: int | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    username_file: Path | None = None
    password_file: Path | None = None
    sentinel_master: str = ""
    sentinel_addresses: tuple[str, ...] = ()
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    sentinel_username_file: Path | None = None
    sentinel_password_file: Path | None = None
    tls_ca_file: Path | None = None
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    tls_server_name: str = ""
    socket_timeout_seconds: float = 5.0
    client_name: str = ""
    host_domain: str = ""
    """Where host names without a dot are looked up, such as `shop.svc`; empty: where this process runs."""

    def __post_init__(self) -> None:
        """Check the whole before anything is dialled."""
        if self.mode not in ("Standalone", "Sentinel", "Cluster"):
            raise ConfigurationError(f"'mode' must be Standalone, Sentinel or Cluster, got {self.mode!r}")
        if self.mode != "Sentinel" and not self.url:
            raise ConfigurationError(f"'url' is required with mode {self.mode}, as redis://host:port")
        _check_url(self.url)
        if self.database is not None and self.database < 0:
            raise ConfigurationError(f"'database' must be >= 0, got {self.database}")
        if self.mode == "Cluster" and self._database:
            raise ConfigurationError("'database' must be 0 with mode Cluster: a cluster has no other")
        if self.mode == "Sentinel":
            self._check_sentinel()
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ConfigurationError("'tls_cert_file' and 'tls_key_file' are needed together")
        if self.mode == "Cluster" and self.tls_server_name:
            raise ConfigurationError(
                "'tls_server_name' does not work with mode Cluster: let the nodes announce host names "
                "that their certificates contain"
            )
        if not self.socket_timeout_seconds > 1:
            raise ConfigurationError(
                f"'socket_timeout_seconds' must be > 1, got {self.socket_timeout_seconds}: "
                "a waiting consumer blocks for 1 s at a time"
            )

    def _check_sentinel(self) -> None:
        if not self.sentinel_master:
            raise ConfigurationError("'sentinel_master' is required with mode Sentinel: the master's name")
        if not self.sentinel_addresses:
            raise ConfigurationError(
                "'sentinel_addresses' is required with mode Sentinel: one or more of host:port"
            )
        for address in self.sentinel_addresses:
            host_and_port(address)

    @property
    def redacted(self) -> str:
        """Where this leads, without any credential: for logs."""
        if self.mode == "Sentinel":
            addresses = ",".join(map(self._full_address, self.sentinel_addresses))
            return f"sentinel://{addresses}/{self.sentinel_master}/{self._database}"
        parts = urlsplit(self.url)
        if parts.scheme == "unix":
            return f"unix://{parts.path}"
        return f"{parts.scheme}://{self._full_address(parts.netloc.rpartition('@')[2])}/{self._database}"

    def _full_address(self, address: str) -> str:
        if address.startswith("["):
            return address
        host, colon, port = address.partition(":")
        return f"{full_name(unquote(host), self.host_domain)}{colon}{port}"

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts that are dialled first, by their full names; empty for a socket."""
        if self.mode == "Sentinel":
            named = [host for host, _ in self._sentinels]
        else:
            named = [unquote(host)] if (host := urlsplit(self.url).hostname) else []
        return tuple(full_name(host, self.host_domain) for host in named)

    @property
    def max_connections(self) -> int:
        """How many connections a client may have: what the URL says (`?max_connections=`), else no limit."""
        return int(_parse_url(self.url).get("max_connections", _NO_LIMIT)) if self.url else _NO_LIMIT

    def connect(self) -> redis.Redis | redis.RedisCluster:
        """A blocking client. Dials nothing itself, except in a cluster, where it asks for the nodes.

        Raises redis.ConnectionError when none of them answers.
        """
        if self.mode == "Cluster":
            return self._connect_cluster(self._options())
        client: redis.Redis = self._client(redis, introduction)
        if self.host_domain and not self._unix:
            change_connections(client, blocking_in(self.host_domain))
        return client

    def connect_async(self) -> redis.asyncio.Redis | redis.asyncio.RedisCluster:
        """An asyncio client. Dials nothing before its first command."""
        client: redis.asyncio.Redis | redis.asyncio.RedisCluster
        if self.mode == "Cluster":
            client = self._asyncio_cluster(self._options())
        else:
            client = self._client(redis.asyncio, asyncio_introduction)
        if self.host_domain and not self._unix:
            change_connections(client, asyncio_in(self.host_domain))
        return client

    def _client(self, package: Any, introducing: Callable[[str], Any]) -> Any:
        """A client of `redis` or `redis.asyncio`, which have the same names for the same things."""
        options = self._options() | {"connection_class": self._connection_class(package)}
        if self.client_name:
            options["redis_connect_func"] = introducing(self.client_name)
        if self.mode == "Sentinel":
            return master_of(
                package, self._sentinels, self.sentinel_master, self._sentinel_options(), options
            )
        return package.Redis.from_pool(package.ConnectionPool(**options))

    def _connection_class(self, package: Any) -> Any:
        if self._unix:
            return package.UnixDomainSocketConnection
        prefix, source = ("SentinelManaged", package.sentinel) if self.mode == "Sentinel" else ("", package)
        if not self._tls:
            return getattr(source, f"{prefix}Connection")
        base = getattr(source, f"{prefix}SSLConnection")
        return expecting(self.tls_server_name, base) if self.tls_server_name else base

    def _connect_cluster(self, options: dict[str, Any]) -> redis.RedisCluster:
        options = self._for_cluster(options)
        if self.client_name:
            options["redis_connect_func"] = partial(say_name, self.client_name)
        if self.host_domain:  # its constructor dials
            options["host"] = full_name(options["host"], self.host_domain)
            options["address_remap"] = self._full_node
        try:
            client = redis.RedisCluster(**options)
        except redis.exceptions.RedisClusterException as error:
            raise redis.ConnectionError(str(error)) from error
        node: Any = redis.cluster.ClusterNode
        keep_looking_at(client, node(options["host"], options["port"]))
        return client

    def _asyncio_cluster(self, options: dict[str, Any]) -> redis.asyncio.RedisCluster:
        client: Any = redis.asyncio.RedisCluster(**self._for_cluster(options))
        named = tuple(client.nodes_manager.startup_nodes.values())
        if self.client_name:  # its constructor takes no such function
            introducing = {"redis_connect_func": asyncio_introduction(self.client_name)}
            for arguments in (client.connection_kwargs, *(node.connection_kwargs for node in named)):
                arguments.update(introducing)
        keep_looking_at(client, *named)
        return client  # type: ignore[no-any-return]

    def _full_node(self, address: tuple[str, int]) -> tuple[str, int]:
        return full_name(address[0], self.host_domain), address[1]

    @property
    def _unix(self) -> bool:
        return self.mode != "Sentinel" and self.url.startswith("unix://")

    @property
    def _tls(self) -> bool:
        return self.url.startswith("rediss://")

    @property
    def _database(self) -> int:
        if self.database is not None:
            return self.database
        return int(_parse_url(self.url).get("db", 0)) if self.url else 0

    @property
    def _sentinels(self) -> list[tuple[str, int]]:
        return [host_and_port(address) for address in self.sentinel_addresses]

    def _options(self) -> dict[str, Any]:
        """Arguments of one connection: the URL's, overridden by the fields."""
        options: dict[str, Any] = _parse_url(self.url) if self.url else {}
        options.pop("connection_class", None)
        # Replies of either version are read alike, and not every proxy knows the HELLO that asks for RESP3.
        options = self._timeouts() | _CLIENT | {"protocol": 2, "max_connections": _NO_LIMIT} | options
        options["db"] = self._database
        username, password = options.pop("username", None), options.pop("password", None)
        options |= _login(
            self.username_file,
            self.password_file,
            self.username or username,
            password if self.password is None else self.password,
        )
        if self.mode == "Sentinel":
            options = {key: value for key, value in options.items() if key not in ("host", "port", "path")}
        return options | self._tls_options()

    def _timeouts(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "socket_timeout": self.socket_timeout_seconds,
            "socket_connect_timeout": self.socket_timeout_seconds,
        }
        if not self.url.startswith("unix://"):
            options["socket_keepalive"] = True
        return options

    def _tls_options(self) -> dict[str, Any]:
        if not self._tls:
            return {}
        files = {
            "ssl_ca_certs": self.tls_ca_file,
            "ssl_certfile": self.tls_cert_file,
            "ssl_keyfile": self.tls_key_file,
        }
        return {"ssl_check_hostname": True} | {name: str(path) for name, path in files.items() if path}

    def _sentinel_options(self) -> dict[str, Any]:
        login = _login(
            self.sentinel_username_file,
            self.sentinel_password_file,
            self.sentinel_username,
            self.sentinel_password,
        )
        tls = self._tls_options() | ({"ssl": True} if self._tls else {})
        return self._timeouts() | login | tls

    def _for_cluster(self, options: dict[str, Any]) -> dict[str, Any]:
        options = {key: value for key, value in options.items() if key != "db"}
        return {"port": _REDIS_PORT} | options | ({"ssl": True} if self._tls else {})


def host_and_port(address: str) -> tuple[str, int]:
    """Split `host`, `host:port` or `[v6]:port`; the port defaults to Sentinel's."""
    try:
        parts = urlsplit(f"//{address.strip()}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port == 0:  # redis-py would take the usual port in place of 0
        raise ConfigurationError(
            f"'sentinel_addresses' must hold host:port entries with ports from 1 to 65535, got {address!r}"
        )
    return host, port or _SENTINEL_PORT


def _check_url(url: str) -> None:
    if not url:
        return
    # The URL may carry a password: no message here may repeat it.
    try:
        _parse_url(url)
        if urlsplit(url).port == 0:  # the same
            raise ValueError("Port 0")
    except ValueError as error:
        raise ConfigurationError(f"'url' is no Redis URL: {_safe(error)}") from None
    parts = urlsplit(url)
    if parts.scheme == "unix":
        if not parts.path:
            raise ConfigurationError("'url' lacks the path of the socket: unix:///path/to/socket")
        return
    if not parts.hostname:
        raise ConfigurationError("'url' lacks a host: redis://host:port")
    database = parts.path.strip("/")
    if database and not (database.isascii() and database.isdigit()):
        raise ConfigurationError("the path of 'url' must be a database number: redis://host:port/0")


def _safe(error: ValueError) -> str:
    text = str(error)
    if text.startswith(("Redis URL must", "Invalid value for")):
        return text
    if text.startswith("Port "):
        return "its port must be a number from 1 to 65535 (a / in a password is written %2F)"
    return "use redis://host:port, rediss://host:port or unix:///path"


def _login(
    username_file: Path | None, password_file: Path | None, username: str | None, password: str | None
) -> dict[str, Any]:
    if username_file or password_file:
        return {"credential_provider": FileCredentials(username_file, password_file, username)}
    login = {"username": username, "password": password}
    return {name: value for name, value in login.items() if value}
