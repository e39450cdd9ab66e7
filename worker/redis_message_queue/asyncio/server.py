"""Whether messages are safe on a server, over an asyncio client: see `redis_message_queue.server`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from redis_message_queue._cluster import is_cluster
from redis_message_queue._server_facts import Concern, ServerFacts, inquiry, merged

if TYPE_CHECKING:
    import redis.asyncio

__all__ = ["Concern", "ServerFacts", "server_facts"]


async def server_facts(client: redis.asyncio.Redis | redis.asyncio.RedisCluster) -> ServerFacts:
    """Ask the server, in a cluster each master, by INFO and, for what that leaves open, CONFIG GET.

    Neither is needed for anything else: where they are refused the facts are unknown, which is None. Raises
    `redis.RedisError` or OSError when the server cannot be reached.
    """
    source: Any = client
    if is_cluster(client):
        await source.initialize()
        return merged([await _ask(source, target_nodes=node) for node in source.get_primaries()])
    return await _ask(source)


async def _ask(client: Any, **target: Any) -> ServerFacts:
    questions = inquiry()
    question = next(questions)
    while True:
        try:
            reply = await client.execute_command(*question, **target)
        except ResponseError:
            reply = None
        try:
            question = questions.send(reply if isinstance(reply, dict) else None)
        except StopIteration as end:
            facts: ServerFacts = end.value
            return facts
