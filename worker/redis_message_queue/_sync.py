"""Sends calls over a blocking client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import redis
from redis.client import NEVER_DECODE
from redis.exceptions import NoScriptError

if TYPE_CHECKING:
    from redis_message_queue._core import Call

T = TypeVar("T")


def execute(client: Any, call: Call[T]) -> T:
    """Run one script call and read its reply.

    Real clients get EVALSHA, and EVAL once for each server that does not know the script; any other object
    gets exactly one plain `eval`. Raises what the client raises (`redis.RedisError`).
    """
    source, keys, args = call.script, call.keys, call.args
    if not isinstance(client, (redis.Redis, redis.RedisCluster)):
        return call.parse(client.eval(source.text, len(keys), *keys, *args))
    command: Any = client.execute_command
    options: dict[str, Any] = {NEVER_DECODE: True} if call.raw else {}
    try:
        reply = command("EVALSHA", source.sha, len(keys), *keys, *args, **options)
    except NoScriptError:
        reply = command("EVAL", source.text, len(keys), *keys, *args, **options)
    return call.parse(reply)
