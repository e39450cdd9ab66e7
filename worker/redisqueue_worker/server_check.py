"""What a worker needs of its Redis, and whether messages are safe there."""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING, Any

import redis

from redis_message_queue.acl import commands
from redis_message_queue.server import ServerFacts, server_facts

if TYPE_CHECKING:
    from redis_message_queue.connection import ConnectionSettings


log = logging.getLogger(__name__)

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


FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0


def tell_once(connection: ConnectionSettings) -> None:
    """Log what is wrong with the server, as soon as it answers: waits for that."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            with connection.connect() as client:
                facts = server_facts(client)
        except Exception as error:  # most likely Redis is away, which the consumer loop tells of
            log.debug("the server does not tell of itself", extra={"error": type(error).__name__})
            time.sleep(pause)
            pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)
        else:
            tell(facts, connection.redacted)
            return


def tell(facts: ServerFacts, where: str) -> None:
    """One warning for each concern, one line for what is not known."""
    for concern in facts.concerns:
        fields = {"redis": where, "reason": concern.reason, "detail": concern.text}
        log.warning("messages are not safe on this Redis", extra=fields)
    if facts.unknown:
        log.info(
            "this Redis does not tell whether messages are safe there",
            extra={"redis": where, "unknown": ", ".join(facts.unknown)},
        )
