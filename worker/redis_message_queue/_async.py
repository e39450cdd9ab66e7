"""Sends calls over an asyncio client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import redis.asyncio
from redis.client import NEVER_DECODE
from redis.exceptions import NoScriptError

from redis_message_queue._core import as_text

if TYPE_CHECKING:
    from redis_message_queue._core import Call

T = TypeVar("T")


async def execute(client: Any, call: Call[T]) -> T:
    """Run one script call and read its reply: as `_sync.execute`."""
    source, keys, args = call.script, call.keys, call.args
    if not isinstance(client, (redis.asyncio.Redis, redis.asyncio.RedisCluster)):
        return call.parse(await client.eval(source.text, len(keys), *map(as_text, keys), *args))
    if isinstance(client, redis.asyncio.RedisCluster):
        # Before it knows the slots, redis-py sends a command to any node; many such answers make it close
        # all connections under those who use them.
        await client.initialize()
    command: Any = client.execute_command
    options: dict[str, Any] = {NEVER_DECODE: True} if call.raw else {}
    try:
        reply = await command("EVALSHA", source.sha, len(keys), *keys, *args, **options)
    except NoScriptError:
        reply = await command("EVAL", source.text, len(keys), *keys, *args, **options)
    return call.parse(reply)
