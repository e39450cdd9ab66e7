# Written by worker/sync_face.py from asyncio/_abstract_redis_gateway.py: change that.
"""The seam between a queue and its Redis work: what a gateway does, and whom it tells of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from redis_message_queue.options import GatewayProperties

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis_message_queue.events import EventOperation, EventOutcome
    from redis_message_queue.interrupt_handler import BaseGracefulInterruptHandler
    from redis_message_queue.messages import ClaimedMessage, MessageData


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


class Emit(Protocol):
    """Report one event; fields are those of `QueueEvent`."""

    def __call__(self, operation: EventOperation, outcome: EventOutcome, **fields: object) -> None: ...


def nothing(*_: object, **__: object) -> None:
    """Report nothing."""


@dataclass(frozen=True, slots=True)
class EventSink:
    """Where events go, whether the queue wants its waits to end, and where its delayed messages are."""

    emit: Emit = nothing
    stopped: Callable[[], bool] = lambda: False
    delayed: str | None = None


# Of the call in progress; outside any queue's call one that ignores everything. A context variable, so that
# queues sharing a gateway, threads and tasks never mix up, and nothing has to be registered or forgotten.
event_sink: ContextVar[EventSink] = ContextVar("redis_message_queue_event_sink", default=EventSink())  # noqa: B039 - frozen
