"""The queue for asyncio."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from redis_message_queue._effects import run_async
from redis_message_queue._payload import default_deduplication_key
from redis_message_queue._queue import QueueFlows
from redis_message_queue._queue_options import QueueOptions, async_flavour
from redis_message_queue.asyncio._abstract_gateway import AbstractRedisGateway
from redis_message_queue.asyncio._heartbeat import LeaseHeartbeat
from redis_message_queue.asyncio._redis_gateway import RedisGateway
from redis_message_queue.asyncio._shield import finish

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import redis.asyncio

    from redis_message_queue import options
    from redis_message_queue._processing import InHand
    from redis_message_queue.events import QueueEvent
    from redis_message_queue.interrupt_handler import BaseGracefulInterruptHandler
    from redis_message_queue.messages import MessageData

_FLAVOUR = async_flavour(AbstractRedisGateway)


class RedisMessageQueue(QueueFlows):
    """A queue named `name` over `client` (or over a `gateway` configured by you).

    Lengths are numbers of messages, `_seconds` are seconds; `None` switches a limit off. With a visibility
    timeout a message is delivered at least once and comes back when its consumer dies, at most
    `max_delivery_count` times, then it goes to the dead letters. `key` has the names of the Redis keys.

    Raises TypeError for arguments of the wrong type, ConfigurationError for values or combinations that
    cannot work, GatewayContractError for a gateway of the other flavour.
    """

    def __init__(
        self,
        name: str,
        *,
        gateway: AbstractRedisGateway | None = None,
        client: redis.asyncio.Redis | redis.asyncio.RedisCluster | None = None,
        deduplication: bool = True,
        enable_completed_queue: bool = False,
        enable_failed_queue: bool = False,
        visibility_timeout_seconds: int | None = 300,
        heartbeat_interval_seconds: int | float | None = None,
        max_completed_length: int | None = 1000,
        max_failed_length: int | None = 1000,
        max_delivery_count: int | None = 10,
        max_pending_length: int | None = None,
        pending_overload_policy: options.OverloadPolicy = "raise",
        pending_overload_block_timeout_seconds: float = 1.0,
        key_separator: str = "::",
        get_deduplication_key: Callable[[Any], str | Awaitable[str]] | None = default_deduplication_key,
        interrupt: BaseGracefulInterruptHandler | None = None,
        on_heartbeat_failure: Callable[[], Awaitable[None] | None] | None = None,
        on_event: Callable[[QueueEvent], Awaitable[None]] | None = None,
        max_payload_bytes: int | None = None,
        max_payload_depth: int | None = None,
    ) -> None:
        settings = QueueOptions(
            name=name,
            key_separator=key_separator,
            deduplication=deduplication,
            enable_completed_queue=enable_completed_queue,
            enable_failed_queue=enable_failed_queue,
            max_completed_length=max_completed_length,
            max_failed_length=max_failed_length,
            max_delivery_count=max_delivery_count,
            visibility_timeout_seconds=visibility_timeout_seconds,
            get_deduplication_key=get_deduplication_key,
            max_pending_length=max_pending_length,
            pending_overload_policy=pending_overload_policy,
            pending_overload_block_timeout_seconds=pending_overload_block_timeout_seconds,
            on_heartbeat_failure=on_heartbeat_failure,
            on_event=on_event,
            heartbeat_interval_seconds=heartbeat_interval_seconds,
            interrupt=interrupt,
            max_payload_bytes=max_payload_bytes,
            max_payload_depth=max_payload_depth,
        )
        self._set_up(settings, _FLAVOUR, gateway, client, RedisGateway)

    async def publish(self, message: str | dict[str, Any]) -> bool:
        """Enqueue a text or a JSON object; True if enqueued, False if it was a duplicate.

        Raises TypeError or ValueError for a message that cannot be stored, QueueBackpressureError when the
        queue is full, QueueDrainedError after `drain()`, and redis-py's errors without deduplication;
        RetryBudgetExhaustedError with it.
        """
        return await run_async(self._publish_reported(lambda: self._enqueue(message)))

    @asynccontextmanager
    async def process_message(self) -> AsyncIterator[MessageData | None]:
        """Claim a message, hand its payload to the `async with` block and settle it by how the block ends.

        The payload is bytes, or str with a decoding client; None when there was nothing to do. An exception
        in the block is final for the message (the failed list, if enabled) and propagates; a cancellation
        from outside settles nothing, so the message comes back when its lease ends.
        """
        message = await run_async(self._claim_message())
        if message is None:
            yield None
            return
        heartbeat = self._heartbeat_of(message)
        settled = False
        try:
            heartbeat.start()
            try:
                yield message.payload
            except BaseException as error:
                heartbeat.suppressed = True
                if not _FLAVOUR.aborts(error):
                    await self._fail_shielded(message, error)
                raise
            heartbeat.suppressed = True
            await finish(run_async(self._succeed(message)))
            settled = True
        finally:
            await self._stop_heartbeat(heartbeat, message, cancellable=settled)

    async def aclose(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - the documented name
        """Refuse new work, wait up to `timeout` seconds for calls in progress; True once nothing is left.

        Handlers that are running go on and may settle. Redis and the client are left as they are.
        """
        done = False

        async def drain() -> None:
            nonlocal done
            done = await run_async(self._drain(timeout, caller))

        caller = asyncio.current_task()
        await finish(drain())
        return done

    async def drain(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - the documented name
        """The same as `aclose()`."""
        return await self.aclose(timeout)

    def _heartbeat_of(self, message: InHand) -> LeaseHeartbeat:
        interval = None if message.token is None else self._options.heartbeat_interval_seconds
        return LeaseHeartbeat(interval, lambda stop: run_async(self._renew_once(message, stop)))

    async def _fail_shielded(self, message: InHand, error: BaseException) -> None:
        """Settle a failure; the handler's error must win over a cancellation that arrives meanwhile."""
        began = time.monotonic()
        try:
            await finish(run_async(self._fail(message, error)), swallowed_cancellations=1)
        except asyncio.CancelledError as cancelled:
            await run_async(self._cleanup_failed(message, cancelled, began))

    async def _stop_heartbeat(self, heartbeat: LeaseHeartbeat, message: InHand, *, cancellable: bool) -> None:
        try:
            stopped = await heartbeat.stop()
        except asyncio.CancelledError:
            if cancellable:
                raise
            return
        if not stopped:
            await run_async(self._heartbeat_stuck(message))
