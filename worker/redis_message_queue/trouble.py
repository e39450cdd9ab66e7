"""What an error says about Redis: one place for every loop that has to live with them."""

from __future__ import annotations

import re

from redis import exceptions

__all__ = [
    "AWAY",
    "described",
    "did_nothing",
    "explain",
    "first_word",
    "is_elsewhere",
    "is_final",
    "is_pool_exhausted",
    "is_refusal",
    "is_retryable",
    "is_unreachable_cluster",
]

AWAY = (exceptions.RedisError, exceptions.RedisClusterException, OSError)
"""What a client of redis-py raises when Redis, or the way to it, is in trouble, in every mode."""

_RETRYABLE = (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.NoScriptError)
_WRONG_USER = (exceptions.AuthenticationError, exceptions.AuthorizationError)
_ELSEWHERE = frozenset(("READONLY", "MASTERDOWN", "LOADING", "NOAUTH", "WRONGPASS", "UNBLOCKED"))
_REFUSALS = frozenset(
    ("READONLY", "MASTERDOWN", "LOADING", "UNBLOCKED", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "BUSY")
)

# redis-py cuts the first word off where it has a class for it.
_BY_TYPE: tuple[tuple[type[BaseException], str], ...] = (
    (exceptions.ReadOnlyError, "READONLY"),
    (exceptions.BusyLoadingError, "LOADING"),
    (exceptions.MasterDownError, "MASTERDOWN"),
    (exceptions.ClusterDownError, "CLUSTERDOWN"),
    (exceptions.TryAgainError, "TRYAGAIN"),
    (exceptions.NoPermissionError, "NOPERM"),
    (exceptions.OutOfMemoryError, "OOM"),
    (exceptions.NoScriptError, "NOSCRIPT"),
    (exceptions.MovedError, "MOVED"),
    (exceptions.AskError, "ASK"),
    (exceptions.ClusterCrossSlotError, "CROSSSLOT"),
    (exceptions.ExecAbortError, "EXECABORT"),
    (exceptions.AuthenticationWrongNumberOfArgsError, "WRONGPASS"),
)
# Redis 6.2 quotes what a script met, behind a dash.
_WORD = re.compile(r"^(?!ERR )([A-Z]{3,}) |: -([A-Z]{3,}) ")
# Redis 6.2 and 7.0, newer ones, and Valkey; each of a command and of a key.
_FORBIDDEN = re.compile(
    r"can't (?:run this command|access at least one of the)|ACL failure in script|\bhas no permissions? to\b"
)
_WRONG_LOGIN = re.compile(r"invalid|\bAUTH\b")
_NO_HELLO = re.compile(r"unknown command\W+HELLO\b|\bHELLO\b.*(?:not supported|unknown)", re.IGNORECASE)
_RESP2 = " - this server or proxy speaks RESP2 only: put '?protocol=2' into the URL, or give protocol=2"
_LARGER_POOL = (
    " - more threads or tasks use this client at once than it may have connections: build it with"
    " max_connections as many as those and a few more (redis-py 8 gives 100)"
)
_NO_CLUSTER = "Cluster mode is not enabled"
_LOST_CLUSTER = re.compile(r"cannot be connected|not covered|could not agree")


def first_word(error: BaseException) -> str:
    """The first word of an error that the server answered, as it sent it, such as READONLY; "" if unknown.

    A right that is missing inside a script is NOPERM on every server, whatever its version calls it.
    """
    for kind, word in _BY_TYPE:
        if isinstance(error, kind):
            return word
    text = str(error)
    if isinstance(error, exceptions.AuthenticationError):
        return "NOAUTH" if "uthenticat" in text else "WRONGPASS" if _WRONG_LOGIN.search(text) else ""
    if not isinstance(error, exceptions.ResponseError):
        return ""
    if _FORBIDDEN.search(text):
        return "NOPERM"
    found = _WORD.search(text)
    return (found[1] or found[2]) if found else ""


def is_elsewhere(error: object) -> bool:
    """Whether a reply says that this server is not, or no more, the one to talk to.

    A master that was demoted or is loading its data behind a name that leads to another one by now, a login
    that has changed. The server did nothing.
    """
    # The two families that such replies are of: anything else need not be looked at.
    kinds = (exceptions.ResponseError, exceptions.ConnectionError)
    return isinstance(error, kinds) and first_word(error) in _ELSEWHERE


def is_refusal(error: BaseException) -> bool:
    """Whether the server answered that it does nothing now, and may later: any call may be repeated."""
    return first_word(error) in _REFUSALS


def is_pool_exhausted(error: BaseException) -> bool:
    """Whether all connections of the client are in use: nothing was sent."""
    return isinstance(error, exceptions.ConnectionError) and (
        isinstance(error, exceptions.MaxConnectionsError) or str(error).startswith("Too many connections")
    )


def did_nothing(error: BaseException) -> bool:
    """Whether it is certain that the server did nothing."""
    return is_refusal(error) or is_pool_exhausted(error)


def is_unreachable_cluster(error: BaseException) -> bool:
    """Whether a client looked for a cluster and found none, or not all of it."""
    if not isinstance(error, exceptions.RedisClusterException):
        return False
    text = str(error)
    return isinstance(error, exceptions.SlotNotCoveredError) or bool(
        _LOST_CLUSTER.search(text) and _NO_CLUSTER not in text
    )


def is_retryable(error: BaseException) -> bool:
    """True if the same call may succeed later without anybody changing anything."""
    if isinstance(error, _WRONG_USER):
        return False
    if isinstance(error, exceptions.ClusterError) and str(error).startswith("TTL exhausted"):
        return True
    return isinstance(error, _RETRYABLE) or is_refusal(error) or is_unreachable_cluster(error)


def is_final(error: BaseException) -> bool:
    """True if the server refuses this very call: again it will refuse it, another one perhaps not."""
    refused = isinstance(error, exceptions.ResponseError)
    return refused and not is_retryable(error) and not is_elsewhere(error)


def described(error: BaseException) -> str:
    """The error's text for a person: with the first word, and with the way out where the text has none."""
    text, word = str(error), first_word(error)
    if word and word not in text:
        text = f"{text} ({word})" if text else word
    return f"{text}{_way_out(error)}"


def explain(error: BaseException) -> None:
    """Add the way out to the text of an error that does not name it."""
    if way_out := _way_out(error):
        error.args = (f"{error}{way_out}", *error.args[1:])


def _way_out(error: BaseException) -> str:
    """What to do about the error, unless its text says so already."""
    text = str(error)
    if is_pool_exhausted(error):
        way_out = _LARGER_POOL
    elif isinstance(error, exceptions.ResponseError) and _NO_HELLO.search(text):
        way_out = _RESP2
    else:
        return ""
    return "" if way_out in text else way_out
