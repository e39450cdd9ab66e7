"""The seam between a queue and its Redis work: subclass it to put something of your own there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis_message_queue.interrupt_handler import BaseGracefulInterruptHandler
    from redis_message_queue.messages import ClaimedMessage, MessageData


class GatewayProperties:
    """What a queue asks of any gateway; the defaults describe one without leases."""

    @property
    def is_redis_cluster(self) -> bool:
        """True if the keys of a queue must share a hash tag."""
        return False

    @property
    def message_visibility_timeout_seconds(self) -> int | None:
        """How long a lease lasts without renewal; None means claims carry no lease."""
        return None

    @property
    def max_delivery_count(self) -> int | None:
        """Deliveries of one message before it becomes a dead letter; None means no limit."""
        return None

    @property
    def dead_letter_queue(self) -> str | None:
        """The key dead letters go to."""
        return None


class AbstractRedisGateway(GatewayProperties, ABC):
    """Redis work of a sync queue. Payload texts go in, stored messages come out."""

    @abstractmethod
    def publish_message(self, queue: str, message: str, dedup_key: str) -> bool:
        """Enqueue unless `dedup_key` is marked; True if enqueued, False for a duplicate."""

    @abstractmethod
    def add_message(self, queue: str, message: str) -> None:
        """Enqueue unconditionally. Should not retry: a repeat may duplicate."""

    @abstractmethod
    def move_message(
        self, from_queue: str, to_queue: str, message: MessageData, *, lease_token: str | None = None
    ) -> bool:
        """Atomically move a claimed message; False, and no change, if the token is no longer current."""

    @abstractmethod
    def remove_message(self, queue: str, message: MessageData, *, lease_token: str | None = None) -> bool:
        """Remove a claimed message; False, and no change, if the token is no longer current."""

    @abstractmethod
    def renew_message_lease(
        self,
        queue: str,
        message: MessageData,
        lease_token: str,
        *,
        is_interrupted: BaseGracefulInterruptHandler | None = None,
    ) -> bool:
        """Extend the lease; True only if the server did. Called from another thread than move and remove."""

    @abstractmethod
    def wait_for_message_and_move(
        self, from_queue: str, to_queue: str
    ) -> ClaimedMessage | MessageData | None:
        """Claim the next message: `ClaimedMessage` iff leases are used, None after at most about 5 s."""

    @abstractmethod
    def trim_queue(self, queue: str, max_length: int) -> None:
        """Keep the newest `max_length` entries, best effort."""
