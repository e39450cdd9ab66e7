"""Why Redis cannot be read: errors of a real server and of real sockets, and no secret in what is said."""

from __future__ import annotations

import re
import socket
import ssl
from typing import TYPE_CHECKING

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from redisqueue_operator.observe.redis.errors import classify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRET = "hunter2"


def _why(act: Callable[[], object]) -> str:
    """The reason; the message of every case must be a sentence without the secret, the user, or the host."""
    with pytest.raises((redis.RedisError, OSError)) as caught:
        act()
    reason, message = classify(caught.value)
    assert re.fullmatch(r"[A-Z]\w+", reason)
    assert message.endswith(".")
    for leak in (SECRET, "limited", "127.0.0.1", "no-such-host"):
        assert leak not in message
    return reason


def _client(port: int, host: str = "127.0.0.1", **options: object) -> redis.Redis:
    return redis.Redis(host, port, retry=Retry(NoBackoff(), 0), socket_timeout=0.3, **options)  # type: ignore[arg-type]


@pytest.fixture
def port(redis_url: str) -> int:
    return int(redis.connection.parse_url(redis_url)["port"])


@pytest.fixture
def limited(redis_client: redis.Redis) -> Iterator[str]:
    """A user that may ping and nothing else."""
    redis_client.execute_command(
        "ACL", "SETUSER", "limited", "reset", "on", f">{SECRET}", "~*", "+ping", "+eval"
    )
    yield "limited"
    redis_client.execute_command("ACL", "DELUSER", "limited")


@pytest.fixture
def silent() -> Iterator[int]:
    """A listener that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_refused() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert _why(_client(port).ping) == "ConnectionRefused"


def test_timeout(silent: int) -> None:
    with _client(silent) as client:
        assert _why(client.ping) == "Timeout"


def test_name_not_resolved() -> None:
    assert _why(_client(6379, host="no-such-host.invalid").ping) == "NameNotResolved"


def test_wrong_password(port: int, limited: str) -> None:
    with _client(port, username=limited, password=f"not-{SECRET}") as client:
        assert _why(client.ping) == "AuthenticationFailed"


def test_no_permission(port: int, limited: str) -> None:
    with _client(port, username=limited, password=SECRET) as client:
        assert _why(lambda: client.llen("emails::pending")) == "NoPermission"


def test_no_permission_inside_a_script(port: int, limited: str) -> None:
    with _client(port, username=limited, password=SECRET) as client:
        assert _why(lambda: client.eval("return redis.call('llen', KEYS[1])", 1, "emails")) == "NoPermission"


def test_wrong_type(redis_client: redis.Redis) -> None:
    redis_client.set("emails", "text", ex=60)
    assert _why(lambda: redis_client.llen("emails")) == "WrongType"
    assert _why(lambda: redis_client.eval("return redis.call('llen', KEYS[1])", 1, "emails")) == "WrongType"


def test_tls_against_a_plain_server(port: int) -> None:
    with _client(port, ssl=True) as client:
        assert _why(client.ping) in ("TLSFailed", "ConnectionLost", "Timeout")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (redis.exceptions.BusyLoadingError("Redis is loading the dataset in memory"), "Loading"),
        (redis.exceptions.ReadOnlyError("You can't write against a read only replica."), "ReadOnly"),
        (redis.exceptions.OutOfMemoryError("command not allowed"), "OutOfMemory"),
        (redis.exceptions.ResponseError("NOAUTH Authentication required."), "AuthenticationFailed"),
        (redis.exceptions.AuthenticationError("invalid username-password pair"), "AuthenticationFailed"),
        (redis.exceptions.ResponseError("MISCONF Redis is configured to save"), "WritesRefused"),
        (
            redis.exceptions.ResponseError("ERR Error running script: @user_script:1: -NOPERM no"),
            "NoPermission",
        ),
        (redis.exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."), "NoReplicas"),
        (redis.exceptions.ResponseError("Error running script: @user_script:1: -NOREPLICAS x"), "NoReplicas"),
        (redis.exceptions.ResponseError("BUSY Redis is busy running a script."), "Busy"),
        (redis.exceptions.MasterDownError("Link with MASTER is down"), "MasterLinkDown"),
        (redis.exceptions.MovedError("3999 10.0.0.9:6381"), "ClusterRedirect"),
        (redis.exceptions.RedisClusterException("Redis Cluster cannot be connected."), "ClusterDown"),
        (redis.exceptions.SlotNotCoveredError('Slot "1" is not covered by the cluster.'), "ClusterDown"),
        (redis.exceptions.ClusterDownError("CLUSTERDOWN Hash slot not served"), "ClusterDown"),
        (redis.exceptions.MaxConnectionsError("Too many connections"), "TooManyConnections"),
        (redis.sentinel.MasterNotFoundError("No master found for 'main'"), "MasterNotFound"),
        (redis.exceptions.ConnectionError("Connection closed by server."), "ConnectionLost"),
        (
            redis.exceptions.ConnectionError("Error 111 connecting to redis:6379. Connection refused."),
            "ConnectionRefused",
        ),
        (redis.exceptions.ConnectionError("something else"), "ConnectionFailed"),
        (redis.exceptions.ResponseError("ERR something else"), "RedisError"),
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), "TLSFailed"),
        (OSError(113, "No route to host"), "HostUnreachable"),
        (TimeoutError(), "Timeout"),
        (ValueError(f"bad url redis://:{SECRET}@redis"), "InvalidSettings"),
        (KeyError("a defect"), "Unknown"),
        (ExceptionGroup("both", [ConnectionRefusedError(111, "refused")]), "ConnectionRefused"),
    ],
)
def test_errors_that_need_another_server(error: Exception, reason: str) -> None:
    assert classify(error)[0] == reason
    assert SECRET not in classify(error)[1]


def test_the_cause_counts() -> None:
    error = redis.exceptions.ConnectionError("Error 1 connecting to redis:6379.")
    error.__cause__ = ssl.SSLError("handshake failure")
    assert classify(error)[0] == "TLSFailed"
