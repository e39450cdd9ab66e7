"""Giving back at once what a worker process holds that is known to have ended. Both faces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from redis_message_queue import _transport
from redis_message_queue.exceptions import ConfigurationError
from redis_message_queue.keys import held_field
from redis_message_queue.operations import Call, as_text, script

if TYPE_CHECKING:
    import redis
    import redis.asyncio

    from redis_message_queue.keys import QueueKeys

__all__ = ["expire_leases", "expire_leases_async"]

_FIRST, _MOST_AT_ONCE, _BYTES_AT_ONCE = 16, 1000, 1 << 20


class _Part(NamedTuple):
    returned: int
    cursor: str
    entries: int
    size: int


async def expire_leases_async(
    client: redis.asyncio.Redis | redis.asyncio.RedisCluster, keys: QueueKeys, instance: str
) -> int:
    """Give back at once what a process holds that has ended; how many messages came back.

    For whoever knows that the process is dead, as its parent does: silence proves nothing. Its messages are
    pending again as if their leases had expired, delivery counts and all; a consumer that waits is woken. A
    process that lives after all is told that its leases are lost, and none of its settlements counts.
    Nobody else's lease is touched. It may be repeated: what is back is not given back again.

    Args:
        instance: of the process' `WorkerIdentity`.

    Raises:
        ConfigurationError: an empty instance.
        redis.RedisError: one of `trouble.AWAY`, on trouble.
    """
    if not instance:
        raise ConfigurationError("'instance' must not be empty: by it a process is told from others")
    cursor, count, returned = "0", _FIRST, 0
    while True:
        part = await _transport.execute_async(client, _look(keys, instance, cursor, count))
        returned += part.returned
        if not part.cursor:
            return returned
        cursor, count = part.cursor, min(_MOST_AT_ONCE, 4 * count)
        if part.entries:  # if the next are alike
            count = max(1, min(count, _BYTES_AT_ONCE * part.entries // max(1, part.size)))


def _look(keys: QueueKeys, instance: str, cursor: str, count: int) -> Call[_Part]:
    lease = keys.leases
    names = (
        keys.pending,
        *lease.names,
        lease.notes,
        keys.workers,
    )
    return Call(script("expire"), names, (held_field(instance), cursor, count), _read)


def _read(reply: Any) -> _Part:
    returned, cursor, entries, size = reply
    return _Part(int(returned), as_text(cursor), int(entries), int(size))


# -- The sync face, written by worker/sync_face.py from what is above: change that. --


def expire_leases(client: redis.Redis | redis.RedisCluster, keys: QueueKeys, instance: str) -> int:
    """Give back at once what a process holds that has ended; how many messages came back.

    For whoever knows that the process is dead, as its parent does: silence proves nothing. Its messages are
    pending again as if their leases had expired, delivery counts and all; a consumer that waits is woken. A
    process that lives after all is told that its leases are lost, and none of its settlements counts.
    Nobody else's lease is touched. It may be repeated: what is back is not given back again.

    Args:
        instance: of the process' `WorkerIdentity`.

    Raises:
        ConfigurationError: an empty instance.
        redis.RedisError: one of `trouble.AWAY`, on trouble.
    """
    if not instance:
        raise ConfigurationError("'instance' must not be empty: by it a process is told from others")
    cursor, count, returned = "0", _FIRST, 0
    while True:
        part = _transport.execute(client, _look(keys, instance, cursor, count))
        returned += part.returned
        if not part.cursor:
            return returned
        cursor, count = part.cursor, min(_MOST_AT_ONCE, 4 * count)
        if part.entries:  # if the next are alike
            count = max(1, min(count, _BYTES_AT_ONCE * part.entries // max(1, part.size)))
