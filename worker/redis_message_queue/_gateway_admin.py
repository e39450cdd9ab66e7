# Written by worker/sync_face.py from asyncio/_gateway_admin.py: change that.
"""What a gateway can do to a list by its name: count, look, empty, redrive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis_message_queue import validation
from redis_message_queue._abstract_redis_gateway import AbstractRedisGateway
from redis_message_queue._admin import give_new_ids, purge
from redis_message_queue.keys import keys_beside

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redis_message_queue._redis_gateway import Sender
    from redis_message_queue.messages import MessageData


class GatewayAdmin(AbstractRedisGateway):
    """The methods that redis-message-queue has had since version 8.5.

    The queue object has more: `stats`, `peek`, `purge`, `redrive`. Errors of the server are raised as they
    are, LuaScriptError for a key of the wrong type that is to be changed.
    """

    _sender: Sender

    def queue_length(self, queue: str) -> int:
        """How many entries the list `queue` (a key) has."""
        return int(self._sender.command("llen", queue))

    def peek_messages(self, queue: str, count: int) -> list[MessageData]:
        """The newest `count` stored messages of the list `queue` (a key), newest first; all stay there."""
        validation.check(count=count)
        found: list[MessageData] = self._sender.command("lrange", queue, 0, count - 1)
        return found

    def purge_queue(self, queue: str) -> int:
        """Empty the list `queue` (a key), and what is recorded of its messages; how many there were.

        For pending and ended messages: what is in flight comes to an end by itself.
        """
        keys = keys_beside(queue)
        target = "pending" if queue == keys.pending else ""
        return purge(self._sender, keys, target, queue)

    def redrive_messages(
        self, dead_letter_queue: str, pending_queue: str, envelope_ids: Iterable[str]
    ) -> int:
        """Make the oldest letters of one list (a key) pending in another, under these ids; how many it were.

        The first id is for the oldest. Each id needs to be one that no message has: a new id is what gives a
        message its deliveries anew. Raises TypeError or ConfigurationError for ids that cannot be.
        """
        ids = validation.checked_new_ids(envelope_ids)
        return give_new_ids(self._sender, dead_letter_queue, pending_queue, ids)
