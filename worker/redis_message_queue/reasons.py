"""Why the latest letters of a queue were given up, counted by the server: no payload is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis_message_queue import _transport
from redis_message_queue.operations import Call, script

if TYPE_CHECKING:
    import redis
    import redis.asyncio

    from redis_message_queue.keys import QueueKeys

__all__ = ["AT_MOST", "letter_reasons", "letter_reasons_async"]

AT_MOST = 500
_REASON_BYTES, _RECORD_BYTES = 200, 64 << 10
"""A worker's record has at most 4096 characters of a traceback; larger ones were written by somebody else."""


def _counted(records: str) -> Call[dict[str, int]]:
    return Call(script("reasons"), (records,), (AT_MOST, _REASON_BYTES, _RECORD_BYTES), _read, raw=True)


def _read(reply: list[Any]) -> dict[str, int]:
    found: dict[str, int] = {}
    for reason, count in zip(reply[::2], reply[1::2], strict=True):
        text = reason.decode(errors="replace")
        found[text] = found.get(text, 0) + int(count)
    return found


def _dead_and_failed(keys: QueueKeys) -> tuple[str, str]:
    return keys.dead_letter_info, keys.failed_info


async def letter_reasons_async(
    client: redis.asyncio.Redis | redis.asyncio.RedisCluster, keys: QueueKeys
) -> tuple[dict[str, int], dict[str, int]]:
    """Of the newest 500 dead letters, and of as many failed messages: how many have which reason.

    A reason is cut after 200 bytes; it is empty for records that tell none. Letters without a record, such as
    those of other libraries, are not counted. Raises one of `trouble.AWAY`.
    """
    dead, failed = _dead_and_failed(keys)
    return (
        await _transport.execute_async(client, _counted(dead)),
        await _transport.execute_async(client, _counted(failed)),
    )


# -- The sync face, written by worker/sync_face.py from what is above: change that. --


def letter_reasons(
    client: redis.Redis | redis.RedisCluster, keys: QueueKeys
) -> tuple[dict[str, int], dict[str, int]]:
    """Of the newest 500 dead letters, and of as many failed messages: how many have which reason.

    A reason is cut after 200 bytes; it is empty for records that tell none. Letters without a record, such as
    those of other libraries, are not counted. Raises one of `trouble.AWAY`.
    """
    dead, failed = _dead_and_failed(keys)
    return (
        _transport.execute(client, _counted(dead)),
        _transport.execute(client, _counted(failed)),
    )
