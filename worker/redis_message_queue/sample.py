"""All counters of many queues in one round trip, and the marks that ask idle workers to stop claiming."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from redis_message_queue import _sync
from redis_message_queue._cluster import is_cluster
from redis_message_queue._fresh import over_fresh
from redis_message_queue._sample import (
    QueueSample,
    VersionOutcomes,
    WorkerState,
    require_master,
    retire_call,
    sample_call,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

    from redis_message_queue.keys import QueueKeys

__all__ = ["QueueSample", "VersionOutcomes", "WorkerState", "retire", "sample", "unretire"]


def sample(
    client: redis.Redis | redis.RedisCluster, keys: Sequence[QueueKeys], *, of_master: bool = False
) -> list[QueueSample | Exception]:
    """Read all queues; a queue that cannot be read gives its exception in its place.

    One pipeline, and in a cluster one call after another. Raises `redis.RedisError` when the server itself
    cannot be reached; with `of_master` also `redis.exceptions.ReadOnlyError` when it is a replica, whose
    numbers may be old.
    """
    if of_master and not is_cluster(client):
        over_fresh(client, lambda: _require_master(client))
    return _sync.execute_many(client, [sample_call(each) for each in keys])


def _require_master(client: Any) -> None:
    try:
        hello = client.execute_command("HELLO")  # which every user may say
    except ResponseError:
        return  # a proxy that does not let it pass: nobody knows
    require_master(hello)


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
