"""In a cluster all keys of a queue have to live in one slot: a script and a move reach no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import redis
import redis.asyncio

from redis_message_queue.exceptions import ConfigurationError

if TYPE_CHECKING:
    from redis_message_queue.keys import QueueKeys


def is_cluster(client: object) -> bool:
    """Whether this is a cluster client of redis-py, blocking or asyncio."""
    return isinstance(client, (redis.RedisCluster, redis.asyncio.RedisCluster))


def keep_looking_at(client: Any, *nodes: Any) -> None:
    """Have a cluster client ask these nodes too, whenever it looks for the cluster.

    redis-py forgets the address that it was given for those that it found there: after a restart of the whole
    cluster none of them may exist any more, while the name leads to the new ones.
    """
    manager = client.nodes_manager
    base: Any = type(manager)

    class NodesManager(base):  # type: ignore[misc]
        __slots__ = ()

        def initialize(self, *args: Any, **options: Any) -> Any:
            for node in nodes:
                self.startup_nodes.setdefault(node.name, node)
            return super().initialize(*args, **options)

    manager.__class__ = NodesManager  # neither client takes one as an argument


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
