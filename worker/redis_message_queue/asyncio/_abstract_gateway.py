"""The seam between a queue and its Redis work: subclass it to put something of your own there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from redis_message_queue._abstract_gateway import GatewayProperties

if TYPE_CHECKING:
    from redis_message_queue.interrupt_handler import BaseGracefulInterruptHandler
    from redis_message_queue.messages import ClaimedMessage, MessageData


class AbstractRedisGateway(GatewayProperties, ABC):
    """Redis work of an asyncio queue. Payload texts go in, stored messages come out."""

    @abstractmethod
    async def publish_message(self, queue: str, message: str, dedup_key: str) -> bool:
        """Enqueue unless `dedup_key` is marked; True if enqueued, False for a duplicate."""

    @abstractmethod
    async def add_message(self, queue: str, message: str) -> None:
        """Enqueue unconditionally. Should not retry: a repeat may duplicate."""

    @abstractmethod
    async def move_message(
        self, from_queue: str, to_queue: str, message: MessageData, *, lease_token: str | None = None
    ) -> bool:
        """Atomically move a claimed message; False, and no change, if the token is no longer current."""

    @abstractmethod
    async def remove_message(
        self, queue: str, message: MessageData, *, lease_token: str | None = None
    ) -> bool:
        """Remove a claimed message; False, and no change, if the token is no longer current."""

    @abstractmethod
    async def renew_message_lease(
        self,
        queue: str,
        message: MessageData,
        lease_token: str,
        *,
        is_interrupted: BaseGracefulInterruptHandler | None = None,
    ) -> bool:
        """Extend the lease; True only if the server did. Called from another task than move and remove."""

    @abstractmethod
    async def wait_for_message_and_move(
        self, from_queue: str, to_queue: str
    ) -> ClaimedMessage | MessageData | None:
        """Claim the next message: `ClaimedMessage` iff leases are used, None after at most about 5 s."""

    @abstractmethod
    async def trim_queue(self, queue: str, max_length: int) -> None:
        """Keep the newest `max_length` entries, best effort."""
