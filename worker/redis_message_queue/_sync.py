"""Sends calls over a blocking client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import redis
from redis.client import NEVER_DECODE
from redis.exceptions import ConnectionError, NoScriptError, ResponseError  # noqa: A004

from redis_message_queue import _patience
from redis_message_queue._callbacks import discard_awaitable
from redis_message_queue._core import as_text
from redis_message_queue._fresh import drop_idle, over_fresh
from redis_message_queue._line import line_of, packed
from redis_message_queue.client_checks import is_cluster
from redis_message_queue.exceptions import GatewayContractError
from redis_message_queue.trouble import explain, is_elsewhere

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis_message_queue._core import Call
    from redis_message_queue._line import Line

T = TypeVar("T")


def execute(client: Any, call: Call[T]) -> T:
    """Run one script call and read its reply.

    Real clients get EVALSHA, and EVAL once for each server that does not know the script; any other object
    gets exactly one plain `eval`. Raises what the client raises (`redis.RedisError`).
    """
    source, keys, args = call.script, call.keys, call.args
    if not isinstance(client, (redis.Redis, redis.RedisCluster)):
        return call.parse(send(client, "eval", source.text, len(keys), *map(as_text, keys), *args))
    command: Any = client.execute_command
    options: dict[str, Any] = {NEVER_DECODE: True} if call.raw else {}
    line = line_of(client)
    try:
        if line is not None:
            reply = _ask(line, call)
        else:
            _patience.check()
            reply = command("EVALSHA", source.sha, len(keys), *keys, *args, **options)
    except NoScriptError:
        reply = command("EVAL", source.text, len(keys), *keys, *args, **options)
    except (ResponseError, ConnectionError) as error:
        if not is_elsewhere(error):
            explain(error)
            raise
        drop_idle(client)
        reply = _ask_anew(command, call, options)
    return call.parse(reply)


def _ask_anew(command: Any, call: Call[Any], options: dict[str, Any]) -> Any:
    rest = len(call.keys), *call.keys, *call.args
    try:
        return command("EVALSHA", call.script.sha, *rest, **options)
    except NoScriptError:
        return command("EVAL", call.script.text, *rest, **options)


def send(client: Any, command: str, *args: object, **options: object) -> Any:
    """Call one method of the client. Raises GatewayContractError if its answer is still to be awaited."""
    _patience.check()
    reply = over_fresh(client, lambda: getattr(client, command)(*args, **options))
    kind = discard_awaitable(reply) if hasattr(reply, "__await__") else None
    if kind:
        raise GatewayContractError(
            f"the client ({type(client).__module__}.{type(client).__name__}) answered {command} with {kind}:"
            " nothing was done; use it with redis_message_queue.asyncio, or a redis.Redis here"
        )
    return reply


def _ask(line: Line, call: Call[Any]) -> Any:
    connection, fresh = line.take()
    if connection is not None and not fresh:
        line.pool.release(connection)
    if not fresh:
        connection = line.pool.get_connection()
    answered = False
    try:
        request = packed(call, connection)

        def once() -> Any:
            _patience.check()  # the client repeats this by itself
            connection.send_packed_command([request])
            return connection.read_response(disable_decoding=call.raw)

        reply = connection.retry.call_with_retry(once, lambda _: connection.disconnect())
        answered = True
    except ResponseError as error:
        answered = not is_elsewhere(error)
        raise
    finally:
        if not answered:
            connection.disconnect()
        if not answered or not line.keep(connection):
            line.pool.release(connection)
    return reply


def execute_many(client: Any, calls: Sequence[Call[T]]) -> list[T | Exception]:
    """Run calls that may be repeated, in one round trip; a call that fails gives its exception in its place.

    In a cluster one call after another. Raises what the client raises when the server cannot be reached.
    """
    if is_cluster(client):
        return [_outcome(client, call) for call in calls]
    replies = over_fresh(client, lambda: _pipelined(client, calls))
    if any(map(is_elsewhere, replies)):
        drop_idle(client)
        replies = _pipelined(client, calls)
    unknown = {
        call.script: call
        for call, reply in zip(calls, replies, strict=True)
        if isinstance(reply, NoScriptError)
    }
    if unknown:
        for call in unknown.values():  # not by SCRIPT LOAD, for which a user needs a right of its own
            _outcome(client, call)
        replies = _pipelined(client, calls)
    return [
        reply if isinstance(reply, Exception) else call.parse(reply)
        for call, reply in zip(calls, replies, strict=True)
    ]


def _pipelined(client: Any, calls: Sequence[Call[Any]]) -> list[Any]:
    with client.pipeline(transaction=False) as pipeline:
        for call in calls:
            options: dict[str, Any] = {NEVER_DECODE: True} if call.raw else {}
            pipeline.execute_command(
                "EVALSHA", call.script.sha, len(call.keys), *call.keys, *call.args, **options
            )
        replies: list[Any] = pipeline.execute(raise_on_error=False)
    return replies


def _outcome(client: Any, call: Call[Any]) -> Any:
    try:
        return execute(client, call)
    except Exception as error:
        return error
