# Written by worker/sync_face.py from asyncio/_queue.py: change that.
"""What a queue object does with its gateway: set-up, publishing and claiming."""

from __future__ import annotations

import logging
import time
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from redis_message_queue import _bulk, _io, validation
from redis_message_queue._abstract_redis_gateway import AbstractRedisGateway, EventSink, event_sink
from redis_message_queue._callbacks import discard_awaitable
from redis_message_queue._draining import QueueDrain
from redis_message_queue._local_state import InFlightGate
from redis_message_queue._processing import Op, Out, Processing, QueueParts, Reporter, elapsed_ms
from redis_message_queue._redis_gateway import RedisGateway
from redis_message_queue.client_checks import check_cluster_keys, warn_of_small_pool
from redis_message_queue.enqueue import EnqueueOptions, Receipt, entries_of, entry, limit_keys_of, requests
from redis_message_queue.envelope import default_deduplication_key, text_digest
from redis_message_queue.exceptions import (
    ConfigurationError,
    GatewayContractError,
    QueueDrainedError,
    RedisMessageQueueError,
    with_context,
)
from redis_message_queue.keys import Marker
from redis_message_queue.options import QueueOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from redis_message_queue._redis_gateway import Sender


T = TypeVar("T")
logger = logging.getLogger(__name__)

# Connections: a renewal, and what its handler or the next claim is at.
_WITH_HEARTBEAT = 2


class BaseQueue:
    """A queue object without what its callers see."""

    _chosen: frozenset[str]
    """The arguments that its constructor was given by name."""

    def _set_up(self, arguments: Mapping[str, Any]) -> None:
        """Begin with the arguments of the constructor, by their names."""
        gateway, client = arguments["gateway"], arguments["client"]
        settings = validation.picked(QueueOptions, arguments)
        settings.validate(_io.check_callback, _io.check_event_callback, self._chosen)
        self._options = settings = settings.with_histories(self._chosen)
        self.key, self._limits = settings.keys, settings.limits
        if gateway is not None:
            self._gateway_timeout = settings.check_gateway(
                gateway, client, AbstractRedisGateway, _io.OTHER_PACKAGE
            )
            self._gateway = gateway
        elif client is not None:
            self._gateway_timeout = settings.visibility_timeout_seconds
            self._gateway = self._own_gateway(client)
        else:
            raise ConfigurationError("'client' or 'gateway' must be provided")
        if self._gateway.is_redis_cluster:
            check_cluster_keys(self.key, self._gateway.dead_letter_queue)
        settings.check_heartbeat_callback()
        # Who chose neither may not know that equal content is suppressed: told once.
        self._unaware = not self._chosen & {"deduplication", "get_deduplication_key"}
        self._reporter = Reporter(settings.name, settings.on_event)
        self._parts = QueueParts(settings, self.key, self._gateway, self._gateway_timeout, self._reporter)
        self._gate = InFlightGate()
        self._drain = QueueDrain(settings.name, self.key, self._gateway, self._gate, self._reporter)
        self._sink = EventSink(self._reporter.emit, self._gate.is_stopping, self.key.delayed)
        hook = getattr(gateway, "_set_event_emitter", None)
        if hook is not None:
            hook(settings.name, _emitter_of(self._reporter))

    def _own_gateway(self, client: Any) -> RedisGateway:
        settings = self._options
        settings.check_own_client()
        if settings.heartbeat_interval_seconds is not None:
            warn_of_small_pool(client, _WITH_HEARTBEAT)
        return RedisGateway(
            redis_client=client,
            interrupt=settings.interrupt,
            message_visibility_timeout_seconds=settings.visibility_timeout_seconds,
            max_delivery_count=settings.max_delivery_count,
            dead_letter_queue=None if settings.max_delivery_count is None else self.key.dead_letter,
            max_pending_length=settings.max_pending_length,
            pending_overload_policy=settings.pending_overload_policy,
            pending_overload_block_timeout_seconds=settings.pending_overload_block_timeout_seconds,
        )

    def __repr__(self) -> str:
        return f"<RedisMessageQueue name={self._options.name!r} drained={self._gate.stopping}>"

    @property
    def is_draining(self) -> bool:
        """True from the first `drain()` until one has succeeded."""
        return self._gate.stopping and not self._drain.done

    @property
    def is_drained(self) -> bool:
        """True once a `drain()` has returned True."""
        return self._drain.done

    # -- publish --

    def _publish(self, enqueue: Callable[..., list[T]], *args: Any) -> list[T]:
        """Run `enqueue` as a publish of this queue and report how it ended, for each message."""
        began, caller = time.monotonic(), _io.caller()
        try:
            if not self._gate.enter(caller):
                raise QueueDrainedError("queue is drained")
            outer = event_sink.set(self._sink)
            try:
                enqueued = enqueue(*args)
            finally:
                event_sink.reset(outer)
                self._gate.leave(caller)
        except BaseException as error:
            if isinstance(error, RedisMessageQueueError):
                with_context(error, queue=self._options.name, operation="publish")
            self._reporter.emit(Op.PUBLISH, Out.FAILURE, error=error, duration_ms=elapsed_ms(began))
            raise
        if self._reporter.on_event is not None:
            took = elapsed_ms(began)
            for new in enqueued:
                told = (Op.PUBLISH, Out.SUCCESS) if new else (Op.PUBLISH_DEDUP_HIT, Out.SKIPPED)
                message_id = new.message_id if isinstance(new, Receipt) else None
                self._reporter.emit(*told, message_id=message_id, duration_ms=took)
        return enqueued

    def _tell_suppressed(self, enqueued: list[bool]) -> None:
        if self._unaware and not all(enqueued):
            self._unaware = False
            logger.warning(
                "Queue %s suppressed a message: equal content was published a short time ago (an hour, unless"
                " the gateway says otherwise). Nobody chose that for this queue: pass deduplication=False to"
                " enqueue every message, 'deduplication_key' to say what makes one a repeat, or"
                " deduplication=True to keep it so. This is said once.",
                self._options.name,
            )

    def _publish_one(self, message: str | dict[str, Any]) -> list[bool]:
        text, pending = self._limits.text(message), self.key.pending
        deduplicates, seconds = self._options.deduplication, self._options.publish_timeout_seconds
        send: Callable[..., Any] = self._gateway.add_message
        words: tuple[str, ...] = (pending, text)
        if deduplicates:
            if self._options.get_deduplication_key is default_deduplication_key:
                marker = f"{self.key.deduplication_prefix}{text_digest(text)}"
            else:
                marker = self._marker(message, text)
            send, words = self._gateway.publish_message, (pending, text, marker)
        answer = send(*words) if seconds is None else _io.in_time(seconds, partial(send, *words))
        wanted, method = (bool, "publish_message") if deduplicates else (type(None), "add_message")
        if not isinstance(answer, wanted):
            kind = "bool" if deduplicates else "None"
            raise GatewayContractError(f"gateway.{method}() must return {kind}, got {type(answer).__name__}")
        return [answer is not False]

    def _publish_all(
        self,
        messages: Iterable[str | dict[str, Any]],
        delay_seconds: float | None,
        key: str | None = None,
        seconds: int | None = None,
    ) -> list[bool]:
        own = "publish_many()" if (key, seconds) == (None, None) else "a deduplication of one publish"
        gateway = self._built_in(own if delay_seconds is None else "publishing with a delay")
        messages = list(messages)
        texts = [*map(self._limits.text, messages)]
        markers: list[str] | None = None
        if key is not None:
            markers = [Marker.of(self.key.deduplication(key), key)] * len(texts)
        elif self._options.deduplication:
            markers = self._markers(messages, texts)
        answers = self._send(
            gateway,
            _bulk.publish_requests(texts, markers),
            target=self.key.pending if delay_seconds is None else self.key.delayed,
            where=_bulk.after(delay_seconds),
            deduplication_seconds=seconds,
            named=key is not None,
        )
        return answers if key is None else [answer.new for answer in answers]

    def _enqueue_one(
        self, payload: object, key: str | None, chosen: EnqueueOptions, message_id: str | None
    ) -> list[Receipt]:
        gateway, laned = self._built_in("enqueue()"), chosen.lane is not None
        limited = chosen.limit_key is not None
        chosen.check_policy(gateway.pending_overload_policy, keyed=key is not None, limited=limited)
        one = entry(payload, self._limits, self.key, key, message_id, chosen.lane)
        answers = self._send(gateway, (one.request,), laned=laned, **chosen.how(self.key))
        return [one.receipt(answers[0])]

    def _enqueue_all(
        self,
        payloads: Sequence[object],
        keys: Sequence[str | None],
        chosen: EnqueueOptions,
        limit_keys: Iterable[str | None] | None = None,
    ) -> list[Receipt]:
        gateway = self._built_in("enqueue()")
        limited = limit_keys_of(len(payloads), chosen, limit_keys)
        chosen.check_policy(gateway.pending_overload_policy, keyed=any(keys), limited=any(limited))
        entries = entries_of(payloads, keys, limited, chosen, self._limits, self.key)
        laned = any(limited) or chosen.lane is not None
        answers = self._send(gateway, requests(entries), laned=laned, **chosen.how(self.key))
        return [one.receipt(answer) for one, answer in zip(entries, answers, strict=True)]

    def _send(self, gateway: RedisGateway, *what: Any, **how: Any) -> list[Any]:
        send, seconds = gateway._publish_many, self._options.publish_timeout_seconds  # noqa: SLF001
        if seconds is None:
            return send(*what, **how)
        answers: list[Any] = _io.in_time(seconds, partial(send, *what, **how))
        return answers

    def _markers(self, messages: list[str | dict[str, Any]], texts: list[str]) -> list[str]:
        if self._options.get_deduplication_key is default_deduplication_key:
            prefix = self.key.deduplication_prefix
            return [prefix + digest for digest in map(text_digest, texts)]
        markers: list[str] = []
        for message, text in zip(messages, texts, strict=True):
            markers.append(self._marker(message, text))
        return markers

    def _marker(self, message: str | dict[str, Any], text: str) -> Marker:
        """The name of a marker that does not come from the content's digest: it knows its key."""
        function = self._options.get_deduplication_key
        if function is None:  # the text is the key
            return Marker.of(self.key.deduplication(text), "")
        result = _io.call_key(function, message)
        if not isinstance(result, str):
            kind = discard_awaitable(result) or type(result).__name__
            raise TypeError(
                f"'get_deduplication_key' must return a string (it must return a str), got {kind}"
            )
        if not result:
            raise ConfigurationError(
                "'get_deduplication_key' returned '': every message would be a duplicate of the first"
            )
        return Marker.of(self.key.deduplication(result), result)

    def _built_in(self, what: str) -> RedisGateway:
        """The gateway for what its contract has no name for."""
        if not isinstance(self._gateway, RedisGateway):
            raise GatewayContractError(
                f"{what} needs the built-in RedisGateway, this queue has a {type(self._gateway).__name__}"
            )
        return self._gateway

    def _sender_for(self, what: str) -> Sender:
        """The same for what needs nothing of it but its calls."""
        return self._built_in(what)._sender  # noqa: SLF001

    # -- claim --

    def _claim_message(self) -> Processing | None:
        began, caller = time.monotonic(), _io.caller()
        if not self._gate.enter(caller):
            _io.sleep(0)
            self._reporter.emit(Op.CLAIM_EMPTY, Out.SKIPPED, duration_ms=elapsed_ms(began))
            return None
        try:
            outer = event_sink.set(self._sink)
            try:
                claimed = self._gateway.wait_for_message_and_move(self.key.pending, self.key.processing)
            finally:
                event_sink.reset(outer)
            message = None if claimed is None else Processing(self._parts, claimed, began)
        except Exception as error:
            if isinstance(error, RedisMessageQueueError):
                with_context(error, queue=self._options.name, operation="claim")
            self._reporter.emit(Op.CLAIM, Out.FAILURE, error=error, duration_ms=elapsed_ms(began))
            raise
        finally:
            self._gate.leave(caller)
        if message is None:
            self._reporter.emit(Op.CLAIM_EMPTY, Out.SKIPPED, duration_ms=elapsed_ms(began))
        return message


def _emitter_of(reporter: Reporter) -> Callable[..., None]:
    """What a gateway that has the hook `_set_event_emitter` reports with.

    It does not keep the queue alive: a gateway may outlive many queues.
    """
    reference = weakref.ref(reporter)

    def emit(operation: str, outcome: str, **fields: Any) -> None:
        if alive := reference():
            alive.emit(Op(operation), Out(outcome), **fields)

    return emit
