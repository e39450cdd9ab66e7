"""In a cluster all keys of a queue have to live in one slot: a script and a move reach no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import redis
import redis.asyncio

from redis_message_queue.exceptions import ConfigurationError

if TYPE_CHECKING:
    from redis_message_queue.keys import QueueKeys


def is_cluster(client: object) -> bool:
    """Whether this is a cluster client of redis-py, blocking or asyncio."""
    return isinstance(client, (redis.RedisCluster, redis.asyncio.RedisCluster))


def has_hash_tag(name: str) -> bool:
    """Whether the first `{` of `name` is followed by a non-empty tag, as the cluster reads it."""
    _, opened, rest = name.partition("{")
    tag, closed, _ = rest.partition("}")
    return bool(opened and closed and tag)


def require_one_slot(client: object, keys: QueueKeys) -> None:
    """Raise ConfigurationError when `client` is a cluster's and the queue's name has no hash tag."""
    if is_cluster(client) and not has_hash_tag(keys.name):
        raise ConfigurationError(
            "Redis Cluster requires queue keys to share a hash tag: "
            f"name the queue '{{{keys.name}}}' instead of '{keys.name}'"
        )
