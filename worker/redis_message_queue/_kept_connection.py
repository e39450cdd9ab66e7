"""A connection that stays in hand between script calls, and the form in which calls go over it.

To take a connection from redis-py's pool, to look whether it is still open, to pack a command argument by
argument and to put the connection back takes longer than the rest of a call. So one that has just answered is
kept for the next call. It belongs to its pool all the while: closing the client closes it.
"""

from __future__ import annotations

import select
from contextlib import suppress
from functools import lru_cache
from types import FunctionType
from typing import TYPE_CHECKING, Any

import redis
import redis.asyncio
import redis.asyncio.client
import redis.client
from redis.credentials import StreamingCredentialProvider
from redis.exceptions import ResponseError

from redis_message_queue._clock import NEVER, check_deadline, deadline_at, monotonic
from redis_message_queue._local_state import ForgottenAtFork
from redis_message_queue.operations import Call, Push
from redis_message_queue.trouble import AWAY, is_elsewhere

if TYPE_CHECKING:
    from redis_message_queue.operations import Text

# Later, the pool has to look whether the server has closed it.
_KEPT_SECONDS = 0.01
# Of a small pool its owner counts every connection.
_LARGE_POOL = 50
# How many requests stay packed as far as they are the same in each call: a few for each queue.
_HEADS = 4096
_UTF8 = "utf-8", "strict"
_Poll = getattr(select, "poll", None)  # there is none on Windows
# How pools give connections out and take them back, those of Sentinels too. A blocking pool has its own ways.
_OWN_POOLS = {
    (kind.get_connection, kind.release) for kind in (redis.ConnectionPool, redis.asyncio.ConnectionPool)
}
_NAME = "_redis_message_queue_kept"
# How redis-py itself sends a command, unless something that traces commands has replaced it already.
_CLIENTS: dict[type[Any], Any] = {redis.Redis: redis.client, redis.asyncio.Redis: redis.asyncio.client}
_OWN_WAYS = {
    kind: kind.execute_command
    for kind, module in _CLIENTS.items()
    if type(kind.execute_command) is FunctionType
    and kind.execute_command.__code__.co_filename == module.__file__
}
_OWN_PUSH = redis.Redis.lpush


class KeptConnection(ForgottenAtFork):
    """The connection of `pool` that answered last. Threads may share it: who comes first has it."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool
        self._follows_master: bool = getattr(pool, "is_master", False)
        super().__init__()

    def forget(self) -> None:
        """Keep none."""
        self._kept: list[tuple[Any, float]] = []

    def take(self) -> tuple[Any, bool]:
        """The connection, and whether it answered a moment ago; (None, False) if there is none."""
        try:
            connection, since = self._kept.pop()
        except IndexError:
            return None, False
        fresh = monotonic() - since < _KEPT_SECONDS
        return connection, fresh and not (self._follows_master and self.is_former(connection))

    def keep(self, connection: Any) -> bool:
        """Keep a connection that has answered; False if its pool shall have it back."""
        moves = getattr(connection, "should_reconnect", None)  # since redis-py 7
        if self._kept or (moves is not None and moves()):
            return False
        if self._follows_master and self.is_former(connection):
            return False
        self._kept.append((connection, monotonic()))
        return True

    def is_former(self, connection: Any) -> bool:
        """Whether it leads to a former master: another connection has found that Sentinels name another."""
        return self._follows_master and self.pool.master_address != (connection.host, connection.port)


def kept_by(client: Any) -> KeptConnection | None:
    """What a plain client of redis-py keeps; None for any other, which has to send its commands itself.

    Whoever replaces `execute_command` (a subclass, tracing, a test) or has redis-py count its commands wants
    to see each of them.
    """
    kind = type(client)
    way = _OWN_WAYS.get(kind)
    if way is None or kind.execute_command is not way or "execute_command" in vars(client):
        return None
    attributes = vars(client.connection_pool)
    kept = attributes.get(_NAME)
    if kept is None:
        pool = client.connection_pool
        # There they live as long as the pool does. False: it has none.
        kept = attributes.setdefault(_NAME, KeptConnection(pool) if _suits(pool) else False)
    return kept or None


def pushes_by(client: Any) -> KeptConnection | None:
    """What a plain client keeps, unless somebody wants to see each `lpush` of it."""
    if type(client).lpush is not _OWN_PUSH or "lpush" in vars(client):
        return None
    return kept_by(client)


def kept_of(pool: Any) -> KeptConnection | None:
    """What is kept of a pool, if anything was."""
    return vars(pool).get(_NAME) or None


def _suits(pool: Any) -> bool:
    kind = type(pool)
    return (
        (kind.get_connection, kind.release) in _OWN_POOLS
        and pool.max_connections >= _LARGE_POOL
        and getattr(pool, "cache", None) is None
        # These log in anew whenever a connection comes back to its pool.
        and not isinstance(pool.connection_kwargs.get("credential_provider"), StreamingCredentialProvider)
        and not _measured()
    )


def _measured() -> bool:
    try:
        from redis.observability.providers import get_observability_instance  # noqa: PLC0415 (redis-py 7)
    except ImportError:
        return False
    return bool(get_observability_instance().is_enabled())


def packed(call: Call[Any] | Push, connection: Any) -> bytes:
    """What is sent of a call, in the encoding of the connection."""
    encoder = connection.encoder
    encoding = encoder.encoding, encoder.encoding_errors
    parts: tuple[Any, ...]
    if isinstance(call, Push):
        parts = (call.stored,)
        bulks = [b"*3\r\n%b" % _head_of_push(call.queue, encoding)]
    else:
        names, own, args = call.names, call.own_keys, call.args
        parts = (*own, *args)
        head = _head_of_call(call.script.sha, names, len(names) + len(own), encoding)
        bulks = [b"*%d\r\n%b" % (3 + len(names) + len(parts) + len(call.tail), head)]
    is_utf8 = encoding == _UTF8
    for part in parts:
        if is_utf8 and type(part) is str:
            part = part.encode()  # noqa: PLW2901 - as it is sent
        elif type(part) is not bytes:
            part = str(part).encode(*encoding)  # noqa: PLW2901
        bulks.append(b"$%d\r\n%b\r\n" % (len(part), part))
    if type(call) is Call and call.tail:
        bulks.append(_tail(call.tail, encoding))
    return b"".join(bulks)


@lru_cache(_HEADS)
def _tail(words: tuple[str | int, ...], encoding: tuple[str, str]) -> bytes:
    return _bulks(tuple(map(str, words)), encoding)


@lru_cache(_HEADS)
def _head_of_call(sha: str, names: tuple[Text, ...], keys: int, encoding: tuple[str, str]) -> bytes:
    return _bulks(("EVALSHA", sha, str(keys), *names), encoding)


@lru_cache(_HEADS)
def _head_of_push(queue: str, encoding: tuple[str, str]) -> bytes:
    return _bulks(("LPUSH", queue), encoding)


def _bulks(parts: tuple[Text, ...], encoding: tuple[str, str]) -> bytes:
    coded = [part if isinstance(part, bytes) else part.encode(*encoding) for part in parts]
    return b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in coded)


async def ask_async(kept: KeptConnection, call: Call[Any] | Push) -> Any:
    """The reply to a call over the connection that is kept, or one of its pool."""
    connection, fresh = kept.take()
    if not fresh or (type(call) is Push and await _is_over_async(connection)):
        if connection is not None:
            await _release_async(kept, connection)
        connection = await kept.pool.get_connection()
    answered = False
    try:
        request = [packed(call, connection)]
        if deadline_at.get() is not NEVER:
            check_deadline()
        try:
            await connection.send_packed_command(request)
            reply = await connection.read_response(disable_decoding=call.raw)
        except Exception as error:
            reply = await _repeated_async(connection, request, call.raw, [error])
        answered = True
    except ResponseError as error:
        answered = not is_elsewhere(error)
        raise
    finally:
        if not answered:
            await _hang_up_async(connection)
        if not answered or not kept.keep(connection):
            await _release_async(kept, connection)
    return reply


async def _repeated_async(connection: Any, request: list[bytes], raw: bool, failures: list[Exception]) -> Any:
    """What the client's own repeats come to, of which the first attempt ended in the one of `failures`.

    It is taken out: in the list an error would hold itself.
    """

    async def once() -> Any:
        if failures:
            raise failures.pop()
        check_deadline()
        await connection.send_packed_command(request)
        return await connection.read_response(disable_decoding=raw)

    return await connection.retry.call_with_retry(once, lambda _: connection.disconnect())


async def _is_over_async(connection: Any) -> bool:
    """Whether the server has closed it. What is sent once must not be sent there; all else is repeated."""
    reader = getattr(connection, "_reader", None)
    return reader is not None and reader.at_eof()


async def _hang_up_async(connection: Any) -> None:
    await connection.disconnect(nowait=True)


async def _release_async(kept: KeptConnection, connection: Any) -> None:
    """Let the pool have it. Under asyncio redis-py would go on with one that leads to a former master."""
    if kept.is_former(connection):
        await _hang_up_async(connection)
    await kept.pool.release(connection)


def _is_over(connection: Any) -> bool:
    line = getattr(connection, "_sock", None)
    if line is None or _Poll is None:
        return bool(connection.can_read())
    poll = _Poll()  # redis-py's own look takes four times as long
    poll.register(line, select.POLLIN)
    return bool(poll.poll(0))


def _hang_up(connection: Any) -> None:
    connection.disconnect()


# -- a connection for several calls that overlap, of threads alone --


def lend(kept: KeptConnection) -> Any:
    """The connection that is kept, or one of its pool: to be given back by `give_back` or `hang_up`."""
    connection, fresh = kept.take()
    if fresh:
        return connection
    if connection is not None:
        _release(kept, connection)
    return kept.pool.get_connection()


def give_back(kept: KeptConnection, connection: Any) -> None:
    """Keep it: it has answered to all that was sent."""
    if not kept.keep(connection):
        _release(kept, connection)


def hang_up(kept: KeptConnection, connection: Any) -> None:
    """Close it, whatever it has not answered to."""
    with suppress(*AWAY):
        connection.disconnect()
    kept.pool.release(connection)


# -- The sync face, written by worker/sync_face.py from what is above: change that. --


def ask(kept: KeptConnection, call: Call[Any] | Push) -> Any:
    """The reply to a call over the connection that is kept, or one of its pool."""
    connection, fresh = kept.take()
    if not fresh or (type(call) is Push and _is_over(connection)):
        if connection is not None:
            _release(kept, connection)
        connection = kept.pool.get_connection()
    answered = False
    try:
        request = [packed(call, connection)]
        if deadline_at.get() is not NEVER:
            check_deadline()
        try:
            connection.send_packed_command(request)
            reply = connection.read_response(disable_decoding=call.raw)
        except Exception as error:
            reply = _repeated(connection, request, call.raw, [error])
        answered = True
    except ResponseError as error:
        answered = not is_elsewhere(error)
        raise
    finally:
        if not answered:
            _hang_up(connection)
        if not answered or not kept.keep(connection):
            _release(kept, connection)
    return reply


def _repeated(connection: Any, request: list[bytes], raw: bool, failures: list[Exception]) -> Any:
    """What the client's own repeats come to, of which the first attempt ended in the one of `failures`.

    It is taken out: in the list an error would hold itself.
    """

    def once() -> Any:
        if failures:
            raise failures.pop()
        check_deadline()
        connection.send_packed_command(request)
        return connection.read_response(disable_decoding=raw)

    return connection.retry.call_with_retry(once, lambda _: connection.disconnect())


def _release(kept: KeptConnection, connection: Any) -> None:
    """Let the pool have it. Under asyncio redis-py would go on with one that leads to a former master."""
    if kept.is_former(connection):
        _hang_up(connection)
    kept.pool.release(connection)
