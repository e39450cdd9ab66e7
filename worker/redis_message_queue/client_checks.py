"""Refusing Redis clients, and names of keys, that would misbehave later: by name and with the way out."""

from __future__ import annotations

import logging
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

from redis_message_queue._callbacks import is_async_callable, warn
from redis_message_queue.exceptions import ConfigurationError
from redis_message_queue.keys import has_hash_tag

if TYPE_CHECKING:
    from redis_message_queue.keys import QueueKeys

logger = logging.getLogger(__name__)

# Twice what one command blocks for, so that a slow reply is not taken for a lost one.
_SHORTEST_SOCKET_TIMEOUT = 2.0
_PROBE_SECONDS = 1.0
_BLOCKING = (redis.Redis, redis.RedisCluster)
_ASYNCIO = (redis.asyncio.Redis, redis.asyncio.RedisCluster)
_CLUSTERS = (redis.RedisCluster, redis.asyncio.RedisCluster)
# The ways in which clients of whatever library send: one that is async there is so in all.
_SENDING = ("execute_command", "eval", "lpush", "custom_command")
_SENTINELS = (redis.sentinel.Sentinel, redis.asyncio.sentinel.Sentinel)
_PIPELINES = (
    redis.client.Pipeline,
    redis.asyncio.client.Pipeline,
    redis.cluster.ClusterPipeline,
    redis.asyncio.cluster.ClusterPipeline,
)


def is_cluster(client: object) -> bool:
    """Whether this is a cluster client of redis-py, blocking or asyncio."""
    return isinstance(client, _CLUSTERS)


def check_client(client: object, *, asyncio: bool) -> None:
    """Raise TypeError for a client that a gateway of this face cannot use."""
    if isinstance(client, _SENTINELS):
        raise TypeError("'redis_client' is a Sentinel manager object; pass sentinel.master_for(name) instead")
    if isinstance(client, _PIPELINES):
        raise TypeError("'redis_client' is a Pipeline, which only collects commands; pass the client itself")
    check_face(client, asyncio=asyncio)
    if isinstance(client, (redis.Redis, redis.asyncio.Redis)) and (
        client.connection is not None or getattr(client, "single_connection_client", False)
    ):
        raise TypeError(
            "'redis_client' is a single-connection client; heartbeats and handlers would share one"
            " connection: build it without single_connection_client=True"
        )


def check_face(client: object, *, asyncio: bool, name: str = "redis_client") -> None:
    """Raise TypeError for a client of the other face, of whatever library: `name` is the argument."""
    if not (_is_blocking(client) if asyncio else _is_asyncio(client)):
        return
    kind, package, own = (
        ("a sync", "redis_message_queue", "redis.asyncio.Redis")
        if asyncio
        else ("an async", "redis_message_queue.asyncio", "redis.Redis")
    )
    made_by = type(client).__module__.partition(".")[0]
    whose = "" if made_by == "redis" else f" of {made_by}"
    raise TypeError(
        f"'{name}' is {kind} Redis client ({type(client).__name__}{whose});"
        f" use {package} with it, or a {own} here"
    )


def _is_asyncio(client: object) -> bool:
    """By its class, else by how it sends: a double may have no more than the commands that are used."""
    if isinstance(client, (*_BLOCKING, *_ASYNCIO)):
        return isinstance(client, _ASYNCIO)
    return any(is_async_callable(getattr(client, name, None)) for name in _SENDING)


def _is_blocking(client: object) -> bool:
    """By its class, else by being of use in `with` alone: what a plain function returns may be awaited."""
    if isinstance(client, (*_BLOCKING, *_ASYNCIO)):
        return isinstance(client, _BLOCKING)
    return hasattr(type(client), "__enter__") and not hasattr(type(client), "__aenter__")


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


def warn_of_small_pool(client: object, least: int) -> None:
    """Name a client that may not have as many connections as one queue uses at once."""
    pool = getattr(client, "connection_pool", None)
    most = getattr(pool, "max_connections", None)
    if isinstance(client, (*_BLOCKING, *_ASYNCIO)) and isinstance(most, int) and most < least:
        text = (
            f"the client's max_connections={most} is less than the {least} connections that a consumer with a"
            " heartbeat uses at once: build it with as many as there are threads or tasks, and a few more"
        )
        logger.warning(text)
        warn(text)


def can_block(client: object) -> bool:
    """True for a real client that waits longer for a reply than one blocking call takes."""
    if not isinstance(client, (*_BLOCKING, *_ASYNCIO)):
        return False
    timeout = cast("Any", client).get_connection_kwargs().get("socket_timeout")
    return timeout is None or (isinstance(timeout, (int, float)) and timeout >= _SHORTEST_SOCKET_TIMEOUT)


def require_one_slot(client: object, keys: QueueKeys) -> None:
    """Raise ConfigurationError when `client` is a cluster's and the queue's name has no hash tag."""
    if is_cluster(client) and not has_hash_tag(keys.name):
        raise ConfigurationError(
            "Redis Cluster requires queue keys to share a hash tag: "
            f"name the queue '{{{keys.name}}}' instead of '{keys.name}'"
        )


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
