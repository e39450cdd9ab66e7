"""What both queue classes do: set-up, publishing, claiming and draining, each once, as a flow."""

from __future__ import annotations

import functools
import logging
import time
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from redis_message_queue import validation
from redis_message_queue._activity import Activity
from redis_message_queue._callbacks import discard_awaitable
from redis_message_queue._effects import Effect, Flow, Now, Sleep
from redis_message_queue._observer import Observer, nothing, observed_by
from redis_message_queue._pending_claims import PendingClaims
from redis_message_queue._processing import InHand, Op, Out, ProcessingFlows, elapsed_ms
from redis_message_queue._retry import is_retryable
from redis_message_queue.client_checks import check_cluster_keys, warn_of_small_pool
from redis_message_queue.envelope import default_deduplication_key, text_digest
from redis_message_queue.exceptions import (
    ConfigurationError,
    DrainFailedError,
    GatewayContractError,
    QueueDrainedError,
    RedisMessageQueueError,
    with_context,
)
from redis_message_queue.keys import Marker
from redis_message_queue.options import QueueOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from redis_message_queue._clock import Moment
    from redis_message_queue._flavour import Flavour
    from redis_message_queue.events import EventOutcome

logger = logging.getLogger(__name__)

_DRAIN_POLL_SECONDS = 0.005
# Connections: a renewal, and what its handler or the next claim is at.
_WITH_HEARTBEAT = 2
_telling_of_drain: ContextVar[bool] = ContextVar("redis_message_queue_telling_of_drain", default=False)


class QueueFlows(ProcessingFlows):
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
        self._activity = Activity()
        self._drained = False
        self._warned_leaseless = False
        # Who chose neither may not know that equal content is suppressed: told once.
        self._unaware = not self._chosen & {"deduplication", "get_deduplication_key"}
        self._observer = Observer(self._emit, lambda: self._activity.stopping, self.key.delayed)
        hook = getattr(gateway, "_set_event_emitter", None)
        if hook is not None:
            hook(settings.name, _emitter_of(self))

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
        return f"<RedisMessageQueue name={self._options.name!r} drained={self._activity.stopping}>"

    @property
    def is_draining(self) -> bool:
        """True from the first `drain()` until one has succeeded."""
        return self._activity.stopping and not self._drained

    @property
    def is_drained(self) -> bool:
        """True once a `drain()` has returned True."""
        return self._drained

    # -- publish --

    def _reporting_publish(self, enqueue: Callable[[], Flow[list[bool]]]) -> Flow[list[bool]]:
        """Run `enqueue` as a publish of this queue and report how it ended, for each message."""
        began, caller = time.monotonic(), self._flavour.caller()
        try:
            if not self._activity.enter(caller):
                raise QueueDrainedError("queue is drained")
            try:
                with observed_by(self._observer):
                    enqueued = yield from enqueue()
            finally:
                self._activity.leave(caller)
        except BaseException as error:
            if isinstance(error, RedisMessageQueueError):
                with_context(error, queue=self._options.name, operation="publish")
            yield from self._emit(Op.PUBLISH, Out.FAILURE, error=error, duration_ms=elapsed_ms(began))
            raise
        took = elapsed_ms(began)
        for new in enqueued if self._options.on_event is not None else ():
            operation, outcome = (Op.PUBLISH, Out.SUCCESS) if new else (Op.PUBLISH_DEDUP_HIT, Out.SKIPPED)
            yield from self._emit(operation, outcome, duration_ms=took)
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

    def _in_time(self, action: Callable[[], Any]) -> Effect:
        """What a publish does in Redis, for at most `publish_timeout_seconds`."""
        seconds = self._options.publish_timeout_seconds
        return action if seconds is None else functools.partial(self._flavour.in_time, seconds, action)

    def _enqueue(self, message: str | dict[str, Any]) -> Flow[list[bool]]:
        text = self._limits.text(message)
        if not self._options.deduplication:
            answer = yield self._in_time(lambda: self._gateway.add_message(self.key.pending, text))
            if answer is not None:
                raise GatewayContractError(
                    f"gateway.add_message() must return None, got {type(answer).__name__}"
                )
            return [True]
        marker = yield from self._marker(message, text)
        enqueued = yield self._in_time(lambda: self._gateway.publish_message(self.key.pending, text, marker))
        if not isinstance(enqueued, bool):
            raise GatewayContractError(
                f"gateway.publish_message() must return bool, got {type(enqueued).__name__}"
            )
        return [enqueued]

    def _marker(self, message: str | dict[str, Any], text: str) -> Flow[str]:
        """The name of the message's marker; it knows its key where that is not the content's digest."""
        function = self._options.get_deduplication_key
        if function is default_deduplication_key:
            return self.key.deduplication(text_digest(text))
        if function is None:  # the text is the key
            return Marker.of(self.key.deduplication(text), "")
        key = yield from self._deduplication_key(function, message)
        return Marker.of(self.key.deduplication(key), key)

    def _deduplication_key(self, function: Callable[[Any], Any], message: str | dict[str, Any]) -> Flow[str]:
        result = yield functools.partial(self._flavour.call_key, function, message)
        if not isinstance(result, str):
            kind = discard_awaitable(result) or type(result).__name__
            raise TypeError(
                f"'get_deduplication_key' must return a string (it must return a str), got {kind}"
            )
        if not result:
            raise ConfigurationError(
                "'get_deduplication_key' returned '': every message would be a duplicate of the first"
            )
        return result

    # -- claim --

    def _claim_message(self) -> Flow[InHand | None]:
        began, caller = time.monotonic(), self._flavour.caller()
        if not self._activity.enter(caller):
            yield Sleep(0)
            yield from self._emit(Op.CLAIM_EMPTY, Out.SKIPPED, duration_ms=elapsed_ms(began))
            return None
        try:
            with observed_by(self._observer):
                claimed = yield lambda: self._gateway.wait_for_message_and_move(
                    self.key.pending, self.key.processing
                )
            message = None if claimed is None else self._in_hand(claimed, began)
        except Exception as error:
            if isinstance(error, RedisMessageQueueError):
                with_context(error, queue=self._options.name, operation="claim")
            yield from self._emit(Op.CLAIM, Out.FAILURE, error=error, duration_ms=elapsed_ms(began))
            raise
        finally:
            self._activity.leave(caller)
        if message is None:
            yield from self._emit(Op.CLAIM_EMPTY, Out.SKIPPED, duration_ms=elapsed_ms(began))
        return message

    # -- drain --

    def _drain(self, timeout: float | None, caller: object) -> Flow[bool]:
        """Stop publishing and claiming, wait for who is inside, settle claims of unknown outcome.

        True once nothing is left. False (the time was too short, or Redis unreachable) may be tried again.
        """
        validation.check_types(timeout=timeout)
        if timeout is not None and timeout < 0:
            raise ConfigurationError(f"'timeout' must not be negative, got {timeout!r}; 0 only looks")
        began = time.monotonic()

        def tell(outcome: EventOutcome, error: BaseException | None = None) -> Flow[None]:
            waiting = self._unknown_claims()
            facts = {"timeout_seconds": timeout, "pending_claim_ids": waiting, "error": error}
            took = None if outcome is Out.START else elapsed_ms(began)
            yield from self._emit_drain(outcome, **facts, duration_ms=took)

        if self._drained:
            yield Sleep(0)
            yield from tell(Out.SKIPPED)
            return True
        self._activity.stop()
        yield from tell(Out.START)
        try:
            yield from self._until_drained(timeout, caller)
        except Exception as error:
            if isinstance(error, RedisMessageQueueError):
                with_context(error, queue=self._options.name, operation="drain")
            yield from tell(Out.FAILURE, error)
            raise
        if self._drained:
            yield from tell(Out.SUCCESS)
        else:
            failure = DrainFailedError("something is left; drain again, or let the leases end")
            yield from tell(Out.FAILURE, with_context(failure, queue=self._options.name, operation="drain"))
        return self._drained

    def _emit_drain(self, outcome: EventOutcome, **fields: Any) -> Flow[None]:
        """Report, unless a callback that is told of this very drain drains again."""
        if not _telling_of_drain.get():
            _telling_of_drain.set(True)
            try:
                yield from self._emit(Op.DRAIN, outcome, **fields)
            finally:
                _telling_of_drain.set(False)

    def _until_drained(self, timeout: float | None, caller: object) -> Flow[None]:
        began = yield Now()
        yield Sleep(0)
        while not self._drained:
            with self._activity.draining(caller) as leads:
                if leads:
                    self._drained = yield from self._drain_gateway(timeout, began)
                    return
            if timeout is not None and (yield Now()).since(began) >= timeout:
                return
            yield Sleep(_DRAIN_POLL_SECONDS)

    def _drain_gateway(self, timeout: float | None, began: Moment) -> Flow[bool]:
        hook = getattr(self._gateway, "_drain_pending_claim_ids", None)
        if hook is None:
            return True
        remaining = None if timeout is None else timeout - (yield Now()).since(began)
        deadline = None if timeout is None else began.told + timeout

        def settle() -> Any:
            return hook(self.key.processing, deadline_monotonic=deadline)

        try:
            return bool((yield functools.partial(self._flavour.within, remaining, settle)))
        except Exception as error:
            if not is_retryable(error):
                raise
            logger.warning("Transient error while draining %s: %s", self._options.name, error)
            return False

    def _unknown_claims(self) -> tuple[str, ...] | None:
        """Claims of unknown outcome; None with a gateway that does not say."""
        claims = getattr(self._gateway, "_claims", None)
        return claims.waiting(self.key.processing) if isinstance(claims, PendingClaims) else None


def _emitter_of(queue: QueueFlows) -> Callable[..., Any]:
    """What a gateway that has the hook `_set_event_emitter` reports with; awaitable under asyncio.

    It does not keep the queue alive: a gateway may outlive many queues.
    """
    reference = weakref.ref(queue)
    run = queue._flavour.run  # noqa: SLF001

    def emit(operation: str, outcome: str, **fields: Any) -> Any:
        alive = reference()
        return run(nothing() if alive is None else alive._emit(Op(operation), Out(outcome), **fields))  # noqa: SLF001

    return emit
