"""Samples and retirement marks over an asyncio client: see `redis_message_queue.sample`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from redis_message_queue import _async
from redis_message_queue._cluster import is_cluster
from redis_message_queue._fresh import over_fresh_async
from redis_message_queue._sample import (
    QueueSample,
    VersionOutcomes,
    WorkerState,
    missing_script,
    require_master,
    retire_call,
    sample_call,
)
from redis_message_queue.trouble import is_elsewhere

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis.asyncio

    from redis_message_queue.keys import QueueKeys

__all__ = ["QueueSample", "VersionOutcomes", "WorkerState", "retire", "sample", "unretire"]

_AT_ONCE_IN_A_CLUSTER = 16


async def sample(
    client: redis.asyncio.Redis | redis.asyncio.RedisCluster,
    keys: Sequence[QueueKeys],
    *,
    of_master: bool = False,
) -> list[QueueSample | Exception]:
    """Read all queues; a queue that cannot be read gives its exception in its place.

    One pipeline, and in a cluster one call for each. Raises `redis.RedisError` when the server itself
    cannot be reached; with `of_master` also `redis.exceptions.ReadOnlyError` when it is a replica, whose
    numbers may be old.
    """
    if is_cluster(client):
        gate = asyncio.Semaphore(_AT_ONCE_IN_A_CLUSTER)
        return list(await asyncio.gather(*(_one(client, each, gate) for each in keys)))

    async def ask() -> list[Any]:
        replies = await _pipelined(client, keys, of_master=of_master)
        if gone := next(filter(is_elsewhere, replies), None):
            raise gone
        return replies

    replies = await over_fresh_async(client, ask)
    if missing_script(replies):
        await _async.execute(client, sample_call(keys[0]))
        replies = await ask()
    return [
        reply if isinstance(reply, Exception) else sample_call(each).parse(reply)
        for each, reply in zip(keys, replies, strict=True)
    ]


async def _pipelined(client: Any, keys: Sequence[QueueKeys], *, of_master: bool) -> list[Any]:
    async with client.pipeline(transaction=False) as pipeline:
        if of_master:  # every user may say HELLO; where a proxy does not let it pass, nobody knows
            pipeline.execute_command("HELLO")
        for each in keys:
            call = sample_call(each)
            pipeline.execute_command("EVALSHA", call.script.sha, len(call.keys), *call.keys)
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
    if of_master:
        require_master(replies.pop(0))
    return replies


async def _one(client: Any, keys: QueueKeys, gate: asyncio.Semaphore) -> QueueSample | Exception:
    try:
        async with gate:
            return await _async.execute(client, sample_call(keys))
    except Exception as error:
        return error


async def retire(
    client: redis.asyncio.Redis | redis.asyncio.RedisCluster,
    keys: QueueKeys,
    worker_ids: Sequence[str],
    ttl_seconds: float = 30,
) -> tuple[str, ...]:
    """Ask idle workers to claim no more for a while; the ids that were idle and are marked now.

    A worker that is busy, draining or unknown is left alone. The mark ends by itself after `ttl_seconds`.
    """
    return await _async.execute(client, retire_call(keys, worker_ids, ttl_seconds)) if worker_ids else ()


async def unretire(
    client: redis.asyncio.Redis | redis.asyncio.RedisCluster, keys: QueueKeys, worker_ids: Sequence[str]
) -> tuple[str, ...]:
    """Take `retire` back; the ids that are known and free to claim now."""
    return await _async.execute(client, retire_call(keys, worker_ids, 0)) if worker_ids else ()
