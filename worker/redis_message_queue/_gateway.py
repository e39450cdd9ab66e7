"""What both gateways do: each operation once, as a flow."""

from __future__ import annotations

import functools
import itertools
import logging
import random
from typing import TYPE_CHECKING, Any, TypeVar, cast

import redis.exceptions

from redis_message_queue import _bulk, _core, envelope
from redis_message_queue._clock import moment
from redis_message_queue._effects import Flow, Now, pause
from redis_message_queue._observer import current
from redis_message_queue._requests import parts, size_of
from redis_message_queue._retry import raise_translated, repeated
from redis_message_queue.client_checks import check_not_cluster_node, is_cluster
from redis_message_queue.envelope import new_id
from redis_message_queue.exceptions import ConfigurationError, QueueBackpressureError
from redis_message_queue.interrupt_handler import BaseGracefulInterruptHandler
from redis_message_queue.keys import Marker, lease_keys
from redis_message_queue.trouble import is_pool_exhausted, is_refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis_message_queue._pending_claims import PendingClaims
    from redis_message_queue._spent import SpentRecords
    from redis_message_queue._waiting import Waiters
    from redis_message_queue.interrupt_handler import BaseGracefulInterruptHandler
    from redis_message_queue.messages import MessageData
    from redis_message_queue.options import GatewayOptions

T = TypeVar("T")
logger = logging.getLogger(__name__)


class GatewayFlows:
    """The operations of `RedisGateway`, without the I/O: `execute` sends a call over the client."""

    _options: GatewayOptions
    _client: Any
    _execute: Callable[[Any, _core.Call[Any]], Any]
    _send: Callable[..., Any]
    _claims: PendingClaims
    _spent: SpentRecords
    _waiters: Waiters
    _blocks: bool
    """Whether the client can wait for a message without polling."""
    _unprobed: bool
    """Whether it is still to be found out if the server is a node of a cluster."""

    @property
    def is_redis_cluster(self) -> bool:
        """True if the client is a cluster client."""
        return is_cluster(self._client)

    @property
    def message_visibility_timeout_seconds(self) -> int | None:
        """How long a lease lasts without renewal; None means claims carry no lease."""
        return self._options.message_visibility_timeout_seconds

    @property
    def max_delivery_count(self) -> int | None:
        """Deliveries of one message before it becomes a dead letter; None means no limit."""
        return self._options.max_delivery_count

    @property
    def dead_letter_queue(self) -> str | None:
        """The key dead letters go to."""
        return self._options.dead_letter_queue or None

    def _call(self, call: _core.Call[T]) -> Flow[T]:
        """Send one call, once."""
        try:
            return (yield functools.partial(self._execute, self._client, call))  # type: ignore[no-any-return]
        except redis.exceptions.ResponseError as error:
            raise_translated(error)

    def _call_retrying(
        self, call: _core.Call[T], interrupts: Sequence[BaseGracefulInterruptHandler] = ()
    ) -> Flow[T]:
        """Send one idempotent call until it is answered or the retry budget is spent."""
        began = moment()
        try:
            return (yield functools.partial(self._execute, self._client, call))  # type: ignore[no-any-return]
        except Exception as error:
            failure = error
        what, attempt = f"{call.script.name} on {_core.as_text(call.keys[0])}", lambda: self._call(call)
        handlers = self._interrupts(interrupts)
        try:
            return (yield from repeated(what, attempt, failure, began, self._options.retry, handlers))
        except redis.exceptions.ResponseError as error:
            raise_translated(error)

    def _unless_refused(self, what: str, action: Callable[[], Flow[T]]) -> Flow[T]:
        """Perform what must not be done twice: again only while it is certain that nothing was done."""
        began = moment()
        try:
            return (yield from action())
        except Exception as error:
            failure = error
        handlers = self._interrupts()
        return (
            yield from repeated(what, action, failure, began, self._options.retry, handlers, _did_nothing)
        )

    def _interrupts(
        self, more: Sequence[BaseGracefulInterruptHandler] = ()
    ) -> Sequence[BaseGracefulInterruptHandler]:
        own = self._options.interrupt
        return more if own is None else (*more, own)

    def _command(self, name: str, *args: object) -> Flow[Any]:
        """Call one client method, looked up now."""
        return (yield functools.partial(self._send, self._client, name, *args))

    def _probe(self) -> Flow[None]:
        """Ask a plain client's server whether it is part of a cluster. Raises TypeError if so."""
        try:
            info = yield from self._command("info", "cluster")
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
            return  # the call that follows meets it as well; the next one asks again
        except Exception as error:
            logger.debug("The server does not say whether it is part of a cluster: %s", error)
        else:
            check_not_cluster_node(info)
        self._unprobed = False

    # -- publishing --

    def _publish(self, queue: str, message: str, dedup_key: str) -> Flow[bool]:
        if not isinstance(dedup_key, str) or not dedup_key:
            raise ConfigurationError(f"'dedup_key' must be a non-empty string, got {dedup_key!r}")
        if self._options.pending_overload_policy == "drop_oldest":
            raise ConfigurationError(
                "a gateway with drop_oldest cannot deduplicate: publishing a dropped message again would be"
                " silently suppressed; use add_message"
            )
        if self._unprobed:
            yield from self._probe()
        record = f"{dedup_key}:publish_operation_result:{new_id()}"
        call = _core.publish(
            pending=queue,
            deduplication_key=str(dedup_key),
            stored=_stored(message, dedup_key),
            deduplication_ttl_seconds=self._options.deduplication_ttl_seconds,
            replay_key=record,
            replay_ttl_ms=self._options.replay_ttl_ms(0),
            max_pending_length=self._options.max_pending_length,
            overload_policy=self._options.pending_overload_policy,
            spent=self._spent.take(queue),
        )
        reply = yield from self._bounded(queue, lambda: self._call_retrying(call))
        self._spent.add(queue, record)
        return reply == 1

    def _add(self, queue: str, message: str) -> Flow[None]:
        if self._unprobed:
            yield from self._probe()
        stored = envelope.encode(message)
        cap = self._options.max_pending_length
        if cap is None:
            yield from self._unless_refused(
                f"lpush on {queue}", lambda: self._command("lpush", queue, stored)
            )
            return
        call = _core.add_bounded(
            pending=queue,
            stored=stored,
            max_pending_length=cap,
            overload_policy=self._options.pending_overload_policy,
        )
        push = functools.partial(self._unless_refused, f"add on {queue}", lambda: self._call(call))
        yield from self._bounded(queue, push)

    def _publish_many(
        self,
        target: str,
        messages: Sequence[str],
        dedup_keys: Sequence[str] | None,
        delay_seconds: float | None = None,
        deduplication_seconds: int | None = None,
    ) -> Flow[list[bool]]:
        """Publish in order, 500 or 512 KiB in a round trip; `target` is the delayed set with a delay."""
        if self._unprobed:
            yield from self._probe()
        enqueued: list[bool] = []
        markers = itertools.repeat("") if dedup_keys is None else dedup_keys
        pairs = zip(map(envelope.encode, messages), markers, strict=False)
        if dedup_keys and isinstance(dedup_keys[0], Marker):  # as all of them are
            pairs = zip(map(_stored, messages, dedup_keys), map(str, dedup_keys), strict=True)
        for part in parts(pairs, _size_of_pair, _bulk.MOST_AT_ONCE):
            stored, marked = zip(*part, strict=True)
            call = _bulk.publish_many(
                target=target,
                stored=stored,
                markers=() if dedup_keys is None else marked,
                deduplication_ttl_seconds=deduplication_seconds or self._options.deduplication_ttl_seconds,
                replay_key=f"{target}:publish_operation_result:{new_id()}",
                replay_ttl_ms=self._options.replay_ttl_ms(0),
                max_pending_length=self._options.max_pending_length,
                overload_policy=self._options.pending_overload_policy,
                delay_seconds=delay_seconds,
            )
            flags = yield from self._bounded(target, functools.partial(self._call_retrying, call))
            enqueued.extend(cast("tuple[bool, ...]", flags))
        return enqueued

    def _bounded(self, queue: str, attempt: Callable[[], Flow[T]]) -> Flow[T]:
        """Run `attempt`; while pending is full, wait as the overload policy says.

        The deadline belongs to the whole publish call and is tested after each attempt.
        """
        cap, timeout = self._options.max_pending_length, self._options.pending_overload_block_timeout_seconds
        if cap is None or self._options.pending_overload_policy != "block":
            reply = yield from attempt()
            if reply == _core.PENDING_FULL:
                raise QueueBackpressureError(
                    f"{queue} is at its limit, max_pending_length={cap}: publish again later, or let"
                    " 'pending_overload_policy' wait for room"
                )
            return reply
        began = yield Now()
        delay, longest = 0.01, min(0.5, timeout / 10)
        while True:
            reply = yield from attempt()
            if reply != _core.PENDING_FULL:
                return reply
            if self._stopped():
                raise QueueBackpressureError(f"{queue} is full and this process is shutting down")
            remaining = timeout - (yield Now()).since(began)
            if remaining <= 0:
                raise QueueBackpressureError(f"{queue} stayed at max_pending_length={cap} for {timeout} s")
            jitter = 0.8 + 0.4 * random.random()  # noqa: S311 - spreads waiters, protects nothing
            yield from pause(min(min(delay, longest) * jitter, remaining), self._stopped)
            delay *= 2

    # -- settling --

    def _remove(self, queue: str, message: MessageData, lease_token: str | None) -> Flow[bool]:
        record = _replay_key(queue, lease_token)
        call = _core.remove(
            processing=queue,
            stored=message,
            lease_token=lease_token,
            replay_key=record,
            replay_ttl_ms=self._options.replay_ttl_ms(self.message_visibility_timeout_seconds or 0),
            spent=self._spent.take(queue),
        )
        removed = yield from self._call_retrying(call)
        self._spent.add(queue, record)
        return removed

    def _move(
        self, from_queue: str, to_queue: str, message: MessageData, lease_token: str | None
    ) -> Flow[bool]:
        record = _replay_key(from_queue, lease_token)
        call = _core.move(
            processing=from_queue,
            destination=to_queue,
            stored=message,
            payload=envelope.decode(message).payload,
            lease_token=lease_token,
            replay_key=record,
            replay_ttl_ms=self._options.replay_ttl_ms(self.message_visibility_timeout_seconds or 0),
            spent=self._spent.take(from_queue),
        )
        moved = yield from self._call_retrying(call)
        self._spent.add(from_queue, record)
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
        call = _core.renew(
            processing=queue, stored=message, lease_token=lease_token, visibility_timeout_ms=timeout * 1000
        )
        return (yield from self._call_retrying(call, () if is_interrupted is None else (is_interrupted,)))

    def _trim(self, queue: str, max_length: int) -> Flow[None]:
        yield from self._command("ltrim", queue, 0, max_length - 1)

    def _stopped(self) -> bool:
        interrupt = self._options.interrupt
        return current().stopped() or (interrupt is not None and interrupt.is_interrupted())


def _stored(message: str, marker: str) -> str:
    """Its envelope, which names the key of a marker that does not come from the content."""
    return envelope.encode(message, key=getattr(marker, "key", None))


def _size_of_pair(pair: tuple[str, str]) -> int:
    return len(pair[0]) + size_of(pair[1])  # an envelope is ASCII


def _did_nothing(error: BaseException) -> bool:
    return is_refusal(error) or is_pool_exhausted(error)


def _replay_key(processing: str, lease_token: str | None) -> str:
    operation = new_id()
    return lease_keys(processing).operation_result(f"{lease_token}:{operation}" if lease_token else operation)
