"""All counters of many queues in one round trip, and the marks that ask idle workers to stop claiming."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis_message_queue import _sync
from redis_message_queue._cluster import is_cluster
from redis_message_queue._sample import (
    QueueSample,
    WorkerState,
    missing_script,
    retire_call,
    sample_call,
)
from redis_message_queue._scripts import script

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

    from redis_message_queue.keys import QueueKeys

__all__ = ["QueueSample", "WorkerState", "retire", "sample", "unretire"]


def sample(
    client: redis.Redis | redis.RedisCluster, keys: Sequence[QueueKeys]
) -> list[QueueSample | Exception]:
    """Read all queues; a queue that cannot be read gives its exception in its place.

    One pipeline, and in a cluster one call after another. Raises `redis.RedisError` when the server itself
    cannot be reached.
    """
    if is_cluster(client):
        return [_one(client, each) for each in keys]
    replies = _pipelined(client, keys)
    if missing_script(replies):
        source: Any = client
        source.script_load(script("sample").text)
        replies = _pipelined(client, keys)
    return [
        reply if isinstance(reply, Exception) else sample_call(each).parse(reply)
        for each, reply in zip(keys, replies, strict=True)
    ]


def _pipelined(client: Any, keys: Sequence[QueueKeys]) -> list[Any]:
    with client.pipeline(transaction=False) as pipeline:
        for each in keys:
            call = sample_call(each)
            pipeline.execute_command("EVALSHA", call.script.sha, len(call.keys), *call.keys)
        replies: list[Any] = pipeline.execute(raise_on_error=False)
    return replies


def _one(client: Any, keys: QueueKeys) -> QueueSample | Exception:
    try:
        return _sync.execute(client, sample_call(keys))
    except Exception as error:
        return error


def retire(
    client: redis.Redis | redis.RedisCluster,
    keys: QueueKeys,
    worker_ids: Sequence[str],
    ttl_seconds: float = 30,
) -> tuple[str, ...]:
    """Ask idle workers to claim no more for a while; the ids that were idle and are marked now.

    A worker that is busy, draining or unknown is left alone. The mark ends by itself after `ttl_seconds`.
    """
    return _sync.execute(client, retire_call(keys, worker_ids, ttl_seconds)) if worker_ids else ()


def unretire(
    client: redis.Redis | redis.RedisCluster, keys: QueueKeys, worker_ids: Sequence[str]
) -> tuple[str, ...]:
    """Take `retire` back; the ids that are known and free to claim now."""
    return _sync.execute(client, retire_call(keys, worker_ids, 0)) if worker_ids else ()
