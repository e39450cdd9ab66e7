"""What both gateways do: how they send, publish, settle and renew, each once, as a flow."""

from __future__ import annotations

import logging
import random
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import redis.exceptions

from redis_message_queue import _bulk, envelope, operations
from redis_message_queue._claiming import ClaimLoop
from redis_message_queue._clock import Moment, monotonic
from redis_message_queue._flow import (
    Action,
    Flow,
    Now,
    RetryBudget,
    is_retryable,
    pause,
    raise_translated,
    repeated,
)
from redis_message_queue.client_checks import check_not_cluster_node, is_cluster
from redis_message_queue.envelope import new_id
from redis_message_queue.events import event_sink
from redis_message_queue.exceptions import ConfigurationError, QueueBackpressureError
from redis_message_queue.trouble import is_pool_exhausted, is_refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis_message_queue.interrupt_handler import BaseGracefulInterruptHandler
    from redis_message_queue.messages import MessageData
    from redis_message_queue.options import GatewayOptions

T = TypeVar("T")
logger = logging.getLogger(__name__)


_MOST_AT_ONCE = 64
# A process may serve a queue for each of its users: of those that it has done with, it keeps no name.
_MOST_QUEUES = 256


class Sender:
    """One client and the way its calls are sent; `execute` and `send` are those of `_transport`.

    `unprobed`: it is still to be found out whether the server is a node of a cluster.
    """

    def __init__(
        self,
        client: Any,
        execute: Callable[..., Any],
        send: Callable[..., Any],
        retry: RetryBudget,
        interrupt: BaseGracefulInterruptHandler | None,
        *,
        unprobed: bool,
    ) -> None:
        self.client = client
        self.execute = execute
        self.interrupt = interrupt
        self.unprobed = unprobed
        self._send = send
        self._retry = retry

    def call(self, call: operations.Call[T]) -> Flow[T]:
        """Send one call, once."""
        try:
            return (yield partial(self.execute, self.client, call))  # type: ignore[no-any-return]
        except redis.exceptions.ResponseError as error:
            raise_translated(error)

    def call_retrying(
        self,
        call: operations.Call[T],
        interrupts: Sequence[BaseGracefulInterruptHandler] = (),
        worth: Callable[[BaseException], bool] = is_retryable,
    ) -> Flow[T]:
        """Send one call until it is answered, its error is not `worth` it, or the retry budget is spent."""
        action, began = partial(self.execute, self.client, call), (monotonic(), time.monotonic())
        try:
            return (yield action)  # type: ignore[no-any-return]
        except Exception as error:
            failure = error
        what = f"{call.script.name} on {operations.as_text(call.keys[0])}"
        try:
            repeats = self._repeated(what, action, failure, Moment(*began), interrupts, worth)
            return (yield from repeats)  # type: ignore[no-any-return]
        except redis.exceptions.ResponseError as error:
            raise_translated(error)

    def push(self, queue: str, stored: str) -> Flow[None]:
        """Push what must not be pushed twice: again only while it is certain that nothing was done."""
        action = partial(self._send, self.client, "lpush", queue, stored)
        began = monotonic(), time.monotonic()
        try:
            yield action
        except Exception as error:
            failure = error
        else:
            return
        yield from self._repeated(f"lpush on {queue}", action, failure, Moment(*began), (), did_nothing)

    def _repeated(
        self,
        what: str,
        action: Action,
        failure: Exception,
        began: Moment,
        interrupts: Sequence[BaseGracefulInterruptHandler],
        worth: Callable[[BaseException], bool],
    ) -> Flow[Any]:
        handlers = interrupts if self.interrupt is None else (*interrupts, self.interrupt)
        return repeated(what, action, failure, began, self._retry, handlers, worth)

    def command(self, name: str, *args: object) -> Flow[Any]:
        """Call one client method, looked up now."""
        return (yield partial(self._send, self.client, name, *args))

    def probe(self) -> Flow[None]:
        """Ask a plain client's server whether it is part of a cluster. Raises TypeError if so."""
        try:
            info = yield from self.command("info", "cluster")
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


class AnsweredRecords(dict[str, tuple[str, ...]]):
    """Names of records by queue, of calls that were answered: `pop` gives them to the next call on the queue.

    That one removes them, so they cost no round trip. Threads may share it; expiry ends the rest.
    """

    def add(self, queue: str, *names: str) -> None:
        """Note records for removal."""
        self[queue] = (*self.get(queue, ()), *names)[-_MOST_AT_ONCE:]
        while len(self) > _MOST_QUEUES:
            try:
                del self[next(iter(self))]
            except (KeyError, StopIteration, RuntimeError):  # another thread is at it
                break


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


class GatewayFlows(GatewayProperties):
    """The operations of `RedisGateway`, without the I/O: `execute` sends a call over the client."""

    def __init__(
        self,
        client: Any,
        chosen: GatewayOptions,
        execute: Callable[..., Any],
        send: Callable[..., Any],
        *,
        unprobed: bool,
    ) -> None:
        self._client = client
        self._options = chosen
        self._sender = sender = Sender(
            client, execute, send, chosen.retry, chosen.interrupt, unprobed=unprobed
        )
        self._call, self._call_retrying, self._command = sender.call, sender.call_retrying, sender.command
        self._answered = AnsweredRecords()
        self._claiming = ClaimLoop(chosen, sender, self._answered)
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

    # -- publishing --

    def _publish(self, queue: str, message: str, dedup_key: str) -> Flow[bool]:
        if not isinstance(dedup_key, str) or not dedup_key:
            raise ConfigurationError(f"'dedup_key' must be a non-empty string, got {dedup_key!r}")
        if self._options.pending_overload_policy == "drop_oldest":
            raise ConfigurationError(
                "a gateway with drop_oldest cannot deduplicate: publishing a dropped message again would be"
                " silently suppressed; use add_message"
            )
        if self._sender.unprobed:
            yield from self._sender.probe()
        record = f"{dedup_key}:publish_operation_result:{new_id()}"
        call = operations.publish(
            pending=queue,
            deduplication_key=str(dedup_key),
            stored=envelope.encode(message, key=getattr(dedup_key, "key", None)),
            deduplication_ttl_seconds=self._deduplication_seconds,
            replay_key=record,
            replay_ttl_ms=self._publish_record_ms,
            max_pending_length=self._options.max_pending_length,
            overload_policy=self._options.pending_overload_policy,
            answered=self._answered.pop(queue, ()),
        )
        if self._options.max_pending_length is None:
            reply = yield from self._call_retrying(call)
        else:
            reply = yield from self._bounded(queue, partial(self._call_retrying, call))
        self._answered.add(queue, record)
        return reply == 1

    def _add(self, queue: str, message: str) -> Flow[None]:
        if self._sender.unprobed:
            yield from self._sender.probe()
        stored = envelope.encode(message)
        cap = self._options.max_pending_length
        if cap is None:
            yield from self._sender.push(queue, stored)
            return
        call = operations.add_bounded(
            pending=queue,
            stored=stored,
            max_pending_length=cap,
            overload_policy=self._options.pending_overload_policy,
        )
        yield from self._bounded(queue, partial(self._call_retrying, call, worth=did_nothing))

    def _publish_many(
        self,
        target: str,
        messages: Sequence[str],
        dedup_keys: Sequence[str] | None,
        delay_seconds: float | None = None,
        deduplication_seconds: int | None = None,
    ) -> Flow[list[bool]]:
        """Publish in order, 500 or 512 KiB in a round trip; `target` is the delayed set with a delay."""
        if self._sender.unprobed:
            yield from self._sender.probe()
        enqueued: list[bool] = []
        for stored, markers in _bulk.publish_requests(messages, dedup_keys):
            call = _bulk.publish_many(
                target=target,
                stored=stored,
                markers=markers,
                deduplication_ttl_seconds=deduplication_seconds or self._deduplication_seconds,
                replay_key=f"{target}:publish_operation_result:{new_id()}",
                replay_ttl_ms=self._publish_record_ms,
                max_pending_length=self._options.max_pending_length,
                overload_policy=self._options.pending_overload_policy,
                delay_seconds=delay_seconds,
            )
            flags = yield from self._bounded(target, partial(self._call_retrying, call))
            enqueued.extend(cast("tuple[bool, ...]", flags))
        return enqueued

    def _bounded(self, queue: str, attempt: Callable[[], Flow[T]]) -> Flow[T]:
        """Run `attempt`; while pending is full, wait as the overload policy says.

        The deadline belongs to the whole publish call and is tested after each attempt.
        """
        cap, timeout = self._options.max_pending_length, self._options.pending_overload_block_timeout_seconds
        if cap is None or self._options.pending_overload_policy != "block":
            reply = yield from attempt()
            if reply == operations.PENDING_FULL:
                raise QueueBackpressureError(
                    f"{queue} is at its limit, max_pending_length={cap}: publish again later, or let"
                    " 'pending_overload_policy' wait for room"
                )
            return reply
        began = yield Now()
        delay, longest = 0.01, min(0.5, timeout / 10)
        while True:
            reply = yield from attempt()
            if reply != operations.PENDING_FULL:
                return reply
            if self._sender.stopped():
                raise QueueBackpressureError(f"{queue} is full and this process is shutting down")
            remaining = timeout - (yield Now()).since(began)
            if remaining <= 0:
                raise QueueBackpressureError(f"{queue} stayed at max_pending_length={cap} for {timeout} s")
            jitter = 0.8 + 0.4 * random.random()  # noqa: S311 - spreads waiters, protects nothing
            yield from pause(min(min(delay, longest) * jitter, remaining), self._sender.stopped)
            delay *= 2

    # -- settling --

    def _remove(self, queue: str, message: MessageData, lease_token: str | None) -> Flow[bool]:
        record = _replay_key(queue, lease_token)
        call = operations.remove(
            processing=queue,
            stored=message,
            lease_token=lease_token,
            replay_key=record,
            replay_ttl_ms=self._settle_record_ms,
            answered=self._answered.pop(queue, ()),
        )
        removed = yield from self._call_retrying(call)
        self._answered.add(queue, record)
        return removed

    def _move(
        self, from_queue: str, to_queue: str, message: MessageData, lease_token: str | None
    ) -> Flow[bool]:
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
        moved = yield from self._call_retrying(call)
        self._answered.add(from_queue, record)
        return moved

    def _renew(
        self,
        queue: str,
        message: MessageData,
        lease_token: str,
        is_interrupted: BaseGracefulInterruptHandler | None,
    ) -> Flow[bool]:
        timeout = self.message_visibility_timeout_seconds
        if timeout is None:
            return False
        call = operations.renew(
            processing=queue, stored=message, lease_token=lease_token, visibility_timeout_ms=timeout * 1000
        )
        return (yield from self._call_retrying(call, () if is_interrupted is None else (is_interrupted,)))

    def _trim(self, queue: str, max_length: int) -> Flow[None]:
        yield from self._command("ltrim", queue, 0, max_length - 1)


def did_nothing(error: BaseException) -> bool:
    """Whether it is certain that the server did nothing."""
    return is_refusal(error) or is_pool_exhausted(error)


def _replay_key(processing: str, lease_token: str | None) -> str:
    whose = f"{lease_token}:" if lease_token else ""
    return f"{operations.settle_record(processing)}{whose}{new_id()}"
