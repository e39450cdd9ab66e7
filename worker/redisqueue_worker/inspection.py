"""What a worker needs of its Redis, and this one has not."""

from __future__ import annotations

import re
from typing import Any

import redis

from redis_message_queue.acl import commands

# Redis and Valkey, also for a renamed command, and what proxies and services say.
_UNKNOWN = re.compile(
    r"un(?:known|supported|recognized) (?:redis )?command|not (?:available|supported|allowed)|disabled",
    re.IGNORECASE,
)


def missing_commands(client: Any) -> list[str]:
    """The commands of a worker that this server or proxy does not have, in upper case.

    Each is sent without arguments: who knows it answers how many there should be, and does nothing.
    """
    if isinstance(client, redis.RedisCluster):
        cluster: Any = client
        client = cluster.get_redis_connection(cluster.get_default_node())
    names = sorted(commands("worker"))
    with client.pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.execute_command(name.upper())
        replies = pipeline.execute(raise_on_error=False)
    return [
        name.upper()
        for name, reply in zip(names, replies, strict=True)
        if isinstance(reply, redis.ResponseError) and _UNKNOWN.search(str(reply))
    ]
