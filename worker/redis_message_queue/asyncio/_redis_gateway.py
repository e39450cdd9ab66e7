"""The built-in gateway: how it sends, publishes, claims, settles and renews."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import redis.asyncio
import redis.exceptions

from redis_message_queue import _bulk, _transport, envelope, operations, options, validation
from redis_message_queue._clock import Moment, monotonic
from redis_message_queue._local_state import AnsweredRecords
from redis_message_queue.asyncio import _io
from redis_message_queue.asyncio._abstract_redis_gateway import AbstractRedisGateway, event_sink
from redis_message_queue.asyncio._claiming import ClaimLoop
from redis_message_queue.asyncio._gateway_admin import GatewayAdmin
from redis_message_queue.asyncio._retry import repeated, until_room
from redis_message_queue.client_checks import check_not_cluster_node, is_cluster
from redis_message_queue.envelope import new_id
from redis_message_queue.exceptions import ConfigurationError, LuaScriptError
from redis_message_queue.trouble import did_nothing, is_retryable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from redis_message_queue.interrupt_handler import BaseGracefulInterruptHandler
    from redis_message_queue.messages import ClaimedMessage, MessageData

__all__ = ["AbstractRedisGateway", "RedisGateway"]

T = TypeVar("T")
logger = logging.getLogger(__name__)


class Sender:
    """One client and the way its calls are sent.

    Attributes:
        options: those of its gateway.
        unprobed: it is still to be found out whether the server is a node of a cluster.
    """

    def __init__(self, client: Any, chosen: options.GatewayOptions) -> None:
        self.client = client
        self.execute = _transport.execute_async
        self.interrupt = chosen.interrupt
        self.unprobed = _io.is_unprobed(client)
        self.options = chosen

    async def call(self, call: operations.Call[T]) -> T:
        """Send one call, once. Raises the library's error for a refusal by one of its scripts."""
        try:
            return await self.execute(self.client, call)
        except redis.exceptions.ResponseError as error:
            _raise_refusal(error)
            raise

    async def call_retrying(
        self,
        call: operations.Call[T],
        interrupts: Sequence[BaseGracefulInterruptHandler] = (),
        worth: Callable[[BaseException], bool] = is_retryable,
    ) -> T:
        """Send one call until it is answered, its error is not `worth` it, or the retry budget is spent."""
        began = monotonic(), time.monotonic()
        try:
            return await self.execute(self.client, call)
        except Exception as error:
            failure = error
        what = f"{call.script.name} on {operations.as_text(call.keys[0])}"
        again = partial(self.execute, self.client, call)
        try:
            return await self._repeated(what, again, failure, Moment(*began), interrupts, worth)
        except redis.exceptions.ResponseError as error:
            _raise_refusal(error)
            raise

    async def push(self, queue: str, stored: str) -> None:
        """Push what must not be pushed twice: again only while it is certain that nothing was done."""
        began = monotonic(), time.monotonic()
        try:
            await _transport.push_async(self.client, operations.Push(queue, stored))
        except Exception as error:
            failure = error
        else:
            return
        again = partial(_transport.push_async, self.client, operations.Push(queue, stored))
        await self._repeated(f"lpush on {queue}", again, failure, Moment(*began), (), did_nothing)

    async def _repeated(
        self,
        what: str,
        action: Callable[[], Awaitable[T]],
        failure: Exception,
        began: Moment,
        interrupts: Sequence[BaseGracefulInterruptHandler],
        worth: Callable[[BaseException], bool],
    ) -> T:
        handlers = interrupts if self.interrupt is None else (*interrupts, self.interrupt)
        return await repeated(what, action, failure, began, self.options, handlers, worth)

    async def with_room(self, queue: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """What `attempt`, a publish, answers; while pending is full, wait as the overload policy says."""
        return await until_room(queue, attempt, self.options, self.stopped)

    async def command(self, name: str, *args: object) -> Any:
        """Call one client method, looked up now."""
        return await _transport.send_async(self.client, name, *args)

    async def probe(self) -> None:
        """Ask a plain client's server whether it is part of a cluster. Raises TypeError if so."""
        try:
            info = await self.command("info", "cluster")
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
            return  # the call that follows meets it as well; the next one asks again
        except Exception as error:
            logger.debug("The server does not say whether it is part of a cluster: %s", error)
        else:
            check_not_cluster_node(info)
        self.unprobed = False

    def stopped(self) -> bool:
        """Whether whoever waits should stop: an interrupt, or a drain of the queue that waits on this."""
        interrupt = self.interrupt
        return event_sink.get().stopped() or (interrupt is not None and interrupt.is_interrupted())


def _raise_refusal(error: redis.exceptions.ResponseError) -> None:
    """Raise the library's error for a refusal by one of its scripts."""
    text = None if isinstance(error, LuaScriptError) else operations.script_failure(error)
    if text is not None:
        raise LuaScriptError(text) from error


class RedisGateway(GatewayAdmin):
    """Redis work over one pooled client.

    Usable directly, with explicit list names. `retry_budget_seconds` bounds the repeats of idempotent calls
    (0: none), `message_wait_interval_seconds` one wait for a message (None: 5, 0: a single attempt),
    `message_deduplication_log_ttl_seconds` the life of a deduplication marker (None: 3600). Tasks and
    queues may share it.

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
        _io.check_client(redis_client)
        chosen = validation.picked(options.GatewayOptions, locals())
        self._client, self._options = redis_client, chosen
        self._sender = Sender(redis_client, chosen)
        self._answered = AnsweredRecords()
        self._claiming = ClaimLoop(chosen, self._sender, self._answered)
        self._deduplication_seconds = chosen.deduplication_ttl_seconds
        self._publish_record_ms = chosen.replay_ttl_ms(0)
        self._settle_record_ms = chosen.replay_ttl_ms(chosen.message_visibility_timeout_seconds or 0)

    @property
    def is_redis_cluster(self) -> bool:
        return is_cluster(self._client)

    @property
    def message_visibility_timeout_seconds(self) -> int | None:
        return self._options.message_visibility_timeout_seconds

    @property
    def max_delivery_count(self) -> int | None:
        return self._options.max_delivery_count

    @property
    def dead_letter_queue(self) -> str | None:
        return self._options.dead_letter_queue or None

    @property
    def pending_overload_policy(self) -> options.OverloadPolicy:
        """What a full queue does with another message."""
        return self._options.pending_overload_policy

    # -- publishing --

    async def publish_message(self, queue: str, message: str, dedup_key: str) -> bool:
        """Enqueue `message` unless `dedup_key` is marked; True if enqueued, False for a duplicate.

        Raises QueueBackpressureError when the list is full, RetryBudgetExhaustedError, LuaScriptError.
        """
        if not isinstance(dedup_key, str) or not dedup_key:
            raise ConfigurationError(f"'dedup_key' must be a non-empty string, got {dedup_key!r}")
        if self._options.pending_overload_policy == "drop_oldest":
            raise ConfigurationError(
                "a gateway with drop_oldest cannot deduplicate: publishing a dropped message again would be"
                " silently suppressed; use add_message"
            )
        if self._sender.unprobed:
            await self._sender.probe()
        message_id = new_id()
        record = f"{dedup_key}:publish_operation_result:{message_id}"
        call = operations.publish(
            pending=queue,
            deduplication_key=str(dedup_key),
            stored=envelope.encode(message, message_id, key=getattr(dedup_key, "key", None)),
            deduplication_ttl_seconds=self._deduplication_seconds,
            replay_key=record,
            replay_ttl_ms=self._publish_record_ms,
            max_pending_length=self._options.max_pending_length,
            overload_policy=self._options.pending_overload_policy,
            answered=self._answered.pop(queue, ()),
        )
        if self._options.max_pending_length is None:
            reply = await self._sender.call_retrying(call)
        else:
            reply = await self._sender.with_room(queue, partial(self._sender.call_retrying, call))
        self._answered.add(queue, record)
        return reply == 1

    async def add_message(self, queue: str, message: str) -> None:
        """Enqueue `message`; never repeated, because a repeat may duplicate.

        Raises QueueBackpressureError when the list is full, and what redis-py raises.
        """
        if self._sender.unprobed:
            await self._sender.probe()
        stored = envelope.encode(message)
        cap = self._options.max_pending_length
        if cap is None:
            await self._sender.push(queue, stored)
            return
        call = operations.add_bounded(
            pending=queue,
            stored=stored,
            max_pending_length=cap,
            overload_policy=self._options.pending_overload_policy,
        )
        await self._sender.with_room(queue, partial(self._sender.call_retrying, call, worth=did_nothing))

    async def _publish_many(
        self,
        requests: Iterable[_bulk.Request],
        *,
        target: str,
        where: str = "",
        deduplication_seconds: int | None = None,
        named: bool = False,
        laned: bool = False,
    ) -> list[Any]:
        """Publish in order, each request in a round trip of its own."""
        if self._sender.unprobed:
            await self._sender.probe()
        answers: list[Any] = []
        cap = self._options.max_pending_length
        in_lanes = where in ("", _bulk.FRONT) and (laned or cap is not None)
        lanes = operations.lanes_of(target) if in_lanes else ()
        for stored, markers, call_id in requests:
            record = f"{target}:publish_operation_result:{call_id}"
            call = _bulk.publish_many(
                target=target,
                stored=stored,
                markers=markers,
                deduplication_ttl_seconds=deduplication_seconds or self._deduplication_seconds,
                replay_key=record,
                replay_ttl_ms=self._publish_record_ms,
                max_pending_length=cap,
                overload_policy=self._options.pending_overload_policy,
                where=where,
                named=named,
                lanes=lanes,
                answered=self._answered.pop(target, ()),
            )
            send = partial(self._sender.call_retrying, call)
            told: Any = await (send() if cap is None else self._sender.with_room(target, send))
            answers.extend(told)
            self._answered.add(target, record)
        return answers

    # -- claiming and settling --

    async def wait_for_message_and_move(
        self, from_queue: str, to_queue: str
    ) -> ClaimedMessage | MessageData | None:
        """Claim the next message, waiting up to `message_wait_interval_seconds`; None if there was none.

        Raises RetryBudgetExhaustedError when Redis stayed unreachable, ClaimStoreFailedError, LuaScriptError.
        """
        return await self._claiming.wait(from_queue, to_queue)

    async def remove_message(
        self, queue: str, message: MessageData, *, lease_token: str | None = None
    ) -> bool:
        """Remove a claimed message; False if it is no longer ours."""
        record = _replay_key(queue, lease_token)
        call = operations.remove(
            processing=queue,
            stored=message,
            lease_token=lease_token,
            replay_key=record,
            replay_ttl_ms=self._settle_record_ms,
            answered=self._answered.pop(queue, ()),
        )
        removed = await self._sender.call_retrying(call)
        self._answered.add(queue, record)
        return removed

    async def move_message(
        self, from_queue: str, to_queue: str, message: MessageData, *, lease_token: str | None = None
    ) -> bool:
        """Move a claimed message's payload to the head of `to_queue`; False if it is no longer ours."""
        record = _replay_key(from_queue, lease_token)
        call = operations.move(
            processing=from_queue,
            destination=to_queue,
            stored=message,
            payload=envelope.decode(message).payload,
            lease_token=lease_token,
            replay_key=record,
            replay_ttl_ms=self._settle_record_ms,
            answered=self._answered.pop(from_queue, ()),
        )
        moved = await self._sender.call_retrying(call)
        self._answered.add(from_queue, record)
        return moved

    async def renew_message_lease(
        self,
        queue: str,
        message: MessageData,
        lease_token: str,
        *,
        is_interrupted: BaseGracefulInterruptHandler | None = None,
    ) -> bool:
        """Extend the lease to now + visibility timeout; False if it was lost, or without leases."""
        timeout = self.message_visibility_timeout_seconds
        if timeout is None:
            return False
        call = operations.renew(
            processing=queue, stored=message, lease_token=lease_token, visibility_timeout_ms=timeout * 1000
        )
        return await self._sender.call_retrying(call, () if is_interrupted is None else (is_interrupted,))

    async def trim_queue(self, queue: str, max_length: int) -> None:
        """Keep the newest `max_length` entries of a list."""
        await self._sender.command("ltrim", queue, 0, max_length - 1)

    async def _drain_pending_claim_ids(
        self, processing_key: str, *, deadline_monotonic: float | None = None
    ) -> bool:
        """Called by a draining queue; see `ClaimLoop.settle_unanswered`."""
        return await self._claiming.settle_unanswered(processing_key, deadline_monotonic)


def _replay_key(processing: str, lease_token: str | None) -> str:
    whose = f"{lease_token}:" if lease_token else ""
    return f"{operations.settle_record(processing)}{whose}{new_id()}"
