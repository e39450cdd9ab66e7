"""A key of a queue that holds something else: which one, what it is, and what to do about it."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from redis.exceptions import RedisError, ResponseError

from redis_message_queue import trouble
from redis_message_queue.keys import lease_keys
from redisqueue_operator.cli.options import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from redis_message_queue.keys import QueueKeys

WRONG_TYPE = "WRONGTYPE"
WAY_OUT = "something else wrote it: rename the key or delete it, or give the queue another name"


def described(error: Exception) -> str:
    """An error of Redis for a person, with the way out where a key is of the wrong type."""
    text = trouble.described(error)
    return f"{text.removeprefix(WRONG_TYPE).strip()}; {WAY_OUT}" if WRONG_TYPE in text else text


def found(client: redis.Redis | redis.RedisCluster, keys: QueueKeys) -> str:
    """The first key of a queue that holds something else, as `KEY is a TYPE, expected a TYPE`; empty if none.

    Raises RedisError.
    """
    leases = lease_keys(keys.processing)
    ended = (keys.completed, keys.failed, keys.dead_letter, keys.dead_letter_info)
    expected = {
        **dict.fromkeys((keys.pending, keys.processing, *ended), "list"),
        **dict.fromkeys((keys.delayed, leases.deadlines), "zset"),
        **dict.fromkeys((keys.workers, leases.tokens), "hash"),
        leases.token_counter: "string",
    }
    for key, wanted in expected.items():
        answer = client.type(key)
        kind = answer.decode() if isinstance(answer, bytes) else str(answer)
        if kind not in ("none", wanted):
            return f"{key} is a {kind}, expected a {wanted}"
    return ""


@contextmanager
def named(client: redis.Redis | redis.RedisCluster, keys: QueueKeys) -> Iterator[None]:
    """Raises UserError that names the key of the queue where a command met one of the wrong type."""
    try:
        yield
    except ResponseError as error:
        if WRONG_TYPE not in str(error):
            raise
        key = ""
        with suppress(RedisError):  # the login may not ask, and Redis may be away by now
            key = found(client, keys)
        text = f"{key}; {WAY_OUT}" if key else described(error)
        raise UserError(f"{keys.name}: {text}") from error
