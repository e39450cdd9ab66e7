"""The queue for asyncio."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, get_args

from redis_message_queue import _bulk, envelope, options, validation
from redis_message_queue._timer import AsyncLeaseHeartbeat
from redis_message_queue.asyncio import _io
from redis_message_queue.asyncio._admin import Redrive, peek_waiting, purge, repair
from redis_message_queue.asyncio._looking import LookingQueue, RedriveSource
from redis_message_queue.enqueue import (
    Priority,
    Receipt,
    checked,
    several,
)
from redis_message_queue.envelope import default_deduplication_key
from redis_message_queue.payload import is_several
from redis_message_queue.redrive import RedriveOptions, RedriveProgress, RepairReport
from redis_message_queue.stats import QueueStats, sample_call
from redis_message_queue.validation import noting_names

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
    from datetime import datetime

    import redis.asyncio

    from redis_message_queue.asyncio._abstract_redis_gateway import AbstractRedisGateway
    from redis_message_queue.asyncio._processing import Processing
    from redis_message_queue.events import QueueEvent
    from redis_message_queue.interrupt_handler import BaseGracefulInterruptHandler
    from redis_message_queue.messages import MessageData

PeekSource = Literal["pending", "processing", "completed", "failed", "dead_letter"]
PurgeTarget = Literal["pending", "completed", "failed", "dead_letter", "delayed"]


class RedisMessageQueue(LookingQueue):
    """A queue named `name` over `client` (or over a `gateway` configured by you).

    Lengths are numbers of messages, `_seconds` are seconds; `None` switches a limit off. With a visibility
    timeout a message is delivered at least once and comes back when its consumer dies, at most
    `max_delivery_count` times, then it goes to the dead letters. `key` has the names of the Redis keys.
    `max_completed_length` and `max_failed_length` bound what is kept of handled and failed messages; given
    alone they switch that on (0: off, None: no bound), as `enable_completed_queue` and its sibling do.
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
        self._set_up(locals())

    async def publish(
        self,
        message: str | dict[str, Any],
        *,
        delay_seconds: float | None = None,
        deduplication_key: str | None = None,
        deduplication_seconds: int | None = None,
    ) -> bool:
        """Enqueue a text or a JSON object; True if enqueued, False if it was a duplicate.

        With `delay_seconds` it becomes pending that much later, when a consumer of this library looks (7.0.0
        consumers never do); `max_pending_length` does not count it until then. With `deduplication_key` it is
        a duplicate of what was published with that key, whatever it holds, and also where the queue has
        `deduplication=False`; for `deduplication_seconds` (default: the gateway's, an hour).

        Raises TypeError or ValueError for a message that cannot be stored, QueueBackpressureError when the
        queue is full, QueueDrainedError after `drain()`, redis-py's errors without deduplication,
        RetryBudgetExhaustedError with it.
        """
        if delay_seconds is None and deduplication_key is None and deduplication_seconds is None:
            flags = await self._publish(self._publish_one, message)
        else:
            validation.check(
                delay_seconds=delay_seconds,
                deduplication_key=deduplication_key,
                deduplication_seconds=deduplication_seconds,
            )
            self._options.check_one_publish(deduplication_key, deduplication_seconds)
            flags = await self._publish(
                self._publish_all, [message], delay_seconds, deduplication_key, deduplication_seconds
            )
        if deduplication_key is None and not flags[0]:
            self._tell_suppressed(flags)
        return flags[0]

    async def publish_many(
        self, messages: Iterable[str | dict[str, Any]], *, delay_seconds: float | None = None
    ) -> list[bool]:
        """Enqueue messages in order; for each what `publish()` would return.

        500 go in a round trip, or 512 KiB, should they be large; what is larger goes alone.
        Nothing is sent unless every message can be stored. Each round trip is all or nothing, also when the
        queue is full. Raises as `publish()` does, and repeats after a lost reply without duplicating.
        """
        validation.check(delay_seconds=delay_seconds)
        if not is_several(messages):
            raise TypeError(f"'messages' must be an iterable of messages, got {type(messages).__name__}")
        flags = await self._publish(self._publish_all, messages, delay_seconds)
        self._tell_suppressed(flags)
        return flags

    async def enqueue(
        self,
        payload: object,
        *,
        delay_seconds: float | None = None,
        at: datetime | None = None,
        deduplication_key: str | None = None,
        deduplication_seconds: int | None = None,
        at_front: bool = False,
        priority: Priority = "normal",
        limit_key: str | None = None,
        message_id: str | None = None,
    ) -> Receipt:
        """Enqueue a payload as handlers read it back; the receipt is false for a duplicate.

        A text or bytes are enqueued as they are. Anything else is written as JSON: dataclasses, pydantic
        models, msgspec Structs, and within them dates, UUIDs, Decimals, Enums and Paths. It is there once,
        however often a lost reply has the call repeated. Without a key nothing is suppressed, whatever the
        queue chose.

        Args:
            payload: the message.
            delay_seconds: due so much later; as `at`, only for consumers of this library.
            at: due at that time, which has a time zone, within ten years.
            deduplication_key: makes it a duplicate of what was enqueued or published with that key.
            deduplication_seconds: for how long (default: the gateway's, an hour).
            at_front: before all that wait; with a priority or a limit key, before those of the same.
            priority: "high" ones come first, "low" ones last; while others wait they get one claim in eight.
            limit_key: a tenant, a customer, a host to call. Keys take turns, whatever each has enqueued,
                and consumers may limit what they begin of each.
            message_id: its id, if not a random one. It is not compared with those of other messages.

        Raises TypeError for what JSON cannot say, naming where in the payload it stands, ValueError for text
        that is not UTF-8, ConfigurationError for arguments, QueueBackpressureError when the queue is full,
        QueueDrainedError after `drain()`, RetryBudgetExhaustedError when Redis stays away.
        """
        chosen = checked(delay_seconds, at, deduplication_seconds, at_front, priority, limit_key)
        chosen.check_keys(deduplication_key)
        receipts = await self._publish(self._enqueue_one, payload, deduplication_key, chosen, message_id)
        return receipts[0]

    async def enqueue_many(
        self,
        payloads: Iterable[object],
        *,
        delay_seconds: float | None = None,
        at: datetime | None = None,
        deduplication_keys: Iterable[str] | None = None,
        deduplication_seconds: int | None = None,
        priority: Priority = "normal",
        limit_key: str | None = None,
        limit_keys: Iterable[str | None] | None = None,
    ) -> list[Receipt]:
        """Enqueue payloads in order; for each what `enqueue()` would answer.

        `deduplication_keys` has one for each payload; `limit_keys` too, with None for none, and `limit_key`
        is one for all. As with `publish_many()` 500 go in a round trip, or 512 KiB, and each round trip is
        all or nothing; nothing is sent unless every payload can be written.
        """
        chosen = checked(delay_seconds, at, deduplication_seconds, False, priority, limit_key)
        many, keys = several(payloads, deduplication_keys)
        chosen.check_keys(*keys)
        return await self._publish(self._enqueue_all, many, keys, chosen, limit_keys)

    @asynccontextmanager
    async def process_message(self) -> AsyncIterator[MessageData | None]:
        """Claim a message, hand its payload to the `async with` block and settle it by how the block ends.

        The payload is bytes, or str with a decoding client; None when there was nothing to do. An exception
        in the block is final for the message (the failed list, if enabled) and propagates; a cancellation
        from outside settles nothing, so the message comes back when its lease ends. In the block
        `current_message()` tells the message's id and which delivery this is.
        """
        message = await self._claim_message()
        if message is None:
            yield None
            return
        heartbeat = self._heartbeat_of(message)
        settled = False
        try:
            await message.begin(heartbeat.start if heartbeat else None)
            try:
                with message:
                    yield message.claim.payload
            except BaseException as error:
                message.ended = True
                if not _io.aborts(error):
                    await _io.fail(message, error)
                raise
            message.ended = True
            await _io.finished(message.succeed())
            settled = True
        finally:
            if heartbeat is not None:
                await _io.stop_heartbeat(heartbeat, message, cancellable=settled)

    async def aclose(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - the documented name
        """Refuse new work, wait up to `timeout` seconds for calls in progress; True once nothing is left.

        Handlers that are running go on and may settle. Redis and the client are left as they are.
        """
        return await _io.finished(self._drain.run(timeout, _io.caller()))

    async def drain(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - the documented name
        """The same as `aclose()`."""
        return await self.aclose(timeout)

    async def process_message_callback(self, handler: Callable[[MessageData], Awaitable[Any]]) -> bool:
        """Claim a message and hand its payload to `handler`; False when there was nothing to do.

        Settles as `process_message()` does. Raises TypeError for a handler of the other flavour, and leaves
        its message to come back when the lease ends.
        """
        async with self.process_message() as payload:
            if payload is None:
                return False
            await _io.call_handler(handler, payload)
        return True

    async def stats(self) -> QueueStats:
        """Count the messages of the queue, in one round trip."""
        sender = self._sender_for("stats()")
        numbers = await sender.call(sample_call(self.key))
        dead = numbers.dead_letter
        if self._dead_letters() != self.key.dead_letter:
            dead = await sender.command("llen", self._dead_letters())
        return QueueStats(
            numbers.pending, numbers.processing, numbers.completed, numbers.failed, dead, numbers.delayed
        )

    async def peek(self, count: int = 1, *, source: PeekSource = "pending") -> list[MessageData]:
        """The payloads of up to `count` messages, oldest first, left where they are.

        Of pending ones those come last that have a priority or a limit key, one such after the other.
        """
        validation.check(count=count)
        key = self._list_named("source", source, get_args(PeekSource))
        call = _bulk.tail(key=key, count=count)
        sender = self._sender_for("peek()")
        entries: list[MessageData] = (await sender.call(call)).entries
        if source == "pending" and len(entries) < count:
            entries += await peek_waiting(sender, self.key, count - len(entries))
        if source in ("pending", "processing"):
            return [envelope.decode(entry).payload for entry in entries]
        return entries

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
        """Make dead or failed letters pending again, oldest first, each with a new delivery budget.

        Only letters that were there at the start are looked at: what fails again meanwhile waits for another
        redrive. Deduplication and `max_pending_length` do not apply. Each batch is one atomic step, so a
        redrive may end at any point; what is called again goes on with the letters that are left.

        Args:
            source: which letters.
            max_messages: move at most so many.
            per_second: move on average at most so many a second, without bursts.
            match: is given the payloads of a batch and says for each whether it moves; the others
                stay where they are, in their order.
            dry_run: count, and change nothing.
            max_payload_bytes: read no letter that is larger.
            make_room: is told the bytes of a letter of more than 512 KiB before that is read, alone, and may
                wait; the letter is no longer in memory when `on_progress` is told.
            record: a name under which Redis keeps count for a week; a call with a name that was used goes on
                as if it had never stopped, so that `max_messages` holds for all calls together.
            on_progress: is told how far it is, after each batch.

        Raises redis-py's errors, RetryBudgetExhaustedError when Redis stays away, PayloadTooLargeError when
        the next letter is larger than `max_payload_bytes`: those before it have moved.
        """
        _io.check_event_callback("match", match)
        _io.check_callback("make_room", make_room)
        _io.check_event_callback("on_progress", on_progress)
        sender = self._sender_for("redrive()")
        key = self._list_named("source", source, get_args(RedriveSource))
        chosen = RedriveOptions(
            max_messages=max_messages,
            per_second=per_second,
            match=match,
            dry_run=dry_run,
            max_payload_bytes=max_payload_bytes,
            make_room=make_room,
            record=record,
            on_progress=on_progress,
        )
        return await Redrive(sender, self.key, key, chosen).run()

    async def redrive_dead_letters(self, max_messages: int | None = None) -> int:
        """Make dead letters pending again, oldest first, with a new delivery budget; how many were moved."""
        return (await self.redrive(max_messages=max_messages)).moved

    async def repair(
        self, *, grace_seconds: float = options.DEFAULT_GRACE_SECONDS, dry_run: bool = False
    ) -> RepairReport:
        """Make leases whole of which a part was lost: when they end, a consumer takes their messages back.

        For after Redis evicted keys, or somebody deleted some. Nothing is moved at once: whoever has such a
        message in hand may settle it, and with a token renew it, as if nothing had happened.

        Args:
            grace_seconds: for messages without token and deadline, which a consumer without a visibility
                timeout may have in hand: more than its longest handler takes. Those with a token get the
                visibility timeout of this queue (300 s where it has none).
            dry_run: count, and change nothing.

        It may be called at any time, and again: on a busy queue one call may miss some. Only consumers with a
        visibility timeout take messages back. Raises TypeError or ConfigurationError for an argument,
        redis-py's errors, RetryBudgetExhaustedError when Redis stays away.
        """
        validation.check(grace_seconds=grace_seconds, dry_run=dry_run)
        sender = self._sender_for("repair()")
        lease = (
            sender.options.message_visibility_timeout_seconds or options.DEFAULT_VISIBILITY_TIMEOUT_SECONDS
        )
        return await repair(sender, _bulk.RepairCalls(self.key, lease, grace_seconds, dry_run))

    async def purge(self, *, target: PurgeTarget) -> int:
        """Remove all messages of one list; how many there were. Messages in hand cannot be purged.

        They are out of the queue with the first round trip; more of them remove what is left in parts, so
        that no other call waits long. Should this be interrupted, purge again: that finishes it. Raises
        redis-py's errors, RetryBudgetExhaustedError when Redis stays away.
        """
        key = self._list_named("target", target, get_args(PurgeTarget))
        return await purge(self._sender_for("purge()"), self.key, target, key)

    def _heartbeat_of(self, message: Processing) -> AsyncLeaseHeartbeat | None:
        interval = self._options.heartbeat_interval_seconds
        if interval is None or not message.claim.token:
            return None
        return AsyncLeaseHeartbeat(
            interval,
            message.renew_once,
            self._gateway_timeout,
            lambda _: message.lease_lapsed(),
        )
