"""Why Redis could not be read, as one CamelCase word and one sentence.

The words are the reasons of the condition RedisReachable, a stable API. The sentences are fixed: an error's
own text may hold a URL, a user or a host, so none of it is passed on.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
from typing import TYPE_CHECKING

from redis import exceptions

from redis_message_queue.trouble import first_word
from redisqueue_operator.observe.redis.dial_guard import HostNotAllowedError

if TYPE_CHECKING:
    from collections.abc import Iterator

_BY_TYPE: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (HostNotAllowedError, "HostNotAllowed"),
    (socket.gaierror, "NameNotResolved"),
    (ssl.SSLError, "TLSFailed"),
    (
        (exceptions.AuthenticationError, exceptions.AuthenticationWrongNumberOfArgsError),
        "AuthenticationFailed",
    ),
    (exceptions.AuthorizationError, "NoPermission"),
    (exceptions.MaxConnectionsError, "TooManyConnections"),
    (exceptions.SlotNotCoveredError, "ClusterDown"),
    (ConnectionRefusedError, "ConnectionRefused"),
    (ConnectionResetError, "ConnectionLost"),
    ((exceptions.TimeoutError, TimeoutError), "Timeout"),
)
"""Looked up in this order; the first that any error of the chain is, wins."""

_BY_WORD = {
    "NOAUTH": "AuthenticationFailed",
    "WRONGPASS": "AuthenticationFailed",
    "NOPERM": "NoPermission",
    "LOADING": "Loading",
    "READONLY": "ReadOnly",
    "WRONGTYPE": "WrongType",
    "MOVED": "ClusterRedirect",
    "ASK": "ClusterRedirect",
    "CROSSSLOT": "ClusterRedirect",
    "CLUSTERDOWN": "ClusterDown",
    "MASTERDOWN": "MasterLinkDown",
    "MISCONF": "WritesRefused",
    "OOM": "OutOfMemory",
    "BUSY": "Busy",
    "NOREPLICAS": "NoReplicas",
}
"""By the first word of what the server answered."""

_BY_TEXT = (
    (re.compile(r"certificate|\bssl\b|\btls\b", re.IGNORECASE), "TLSFailed"),
    (re.compile(r"no master found|master(name)? .*not found", re.IGNORECASE), "MasterNotFound"),
    (re.compile(r"timed? ?out|timeout", re.IGNORECASE), "Timeout"),
    (re.compile(r"refused|connect call failed", re.IGNORECASE), "ConnectionRefused"),
    (
        re.compile(r"name or service not known|getaddrinfo|not known|name resolution", re.IGNORECASE),
        "NameNotResolved",
    ),
    (
        re.compile(r"closed by server|connection reset|broken pipe|connection lost", re.IGNORECASE),
        "ConnectionLost",
    ),
    (re.compile(r"max number of clients", re.IGNORECASE), "TooManyConnections"),
)

_BY_ERRNO = {
    errno.ECONNREFUSED: "ConnectionRefused",
    errno.ECONNRESET: "ConnectionLost",
    errno.EPIPE: "ConnectionLost",
    errno.ETIMEDOUT: "Timeout",
    errno.EHOSTUNREACH: "HostUnreachable",
    errno.ENETUNREACH: "HostUnreachable",
}

_SENTENCES = {
    "HostNotAllowed": "Redis, or what it announced, is on a host that this operator may not connect to.",
    "NameNotResolved": (
        "The host name of Redis cannot be resolved: "
        "one without a dot is a Service of the RedisQueue's own namespace."
    ),
    "TLSFailed": "The TLS handshake with Redis failed: check the CA, the certificate and the server name.",
    "AuthenticationFailed": "Redis refuses the credentials: check the Secret that spec.redis refers to.",
    "NoPermission": "The Redis user lacks a permission: `redisqueue acl` prints what is needed.",
    "Loading": "Redis is loading its data.",
    "ReadOnly": "Redis is a read-only replica: connect to the primary.",
    "TooManyConnections": "Redis accepts no more connections.",
    "OutOfMemory": "Redis is out of memory and refuses to write.",
    "ClusterRedirect": "Redis is a cluster and redirects: set spec.redis.mode to Cluster.",
    "ClusterDown": "The Redis cluster is not available as a whole.",
    "ConnectionRefused": "Nothing accepts connections at Redis' address.",
    "ConnectionLost": "Redis closed the connection.",
    "Timeout": "Redis did not answer in time.",
    "HostUnreachable": "There is no route to Redis' address.",
    "WrongType": "A key of the queue holds another type of value: another program uses the same names.",
    "MasterNotFound": "No Sentinel knows a master of that name.",
    "MasterLinkDown": "Redis is a replica that has lost its primary: connect to the primary.",
    "WritesRefused": "Redis refuses to write because it cannot persist.",
    "Busy": "Redis is busy with a script.",
    "NoReplicas": "Redis refuses to write: min-replicas-to-write asks for more replicas in step.",
    "ConnectionFailed": "The connection to Redis failed.",
    "RedisError": "Redis answered with an error.",
    "InvalidSettings": "The connection settings are not usable: check spec.redis and its Secrets.",
    "Unknown": "Reading the queue failed; the operator's log says more.",
}


def classify(error: BaseException) -> tuple[str, str]:
    """Why Redis could not be read: (CamelCase reason, sentence without any credential, host or key)."""
    reason = _reason(list(_chain(error)))
    return reason, _SENTENCES[reason]


def _reason(chain: list[BaseException]) -> str:
    for kinds, reason in _BY_TYPE:
        if any(isinstance(each, kinds) for each in chain):
            return reason
    for each in chain:
        if (word := first_word(each)) in _BY_WORD:
            return _BY_WORD[word]
        if isinstance(each, OSError) and each.errno in _BY_ERRNO:
            return _BY_ERRNO[each.errno]
    if any(isinstance(each, exceptions.RedisClusterException) for each in chain):
        return "ClusterDown"
    for pattern, reason in _BY_TEXT:
        if any(pattern.search(str(each)) for each in chain):
            return reason
    return _by_family(chain[0])


def _by_family(error: BaseException) -> str:
    match error:
        case exceptions.ConnectionError() | OSError():
            return "ConnectionFailed"
        case exceptions.RedisError():
            return "RedisError"
        case ValueError():
            return "InvalidSettings"
        case _:
            return "Unknown"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what caused it, outermost first; groups are opened."""
    seen: set[int] = set()
    todo: list[BaseException] = [error]
    while todo:
        each = todo.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        todo += [linked for linked in (each.__cause__, each.__context__) if linked is not None]
        if isinstance(each, BaseExceptionGroup):
            todo += each.exceptions
