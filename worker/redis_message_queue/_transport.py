"""Sends calls over a client of redis-py, blocking or asyncio, or over what quacks like one.

Behind one name stands now this server, now that one, and a connection stays with the one it was made to. So
where a reply tells that the server is not the one to talk to any more, idle connections are closed and the
call is sent anew: then the client dials again, which resolves the name (or asks the Sentinel) again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import redis
import redis.asyncio
from redis.client import NEVER_DECODE
from redis.exceptions import NoScriptError

from redis_message_queue._callbacks import discard_awaitable
from redis_message_queue._clock import NEVER, check_deadline, deadline_at
from redis_message_queue._kept_connection import ask, ask_async, kept_by, kept_of, pushes_by
from redis_message_queue.client_checks import is_cluster
from redis_message_queue.exceptions import GatewayContractError
from redis_message_queue.operations import as_text
from redis_message_queue.trouble import AWAY, explain, is_elsewhere

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from redis_message_queue.operations import Call, Push

T = TypeVar("T")
_BLOCKING = (redis.Redis, redis.RedisCluster)
_ASYNCIO = (redis.asyncio.Redis, redis.asyncio.RedisCluster)
# What replies nearly always are; none of them can be awaited.
_ANSWERS = frozenset((int, bytes, str, bool, list, dict, type(None)))


# -- script calls --


async def execute_async(client: Any, call: Call[T]) -> T:
    """Run one script call and read its reply.

    Real clients get EVALSHA, and EVAL once for each server that does not know the script; any other object
    gets exactly one plain `eval`. Raises what the client raises (`redis.RedisError`).
    """
    if not isinstance(client, _ASYNCIO):
        keys = call.keys
        words = call.script.text, len(keys), *map(as_text, keys), *call.args, *call.tail
        return call.parse(await send_async(client, "eval", *words))
    kept = kept_by(client)
    try:
        reply = await (_command_async(client, call) if kept is None else ask_async(kept, call))
    except NoScriptError:
        reply = await _command_async(client, call, by_text=True)
    except AWAY as error:
        if not _may_be_elsewhere(client, error):
            raise
        await drop_idle(client)
        reply = await _ask_anew_async(client, call)
    return call.parse(reply)


async def _ask_anew_async(client: Any, call: Call[Any]) -> Any:
    try:
        return await _command_async(client, call)
    except NoScriptError:
        return await _command_async(client, call, by_text=True)


async def _command_async(client: Any, call: Call[Any], *, by_text: bool = False) -> Any:
    if isinstance(client, redis.asyncio.RedisCluster):
        # Before it knows the slots, redis-py sends a command to any node; many such answers make it close
        # all connections under those who use them.
        await client.initialize()
    return await _command(client, call, by_text=by_text)


def _command(client: Any, call: Call[Any], *, by_text: bool = False) -> Any:
    """The reply to a call as a command of the client, or an awaitable of it."""
    if deadline_at.get() is not NEVER:
        check_deadline()
    source, keys = call.script, call.keys
    options: dict[str, Any] = {NEVER_DECODE: True} if call.raw else {}
    script = ("EVAL", source.text) if by_text else ("EVALSHA", source.sha)
    return client.execute_command(*script, len(keys), *keys, *call.args, *call.tail, **options)


# -- commands --


async def send_async(client: Any, command: str, /, *args: object, **options: object) -> Any:
    """Call one method of the client. Raises GatewayContractError for an answer of the other face."""
    try:
        return await _told_async(client, command, args, options)
    except AWAY as error:
        if not _may_be_elsewhere(client, error):
            raise
        await drop_idle(client)
        return await _told_async(client, command, args, options)


async def push_async(client: Any, what: Push) -> None:
    """Send an LPUSH once, but for what the client itself repeats. Raises as `send_async`."""
    kept = pushes_by(client) if isinstance(client, _ASYNCIO) else None
    if kept is None:
        await send_async(client, "lpush", what.queue, what.stored)
        return
    await over_fresh_async(client, lambda: ask_async(kept, what))


async def _told_async(client: Any, command: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    reply = getattr(client, command)(*args, **options)
    if not hasattr(reply, "__await__"):
        raise GatewayContractError(
            f"the client ({type(client).__module__}.{type(client).__name__}) answered {command} with"
            f" {type(reply).__name__}, which cannot be awaited: it is a sync one and blocks the event"
            " loop; use it with redis_message_queue, or a redis.asyncio.Redis here"
        )
    return await reply


def _told(client: Any, command: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    if deadline_at.get() is not NEVER:
        check_deadline()
    reply = getattr(client, command)(*args, **options)
    if type(reply) not in _ANSWERS and (kind := discard_awaitable(reply)):
        raise GatewayContractError(
            f"the client ({type(client).__module__}.{type(client).__name__}) answered {command} with {kind}:"
            " nothing was done; use it with redis_message_queue.asyncio, or a redis.Redis here"
        )
    return reply


# -- where another server is to be asked --


async def over_fresh_async(client: Any, action: Callable[[], Awaitable[T]]) -> T:
    """The outcome of `action`; of a second one, over new connections, where the first met such a server."""
    try:
        return await action()
    except AWAY as error:
        if not _may_be_elsewhere(client, error):
            raise
        await drop_idle(client)
        return await action()


def _may_be_elsewhere(client: Any, error: BaseException) -> bool:
    """Whether another call may find the server that is meant; if not, the error tells the way out.

    Who asks raises it: raised from here it would hold itself, and with it connections, until it is collected.
    """
    if is_elsewhere(error) and isinstance(client, (*_BLOCKING, *_ASYNCIO)):
        return True
    explain(error)
    return False


def drop_idle(client: Any) -> Any:
    """Close the connections of a client that nobody uses now; those in use are their users' to close.

    Gives an awaitable for a client of asyncio. Any other object than redis-py's clients is left alone.
    """
    if isinstance(client, _ASYNCIO):
        return _drop_idle_of_a_loop(client)
    if isinstance(client, _BLOCKING):
        for pool in _pools(client):
            if (kept := kept_of(pool)) and (connection := kept.take()[0]):
                connection.disconnect()
                pool.release(connection)
            _disconnect_idle(pool)
    return None


async def _drop_idle_of_a_loop(client: Any) -> None:
    if isinstance(client, redis.asyncio.RedisCluster):
        resting = [each for node in client.get_nodes() for each in tuple(getattr(node, "_free", ()))]
        await asyncio.gather(*(each.disconnect() for each in resting), return_exceptions=True)
        return
    pool = client.connection_pool
    if (kept := kept_of(pool)) and (connection := kept.take()[0]):
        await connection.disconnect(nowait=True)
        await pool.release(connection)
    await pool.disconnect(inuse_connections=False)


def _pools(client: Any) -> Iterator[Any]:
    if isinstance(client, redis.Redis):
        yield client.connection_pool
        return
    for node in client.get_nodes():
        if node.redis_connection is not None:
            yield node.redis_connection.connection_pool


def _disconnect_idle(pool: Any) -> None:
    try:
        pool.disconnect(inuse_connections=False)
    except TypeError:  # a BlockingConnectionPool before redis-py 7 can only close all: look into its queue
        with pool.pool.mutex:
            for connection in pool.pool.queue:
                if connection is not None:
                    connection.disconnect()


# -- many calls at once, of threads alone --


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
    told = zip(calls, replies, strict=True)
    unknown = {call.script: call for call, reply in told if isinstance(reply, NoScriptError)}
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
            _command(pipeline, call)
        replies: list[Any] = pipeline.execute(raise_on_error=False)
    return replies


def _outcome(client: Any, call: Call[Any]) -> Any:
    try:
        return execute(client, call)
    except Exception as error:
        return error


# -- The sync face, written by worker/sync_face.py from what is above: change that. --


def execute(client: Any, call: Call[T]) -> T:
    """Run one script call and read its reply.

    Real clients get EVALSHA, and EVAL once for each server that does not know the script; any other object
    gets exactly one plain `eval`. Raises what the client raises (`redis.RedisError`).
    """
    if not isinstance(client, _BLOCKING):
        keys = call.keys
        words = call.script.text, len(keys), *map(as_text, keys), *call.args, *call.tail
        return call.parse(send(client, "eval", *words))
    kept = kept_by(client)
    try:
        reply = _command(client, call) if kept is None else ask(kept, call)
    except NoScriptError:
        reply = _command(client, call, by_text=True)
    except AWAY as error:
        if not _may_be_elsewhere(client, error):
            raise
        drop_idle(client)
        reply = _ask_anew(client, call)
    return call.parse(reply)


def _ask_anew(client: Any, call: Call[Any]) -> Any:
    try:
        return _command(client, call)
    except NoScriptError:
        return _command(client, call, by_text=True)


def send(client: Any, command: str, /, *args: object, **options: object) -> Any:
    """Call one method of the client. Raises GatewayContractError for an answer of the other face."""
    try:
        return _told(client, command, args, options)
    except AWAY as error:
        if not _may_be_elsewhere(client, error):
            raise
        drop_idle(client)
        return _told(client, command, args, options)


def push(client: Any, what: Push) -> None:
    """Send an LPUSH once, but for what the client itself repeats. Raises as `send_async`."""
    kept = pushes_by(client) if isinstance(client, _BLOCKING) else None
    if kept is None:
        send(client, "lpush", what.queue, what.stored)
        return
    over_fresh(client, lambda: ask(kept, what))


def over_fresh(client: Any, action: Callable[[], T]) -> T:
    """The outcome of `action`; of a second one, over new connections, where the first met such a server."""
    try:
        return action()
    except AWAY as error:
        if not _may_be_elsewhere(client, error):
            raise
        drop_idle(client)
        return action()
