"""Refusing Redis clients that would misbehave later, by name and with the way out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import redis
import redis.asyncio
import redis.asyncio.client
import redis.asyncio.sentinel
import redis.client
import redis.cluster
import redis.connection
import redis.sentinel
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from redis_message_queue._cluster import has_hash_tag
from redis_message_queue.exceptions import ConfigurationError

if TYPE_CHECKING:
    from redis_message_queue.keys import QueueKeys

# Twice what one command blocks for, so that a slow reply is not taken for a lost one.
_SHORTEST_SOCKET_TIMEOUT = 2.0
_PROBE_SECONDS = 1.0
_BLOCKING = (redis.Redis, redis.RedisCluster)
_ASYNCIO = (redis.asyncio.Redis, redis.asyncio.RedisCluster)
_SENTINELS = (redis.sentinel.Sentinel, redis.asyncio.sentinel.Sentinel)
_PIPELINES = (
    redis.client.Pipeline,
    redis.asyncio.client.Pipeline,
    redis.cluster.ClusterPipeline,
    redis.asyncio.cluster.ClusterPipeline,
)


def check_client(client: object, *, asyncio: bool) -> None:
    """Raise TypeError for a client that a gateway of this face cannot use."""
    if isinstance(client, _SENTINELS):
        raise TypeError("'redis_client' is a Sentinel manager object; pass sentinel.master_for(name) instead")
    if isinstance(client, _PIPELINES):
        raise TypeError("'redis_client' is a Pipeline, which only collects commands; pass the client itself")
    if isinstance(client, _BLOCKING if asyncio else _ASYNCIO):
        kind, package, own = (
            ("a sync", "redis_message_queue", "redis.asyncio.Redis")
            if asyncio
            else ("an async", "redis_message_queue.asyncio", "redis.Redis")
        )
        raise TypeError(
            f"'redis_client' is {kind} Redis client ({type(client).__name__});"
            f" use {package} with it, or a {own} here"
        )
    if isinstance(client, (redis.Redis, redis.asyncio.Redis)) and (
        client.connection is not None or getattr(client, "single_connection_client", False)
    ):
        raise TypeError(
            "'redis_client' is a single-connection client; heartbeats and handlers would share one"
            " connection: build it without single_connection_client=True"
        )


def probed_cluster_node(client: object) -> bool:
    """Whether it is known what server a sync client talks to; False when the server could not be asked.

    It is asked over a short-lived connection, without the client's own repeats: building a queue must not
    take long because Redis is away. Raises TypeError as `check_not_cluster_node`.
    """
    pool = getattr(client, "connection_pool", None)
    if not isinstance(client, redis.Redis) or not isinstance(pool, redis.ConnectionPool):
        return True
    if isinstance(pool, redis.sentinel.SentinelConnectionPool):
        return True
    quick: dict[str, Any] = {"retry": Retry(NoBackoff(), 0), "socket_timeout": _PROBE_SECONDS}
    if "path" not in pool.connection_kwargs:
        quick["socket_connect_timeout"] = _PROBE_SECONDS
    try:
        connection = pool.connection_class(**{**pool.connection_kwargs, **quick})
        try:
            connection.connect()
            connection.send_command("INFO", "cluster")
            reply = connection.read_response()
        finally:
            connection.disconnect()
    except Exception:
        return False
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else str(reply)
    check_not_cluster_node({"cluster_enabled": int("cluster_enabled:1" in text)})
    return True


def check_not_cluster_node(info: Any) -> None:
    """Raise TypeError if the reply to INFO tells of a cluster: a plain client reaches one node of it only."""
    if isinstance(info, dict) and info.get("cluster_enabled") == 1:
        raise TypeError(
            "'redis_client' is a plain client on a node of a Redis Cluster and would miss the keys of other"
            " nodes; use a RedisCluster client"
        )


def can_block(client: object) -> bool:
    """True for a real client that waits longer for a reply than one blocking call takes."""
    if not isinstance(client, (*_BLOCKING, *_ASYNCIO)):
        return False
    timeout = cast("Any", client).get_connection_kwargs().get("socket_timeout")
    return timeout is None or (isinstance(timeout, (int, float)) and timeout >= _SHORTEST_SOCKET_TIMEOUT)


def check_cluster_keys(keys: QueueKeys, dead_letter_queue: str | None) -> None:
    """Raise ConfigurationError unless all keys of a queue live in one slot of a cluster."""
    prefix = keys.deduplication_prefix
    names = (keys.pending, keys.processing, keys.completed, keys.failed, keys.dead_letter, prefix)
    slots = {name: key_slot(name.encode()) for name in names}
    if not has_hash_tag(prefix) or len(set(slots.values())) > 1:
        raise ConfigurationError(
            "Redis Cluster requires queue keys to share a hash tag: put it in the name, like"
            f" '{{orders}}'; the slots are {slots}"
        )
    if dead_letter_queue and key_slot(dead_letter_queue.encode()) != slots[keys.pending]:
        raise ConfigurationError(
            f"'dead_letter_queue' {dead_letter_queue!r} is in another slot than the queue's keys:"
            " Redis Cluster requires queue keys to share a hash tag"
        )
