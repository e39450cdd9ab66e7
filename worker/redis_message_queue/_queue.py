"""What both queue classes do: set-up, publishing and claiming, each once, as a flow."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from redis_message_queue import validation
from redis_message_queue._callbacks import discard_awaitable
from redis_message_queue._drain import QueueDrain
from redis_message_queue._flow import Action, Flow, Sleep
from redis_message_queue._fork import ForgottenAtFork
from redis_message_queue._gateway import GatewayFlows
from redis_message_queue._processing import Op, Out, Processing, QueueParts, elapsed_ms
from redis_message_queue.client_checks import check_cluster_keys, warn_of_small_pool
from redis_message_queue.envelope import default_deduplication_key, text_digest
from redis_message_queue.events import EventSink, Reporter, event_sink, nothing
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
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from redis_message_queue._flavour import Flavour

logger = logging.getLogger(__name__)

# Connections: a renewal, and what its handler or the next claim is at.
_WITH_HEARTBEAT = 2


class InFlightGate(ForgottenAtFork):
    """Who is inside a queue object, by thread or task, so that a drain waits for them but not for itself.

    In a child of a fork nobody is inside: the parent's other threads stayed there.
    """

    stopping = False

    def forget(self) -> None:
        """Count nobody."""
        self._lock = threading.RLock()
        self._callers: dict[object, int] = {}
        self._leader: object = None

    def enter(self, caller: object) -> bool:
        """Count `caller` until it calls `leave`; False, and counts nobody, once the queue is stopping."""
        with self._lock:
            admitted = not self.stopping
            if admitted:
                self._callers[caller] = self._callers.get(caller, 0) + 1
        return admitted

    def leave(self, caller: object) -> None:
        """Undo one `enter` that was True."""
        with self._lock:
            left = self._callers.pop(caller) - 1
            if left:
                self._callers[caller] = left

    def is_stopping(self) -> bool:
        """Whether nobody is admitted any more."""
        return self.stopping

    def stop(self) -> None:
        """Admit nobody from now on."""
        with self._lock:
            self.stopping = True

    @contextmanager
    def draining(self, caller: object) -> Iterator[bool]:
        """Gives True, to one caller at a time, once nobody else is inside.

        A caller that is inside itself (a callback, a signal handler) is not waited for, and may nest.
        """
        with self._lock:
            nested = self._leader == caller
            leads = nested or (self._leader is None and all(who == caller for who in self._callers))
            if leads:
                self._leader = caller
        try:
            yield leads
        finally:
            if leads and not nested:
                self._leader = None


class QueueFlows:
    """The part of a queue that does not care whether it runs in a thread or on an event loop."""

    _chosen: frozenset[str]
    """The arguments that its constructor was given by name."""

    def _set_up(
        self, arguments: Mapping[str, Any], flavour: Flavour, build_gateway: Callable[..., Any]
    ) -> None:
        """Begin with the arguments of the constructor, by their names."""
        gateway, client = arguments["gateway"], arguments["client"]
        settings = validation.picked(QueueOptions, arguments)
        settings.validate(flavour)
        self._options, self._flavour = settings, flavour
        self.key, self._limits = settings.keys, settings.limits
        if gateway is not None:
            self._gateway_timeout = settings.check_gateway(gateway, client, flavour)
            self._gateway = gateway
        elif client is not None:
            self._gateway_timeout = settings.visibility_timeout_seconds
            self._gateway = self._own_gateway(client, build_gateway)
        else:
            raise ConfigurationError("'client' or 'gateway' must be provided")
        if self._gateway.is_redis_cluster:
            check_cluster_keys(self.key, self._gateway.dead_letter_queue)
        settings.check_heartbeat_callback()
        # Who chose neither may not know that equal content is suppressed: told once.
        self._unaware = not self._chosen & {"deduplication", "get_deduplication_key"}
        self._reporter = Reporter(settings.name, settings.on_event, flavour)
        self._parts = QueueParts(
            settings, flavour, self.key, self._gateway, self._gateway_timeout, self._reporter
        )
        self._gate = InFlightGate()
        self._drain = QueueDrain(self._parts, self._gate)
        self._sink = EventSink(self._reporter.emit, self._gate.is_stopping, self.key.delayed)
        hook = getattr(gateway, "_set_event_emitter", None)
        if hook is not None:
            hook(settings.name, _emitter_of(self._reporter, flavour))

    def _own_gateway(self, client: Any, build_gateway: Callable[..., Any]) -> Any:
        settings = self._options
        settings.check_own_client()
        if settings.heartbeat_interval_seconds is not None:
            warn_of_small_pool(client, _WITH_HEARTBEAT)
        return build_gateway(
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

    def _publish_one(
        self,
        message: str | dict[str, Any],
        delay_seconds: float | None,
        key: str | None = None,
        seconds: int | None = None,
    ) -> Flow[bool]:
        """Publish one message, in a round trip of the v7 kind unless it asks for more."""
        if delay_seconds is None and key is None and seconds is None:
            enqueue = self._enqueue(message)
        else:
            validation.check(
                delay_seconds=delay_seconds, deduplication_key=key, deduplication_seconds=seconds
            )
            self._check_deduplication(key, seconds)
            enqueue = self._enqueue_all([message], delay_seconds, key, seconds)
        flags = yield from self._reporting_publish(enqueue)
        if key is None and not flags[0]:
            self._tell_suppressed(flags)
        return flags[0]

    def _publish_all(
        self, messages: Iterable[str | dict[str, Any]], delay_seconds: float | None = None
    ) -> Flow[list[bool]]:
        """Publish in one go. Every message is checked before the first one is sent."""
        validation.check(delay_seconds=delay_seconds)
        if isinstance(messages, (str, bytes, dict)):
            raise TypeError(f"'messages' must be an iterable of messages, got {type(messages).__name__}")
        flags = yield from self._reporting_publish(self._enqueue_all(messages, delay_seconds))
        self._tell_suppressed(flags)
        return flags

    def _check_deduplication(self, key: str | None, seconds: int | None) -> None:
        """Raise ConfigurationError for what one publish cannot ask of this queue."""
        if key is not None and self._options.pending_overload_policy == "drop_oldest":
            raise ConfigurationError(
                "'deduplication_key' cannot be combined with drop_oldest: publishing a dropped message again"
                " would be silently suppressed"
            )
        if seconds is not None and key is None and not self._options.deduplication:
            raise ConfigurationError(
                "'deduplication_seconds' needs something to know a repeat by: pass 'deduplication_key', or"
                " deduplication=True to the queue"
            )

    def _reporting_publish(self, enqueue: Flow[list[bool]]) -> Flow[list[bool]]:
        """Run `enqueue` as a publish of this queue and report how it ended, for each message."""
        began, caller = time.monotonic(), self._flavour.caller()
        try:
            if not self._gate.enter(caller):
                raise QueueDrainedError("queue is drained")
            outer = event_sink.set(self._sink)
            try:
                enqueued = yield from enqueue
            finally:
                event_sink.reset(outer)
                self._gate.leave(caller)
        except BaseException as error:
            if isinstance(error, RedisMessageQueueError):
                with_context(error, queue=self._options.name, operation="publish")
            yield from self._reporter.emit(
                Op.PUBLISH, Out.FAILURE, error=error, duration_ms=elapsed_ms(began)
            )
            raise
        if self._reporter.on_event is not None:
            took = elapsed_ms(began)
            for new in enqueued:
                told = (Op.PUBLISH, Out.SUCCESS) if new else (Op.PUBLISH_DEDUP_HIT, Out.SKIPPED)
                yield from self._reporter.emit(*told, duration_ms=took)
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

    def _enqueue(self, message: str | dict[str, Any]) -> Flow[list[bool]]:
        text, pending = self._limits.text(message), self.key.pending
        deduplicates, seconds = self._options.deduplication, self._options.publish_timeout_seconds
        action: Action
        if not deduplicates:
            action = partial(self._gateway.add_message, pending, text)
        elif self._options.get_deduplication_key is default_deduplication_key:
            marker = f"{self.key.deduplication_prefix}{text_digest(text)}"
            action = partial(self._gateway.publish_message, pending, text, marker)
        else:
            marker = yield from self._marker(message, text)
            action = partial(self._gateway.publish_message, pending, text, marker)
        if seconds is not None:
            action = partial(self._flavour.in_time, seconds, action)
        answer = yield action
        wanted, method = (bool, "publish_message") if deduplicates else (type(None), "add_message")
        if not isinstance(answer, wanted):
            kind = "bool" if deduplicates else "None"
            raise GatewayContractError(f"gateway.{method}() must return {kind}, got {type(answer).__name__}")
        return [answer is not False]

    def _enqueue_all(
        self,
        messages: Iterable[str | dict[str, Any]],
        delay_seconds: float | None,
        key: str | None = None,
        seconds: int | None = None,
    ) -> Flow[list[bool]]:
        own = "publish_many()" if (key, seconds) == (None, None) else "a deduplication of one publish"
        gateway = self._built_in(own if delay_seconds is None else "publishing with a delay")
        messages = list(messages)
        texts = [*map(self._limits.text, messages)]
        markers: list[str] | None = None
        if key is not None:
            markers = [Marker.of(self.key.deduplication(key), key)] * len(texts)
        elif self._options.deduplication:
            markers = yield from self._markers(messages, texts)
        target = self.key.pending if delay_seconds is None else self.key.delayed
        publish = gateway._publish_many(target, texts, markers, delay_seconds, seconds)  # noqa: SLF001
        if self._options.publish_timeout_seconds is None:
            return (yield from publish)
        within = partial(self._flavour.in_time, self._options.publish_timeout_seconds)
        flags: list[bool] = yield partial(within, partial(self._flavour.run, publish))
        return flags

    def _markers(self, messages: list[str | dict[str, Any]], texts: list[str]) -> Flow[list[str]]:
        if self._options.get_deduplication_key is default_deduplication_key:
            prefix = self.key.deduplication_prefix
            return [prefix + digest for digest in map(text_digest, texts)]
        markers: list[str] = []
        for message, text in zip(messages, texts, strict=True):
            markers.append((yield from self._marker(message, text)))
        return markers

    def _marker(self, message: str | dict[str, Any], text: str) -> Flow[Marker]:
        """The name of a marker that does not come from the content's digest: it knows its key."""
        function = self._options.get_deduplication_key
        if function is None:  # the text is the key
            return Marker.of(self.key.deduplication(text), "")
        result = yield partial(self._flavour.call_key, function, message)
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

    def _built_in(self, what: str) -> GatewayFlows:
        """The gateway for what its contract has no name for."""
        if not isinstance(self._gateway, GatewayFlows):
            raise GatewayContractError(
                f"{what} needs the built-in RedisGateway, this queue has a {type(self._gateway).__name__}"
            )
        return self._gateway

    # -- claim --

    def _claim_message(self) -> Flow[Processing | None]:
        began, caller = time.monotonic(), self._flavour.caller()
        if not self._gate.enter(caller):
            yield Sleep(0)
            yield from self._reporter.emit(Op.CLAIM_EMPTY, Out.SKIPPED, duration_ms=elapsed_ms(began))
            return None
        try:
            outer = event_sink.set(self._sink)
            try:
                claimed = yield partial(
                    self._gateway.wait_for_message_and_move, self.key.pending, self.key.processing
                )
            finally:
                event_sink.reset(outer)
            message = None if claimed is None else Processing(self._parts, claimed, began)
        except Exception as error:
            if isinstance(error, RedisMessageQueueError):
                with_context(error, queue=self._options.name, operation="claim")
            yield from self._reporter.emit(Op.CLAIM, Out.FAILURE, error=error, duration_ms=elapsed_ms(began))
            raise
        finally:
            self._gate.leave(caller)
        if message is None:
            yield from self._reporter.emit(Op.CLAIM_EMPTY, Out.SKIPPED, duration_ms=elapsed_ms(began))
        return message


def _emitter_of(reporter: Reporter, flavour: Flavour) -> Callable[..., Any]:
    """What a gateway that has the hook `_set_event_emitter` reports with; awaitable under asyncio.

    It does not keep the queue alive: a gateway may outlive many queues.
    """
    reference, run = weakref.ref(reporter), flavour.run

    def emit(operation: str, outcome: str, **fields: Any) -> Any:
        alive = reference()
        return run(nothing() if alive is None else alive.emit(Op(operation), Out(outcome), **fields))

    return emit
