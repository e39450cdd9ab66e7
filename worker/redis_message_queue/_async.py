"""Sends calls over an asyncio client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import redis.asyncio
from redis.client import NEVER_DECODE
from redis.exceptions import ConnectionError, NoScriptError, ResponseError  # noqa: A004

from redis_message_queue._core import as_text
from redis_message_queue._fresh import drop_idle, over_fresh_async
from redis_message_queue._line import line_of, packed
from redis_message_queue.exceptions import GatewayContractError
from redis_message_queue.trouble import explain, is_elsewhere

if TYPE_CHECKING:
    from redis_message_queue._core import Call
    from redis_message_queue._line import Line

T = TypeVar("T")


async def execute(client: Any, call: Call[T]) -> T:
    """Run one script call and read its reply: as `_sync.execute`."""
    source, keys, args = call.script, call.keys, call.args
    if not isinstance(client, (redis.asyncio.Redis, redis.asyncio.RedisCluster)):
        return call.parse(await send(client, "eval", source.text, len(keys), *map(as_text, keys), *args))
    if isinstance(client, redis.asyncio.RedisCluster):
        # Before it knows the slots, redis-py sends a command to any node; many such answers make it close
        # all connections under those who use them.
        await client.initialize()
    command: Any = client.execute_command
    options: dict[str, Any] = {NEVER_DECODE: True} if call.raw else {}
    line = line_of(client)
    try:
        if line is not None:
            reply = await _ask(line, call)
        else:
            reply = await command("EVALSHA", source.sha, len(keys), *keys, *args, **options)
    except NoScriptError:
        reply = await command("EVAL", source.text, len(keys), *keys, *args, **options)
    except (ResponseError, ConnectionError) as error:
        if not is_elsewhere(error):
            explain(error)
            raise
        await drop_idle(client)
        reply = await _ask_anew(command, call, options)
    return call.parse(reply)


async def _ask_anew(command: Any, call: Call[Any], options: dict[str, Any]) -> Any:
    rest = len(call.keys), *call.keys, *call.args
    try:
        return await command("EVALSHA", call.script.sha, *rest, **options)
    except NoScriptError:
        return await command("EVAL", call.script.text, *rest, **options)


async def send(client: Any, command: str, *args: object, **options: object) -> Any:
    """Await one method of the client. Raises GatewayContractError if it has done its work already."""

    async def ask() -> Any:
        reply = getattr(client, command)(*args, **options)
        if not hasattr(reply, "__await__"):
            raise GatewayContractError(
                f"the client ({type(client).__module__}.{type(client).__name__}) answered {command} with"
                f" {type(reply).__name__}, which cannot be awaited: it is a sync one and blocks the event"
                " loop; use it with redis_message_queue, or a redis.asyncio.Redis here"
            )
        return await reply

    return await over_fresh_async(client, ask)


async def _ask(line: Line, call: Call[Any]) -> Any:
    connection, fresh = line.take()
    if connection is not None and not fresh:
        await line.pool.release(connection)
    if not fresh:
        connection = await line.pool.get_connection()
    answered = False
    try:
        request = packed(call, connection)

        async def once() -> Any:
            await connection.send_packed_command([request])
            return await connection.read_response(disable_decoding=call.raw)

        reply = await connection.retry.call_with_retry(once, lambda _: connection.disconnect())
        answered = True
    except ResponseError as error:
        answered = not is_elsewhere(error)
        raise
    finally:
        if not answered:
            await connection.disconnect(nowait=True)
        if not answered or not line.keep(connection):
            await line.pool.release(connection)
    return reply
