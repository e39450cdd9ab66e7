"""The seam between a queue and its Redis work, and what stands there unless you put something of your own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import redis.asyncio

from redis_message_queue import _redis_gateway, _transport, options, validation
from redis_message_queue._flavour import documented_as
from redis_message_queue._flow import run_async
from redis_message_queue._gateway import GatewayFlows, GatewayProperties
from redis_message_queue.client_checks import check_client
from redis_message_queue.options import GatewayOptions

if TYPE_CHECKING:
    from redis_message_queue.interrupt_handler import BaseGracefulInterruptHandler
    from redis_message_queue.messages import ClaimedMessage, MessageData


@documented_as(_redis_gateway.AbstractRedisGateway)
class AbstractRedisGateway(GatewayProperties, ABC):
    """Redis work of an asyncio queue. Payload texts go in, stored messages come out."""

    @abstractmethod
    async def publish_message(self, queue: str, message: str, dedup_key: str) -> bool: ...

    @abstractmethod
    async def add_message(self, queue: str, message: str) -> None: ...

    @abstractmethod
    async def move_message(
        self, from_queue: str, to_queue: str, message: MessageData, *, lease_token: str | None = None
    ) -> bool: ...

    @abstractmethod
    async def remove_message(
        self, queue: str, message: MessageData, *, lease_token: str | None = None
    ) -> bool: ...

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
    ) -> ClaimedMessage | MessageData | None: ...

    @abstractmethod
    async def trim_queue(self, queue: str, max_length: int) -> None: ...


@documented_as(_redis_gateway.RedisGateway)
class RedisGateway(GatewayFlows, AbstractRedisGateway):
    """Redis work over one pooled client of redis.asyncio.

    Usable directly, with explicit list names. `retry_budget_seconds` bounds the repeats of idempotent calls
    (0: none), `message_wait_interval_seconds` one wait for a message (None: 5, 0: a single attempt),
    `message_deduplication_log_ttl_seconds` the life of a deduplication marker (None: 3600).

    Raises TypeError for a client or an argument of the wrong type, ConfigurationError for a wrong value.
    """

    def __init__(
        self,
        *,
        redis_client: redis.asyncio.Redis | redis.asyncio.RedisCluster,
        retry_budget_seconds: int = 120,
        retry_max_delay_seconds: float = 5.0,
        retry_initial_delay_seconds: float = 0.01,
        message_deduplication_log_ttl_seconds: int | None = None,
        message_wait_interval_seconds: int | None = None,
        message_visibility_timeout_seconds: int | None = None,
        max_delivery_count: int | None = None,
        dead_letter_queue: str | None = None,
        max_pending_length: int | None = None,
        pending_overload_policy: options.OverloadPolicy = "raise",
        pending_overload_block_timeout_seconds: float = 1.0,
        interrupt: BaseGracefulInterruptHandler | None = None,
    ) -> None:
        check_client(redis_client, asyncio=True)
        super().__init__(
            redis_client,
            validation.picked(GatewayOptions, locals()),
            _transport.execute_async,
            _transport.send_async,
            unprobed=isinstance(redis_client, redis.asyncio.Redis),
        )

    async def publish_message(self, queue: str, message: str, dedup_key: str) -> bool:
        return await run_async(self._publish(queue, message, dedup_key))

    async def add_message(self, queue: str, message: str) -> None:
        await run_async(self._add(queue, message))

    async def move_message(
        self, from_queue: str, to_queue: str, message: MessageData, *, lease_token: str | None = None
    ) -> bool:
        return await run_async(self._move(from_queue, to_queue, message, lease_token))

    async def remove_message(
        self, queue: str, message: MessageData, *, lease_token: str | None = None
    ) -> bool:
        return await run_async(self._remove(queue, message, lease_token))

    async def renew_message_lease(
        self,
        queue: str,
        message: MessageData,
        lease_token: str,
        *,
        is_interrupted: BaseGracefulInterruptHandler | None = None,
    ) -> bool:
        return await run_async(self._renew(queue, message, lease_token, is_interrupted))

    async def wait_for_message_and_move(
        self, from_queue: str, to_queue: str
    ) -> ClaimedMessage | MessageData | None:
        return await run_async(self._claiming.wait(from_queue, to_queue))

    async def trim_queue(self, queue: str, max_length: int) -> None:
        await run_async(self._trim(queue, max_length))

    async def _drain_pending_claim_ids(
        self, processing_key: str, *, deadline_monotonic: float | None = None
    ) -> bool:
        """Called by a draining queue; see `ClaimLoop.drain`."""
        return await run_async(self._claiming.drain(processing_key, deadline_monotonic))
