"""The least that each party of a queue must be allowed, as rules of Redis ACLs: the one place that knows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis_message_queue.keys import QueueKeys

Role = Literal["producer", "worker", "operator", "caretaker"]
ROLES: tuple[Role, ...] = get_args(Role)

DUTIES: Mapping[Role, str] = {
    "producer": "publishes, and asks for results",
    "worker": "claims, settles and renews",
    "operator": "reads the counters, retires idle workers and gives back what ended ones hold",
    "caretaker": "looks, cancels, redrives, repairs and purges",
}
_COMMANDS: Mapping[Role, str] = {
    "producer": "eval evalsha blmove type time get mget set del exists llen lpush rpush rpop lindex ltrim"
    " zadd zcard zcount zlexcount zrem",
    "worker": "eval evalsha blmove type time get mget set del exists incr pexpire"
    " llen lpush rpush lpop rpop lmove lrange lrem lset ltrim"
    " hget hmget hset hdel hexists hincrby hkeys hscan"
    " zadd zcard zcount zlexcount zmscore zrange zrangebylex zrangebyscore"
    " zrem zremrangebyscore zscore",
    "operator": "eval evalsha type time get exists pexpire llen rpush rpop lrem zcard zcount zrange zrem"
    " hget hgetall hscan hset hdel hincrby",
    "caretaker": "eval evalsha blmove type time get set del exists pexpire rename"
    " llen lpush lpop lrange lindex lpos lset lrem ltrim unlink"
    " hlen hexists hget hmget hgetall hscan hset hdel"
    " zadd zcard zcount zlexcount zpopmin zrange zrangebylex zrem zrevrange zscore",
}
_GLOB = re.compile(r"([\\*?\[\]^])")


def rules(
    role: Role,
    keys: QueueKeys,
    *,
    cluster: bool = False,
    selects: bool = False,
    names_itself: bool = False,
    tracks: bool = False,
) -> tuple[str, ...]:
    """Key patterns and commands for `ACL SETUSER`, without user and password.

    Args:
        role: who it is for.
        keys: of the queue.
        cluster: the clients are those of a Redis Cluster; each node needs the rules then.
        selects: the queue is in another database than 0.
        names_itself: the clients give themselves a name, as workers, the operator and the command line do.
        tracks: the server may tell an operator's client of changes, so that it need not look for them.
    """
    allowed = [*commands(role), *["cluster|slots", "command", "asking"] * cluster]
    allowed += ["select"] * selects + ["client|setname"] * names_itself
    allowed += ["client|tracking"] * (tracks and role == "operator")
    return (*(f"~{pattern}" for pattern in _patterns(role, keys)), *(f"+{name}" for name in allowed))


def commands(role: Role) -> tuple[str, ...]:
    """The commands that a role sends, or has scripts send, in lower case."""
    return tuple(_COMMANDS[role].split())


def set_user(user: str, *granted: str) -> str:
    """The line for redis-cli that makes this user; `PASSWORD` in it is to be replaced."""
    return " ".join(["ACL SETUSER", *map(_word, (user, "on", ">PASSWORD", *granted))])


def _patterns(role: Role, keys: QueueKeys) -> tuple[str, ...]:
    if role == "producer":
        names = (f"{_literal(keys.pending)}*", f"{_literal(keys.delayed)}*")
        return (*names, f"{_literal(keys.deduplication_prefix)}*", f"{_literal(keys.result_prefix)}*")
    return (f"{_literal(keys.name + keys.separator)}*",)


def _literal(name: str) -> str:
    return _GLOB.sub(r"\\\1", name)


def _word(text: str) -> str:
    """As redis-cli reads it back."""
    if re.fullmatch(r"[^\s\"']+", text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
