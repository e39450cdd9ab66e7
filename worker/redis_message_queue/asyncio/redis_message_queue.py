"""The queue for asyncio."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from redis_message_queue import options, validation
from redis_message_queue._admin import AdminFlows, PeekSource, PurgeTarget, QueueStats, RedriveSource
from redis_message_queue._callbacks import WrongHandlerError, call_awaited
from redis_message_queue._flavour import async_flavour, documented_as
from redis_message_queue._flow import finish, run_async
from redis_message_queue._heartbeat import AsyncLeaseHeartbeat
from redis_message_queue.asyncio._redis_gateway import AbstractRedisGateway, RedisGateway
from redis_message_queue.envelope import default_deduplication_key
from redis_message_queue.redis_message_queue import RedisMessageQueue as _Blocking
from redis_message_queue.validation import noting_names

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    import redis.asyncio

    from redis_message_queue._processing import Processing
    from redis_message_queue.events import QueueEvent
    from redis_message_queue.interrupt_handler import BaseGracefulInterruptHandler
    from redis_message_queue.messages import MessageData
    from redis_message_queue.redrive import RedriveProgress
    from redis_message_queue.repair import RepairReport

_FLAVOUR = async_flavour(AbstractRedisGateway)


@documented_as(_Blocking)
class RedisMessageQueue(AdminFlows):
    """A queue named `name` over `client` (or over a `gateway` configured by you).

    Lengths are numbers of messages, `_seconds` are seconds; `None` switches a limit off. With a visibility
    timeout a message is delivered at least once and comes back when its consumer dies, at most
    `max_delivery_count` times, then it goes to the dead letters. `key` has the names of the Redis keys.
    `on_event` is told of everything that happens; what it raises is warned of and changes nothing.
    `publish_timeout_seconds` ends a publish in time, whatever the client is still trying; without it one that
    deduplicates takes its 120 s with Redis away, and the repeats of the client beyond.

    Tasks may share a queue. It belongs to the event loop of its client: build client and queue anew in
    another loop, another thread, or after a fork.

    Raises TypeError for arguments of the wrong type, ConfigurationError for values or combinations that
    cannot work, GatewayContractError for a gateway of the other flavour.
    """

    @noting_names
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
        strict_payload_types: bool = False,
        strict_envelope_decoding: bool = False,
        publish_timeout_seconds: float | None = None,
    ) -> None:
        self._set_up(locals(), _FLAVOUR, RedisGateway)

    async def publish(
        self,
        message: str | dict[str, Any],
        *,
        delay_seconds: float | None = None,
        deduplication_key: str | None = None,
        deduplication_seconds: int | None = None,
    ) -> bool:
        flow = self._publish_one(message, delay_seconds, deduplication_key, deduplication_seconds)
        return await run_async(flow)

    async def publish_many(
        self, messages: Iterable[str | dict[str, Any]], *, delay_seconds: float | None = None
    ) -> list[bool]:
        return await run_async(self._publish_all(messages, delay_seconds))

    @asynccontextmanager
    async def process_message(self) -> AsyncIterator[MessageData | None]:
        """Claim a message, hand its payload to the `async with` block and settle it by how the block ends.

        The payload is bytes, or str with a decoding client; None when there was nothing to do. An exception
        in the block is final for the message (the failed list, if enabled) and propagates; a cancellation
        from outside settles nothing, so the message comes back when its lease ends. In the block
        `current_message()` tells the message's id and which delivery this is.
        """
        message = await run_async(self._claim_message())
        if message is None:
            yield None
            return
        heartbeat = self._heartbeat_of(message)
        settled = False
        try:
            await run_async(message.begin(heartbeat.start if heartbeat else None))
            try:
                with message:
                    yield message.claim.payload
            except BaseException as error:
                message.ended = True
                if not _FLAVOUR.aborts(error):
                    await self._fail_shielded(message, error)
                raise
            message.ended = True
            await finish(run_async(message.succeed()))
            settled = True
        finally:
            if heartbeat is not None:
                await self._stop_heartbeat(heartbeat, message, cancellable=settled)

    async def aclose(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - the documented name
        """Refuse new work, wait up to `timeout` seconds for calls in progress; True once nothing is left.

        Handlers that are running go on and may settle. Redis and the client are left as they are.
        """
        done = False

        async def drain() -> None:
            nonlocal done
            done = await run_async(self._drain.flow(timeout, caller))

        caller = asyncio.current_task()
        await finish(drain())
        return done

    async def drain(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - the documented name
        """The same as `aclose()`."""
        return await self.aclose(timeout)

    async def process_message_callback(self, handler: Callable[[MessageData], Awaitable[Any]]) -> bool:
        async with self.process_message() as payload:
            if payload is None:
                return False
            await call_awaited(handler, payload, name="the handler", error=WrongHandlerError)
        return True

    async def stats(self) -> QueueStats:
        return await run_async(self._stats())

    async def peek(self, count: int = 1, *, source: PeekSource = "pending") -> list[MessageData]:
        return await run_async(self._peek(count, source))

    async def redrive(
        self,
        source: RedriveSource = "dead_letter",
        *,
        max_messages: int | None = None,
        per_second: float | None = None,
        match: Callable[[Sequence[bytes]], Awaitable[Iterable[bool]]] | None = None,
        dry_run: bool = False,
        max_payload_bytes: int | None = None,
        make_room: Callable[[int], Awaitable[None]] | None = None,
        record: str | None = None,
        on_progress: Callable[[RedriveProgress], Awaitable[None]] | None = None,
    ) -> RedriveProgress:
        validation.check_async_callable("match", match)
        validation.check_async_callable("on_progress", on_progress)
        flow = self._redrive(
            source,
            max_messages=max_messages,
            per_second=per_second,
            match=match,
            dry_run=dry_run,
            max_payload_bytes=max_payload_bytes,
            make_room=make_room,
            record=record,
            on_progress=on_progress,
        )
        return await run_async(flow)

    async def redrive_dead_letters(self, max_messages: int | None = None) -> int:
        return (await run_async(self._redrive("dead_letter", max_messages=max_messages))).moved

    async def repair(
        self, *, grace_seconds: float = options.DEFAULT_GRACE_SECONDS, dry_run: bool = False
    ) -> RepairReport:
        return await run_async(self._repair(grace_seconds=grace_seconds, dry_run=dry_run))

    async def purge(self, *, target: PurgeTarget) -> int:
        return await run_async(self._purge(target))

    def _heartbeat_of(self, message: Processing) -> AsyncLeaseHeartbeat | None:
        interval = self._options.heartbeat_interval_seconds
        if interval is None or not message.claim.token:
            return None
        return AsyncLeaseHeartbeat(
            interval,
            lambda stop: run_async(message.renew_once(stop)),
            self._gateway_timeout,
            lambda _: run_async(message.lease_lapsed()),
        )

    async def _fail_shielded(self, message: Processing, error: BaseException) -> None:
        """Settle a failure; the handler's error must win over a cancellation that arrives meanwhile."""
        began = time.monotonic()
        try:
            await finish(run_async(message.fail(error)), swallowed_cancellations=1)
        except asyncio.CancelledError as cancelled:
            await run_async(message.cleanup_failed(cancelled, began))

    async def _stop_heartbeat(
        self, heartbeat: AsyncLeaseHeartbeat, message: Processing, *, cancellable: bool
    ) -> None:
        try:
            stopped = await heartbeat.stop()
        except asyncio.CancelledError:
            if cancellable:
                raise
            return
        if not stopped:
            await run_async(message.heartbeat_stuck())
