"""One message between claim and settlement, as flows: what to do, and what to report, in which order."""

from __future__ import annotations

import functools
import logging
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from redis_message_queue._callbacks import discard_awaitable, report_callback_failure, warn
from redis_message_queue.envelope import unwrap
from redis_message_queue.events import EventOperation, EventOutcome, QueueEvent, hash_lease_token
from redis_message_queue.exceptions import (
    CleanupFailedError,
    GatewayContractError,
    RetryBudgetExhaustedError,
    with_context,
)
from redis_message_queue.messages import ClaimedMessage, CurrentMessage, Handling, MessageData

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis_message_queue._effects import Flow
    from redis_message_queue._flavour import Flavour
    from redis_message_queue.keys import QueueKeys
    from redis_message_queue.options import QueueOptions

logger = logging.getLogger(__name__)

Op, Out = EventOperation, EventOutcome


class InHand(NamedTuple):
    """A claimed message in the hands of a handler; `token` is None without a lease."""

    stored: MessageData
    token: str | None
    payload: MessageData
    message_id: str | None
    delivery_count: int | None
    waited_ms: float
    started: float


def elapsed_ms(since: float) -> float:
    """Milliseconds since a reading of the monotonic clock."""
    return (time.monotonic() - since) * 1000


class ProcessingFlows:
    """Reporting, reading a claim, and settling it. Shared by both faces."""

    _options: QueueOptions
    _flavour: Flavour
    _gateway: Any
    _gateway_timeout: int | None
    _warned_leaseless: bool
    key: QueueKeys

    # -- reporting --

    def _emit(self, operation: EventOperation, outcome: EventOutcome, **fields: Any) -> Flow[None]:
        """Tell `on_event`; whatever the callback does stays with the callback, except an exit."""
        callback = self._options.on_event
        if callback is None:
            return
        error = fields.get("error")
        if error is not None:
            fields.setdefault("exception_type", type(error).__name__)
        event = QueueEvent(self._options.name, operation, outcome, **fields)
        yield from self._guarded("on_event", functools.partial(self._flavour.call_event, callback, event))

    def _tell(
        self, message: InHand, operation: EventOperation, outcome: EventOutcome, **fields: Any
    ) -> Flow[None]:
        """Report something about this message."""
        if self._options.on_event is not None:
            facts = {"message_id": message.message_id, "lease_token_hash": hash_lease_token(message.token)}
            yield from self._emit(operation, outcome, **facts, **fields)

    def _lease_lost(self, stop: Any) -> Flow[None]:
        """Tell `on_heartbeat_failure`, unless the handler has ended meanwhile."""
        if not stop.is_interrupted():
            yield from self._tell_heartbeat_failure(stop)

    def _tell_heartbeat_failure(self, stop: Any) -> Flow[None]:
        callback = self._options.on_heartbeat_failure
        if callback is not None and not stop.suppressed:
            yield from self._guarded(
                "on_heartbeat_failure", functools.partial(self._flavour.call_plain, callback)
            )

    def _guarded(self, name: str, action: Callable[[], Any]) -> Flow[None]:
        try:
            yield action
        except BaseException as error:
            if self._flavour.aborts(error):
                raise
            report_callback_failure(name, error)

    # -- claim --

    def _in_hand(self, claimed: object, began: float) -> InHand:
        """Check what the gateway returned and unwrap it.

        Raises GatewayContractError for what no gateway may return, MalformedStoredMessageError.
        """
        token, deliveries = None, None
        stored: MessageData
        if isinstance(claimed, ClaimedMessage):
            stored, token, deliveries = claimed.stored_message, claimed.lease_token, claimed.delivery_count
        elif isinstance(claimed, (str, bytes)):
            stored = claimed
            self._check_leaseless()
        else:
            raise GatewayContractError(
                "gateway.wait_for_message_and_move() must return ClaimedMessage, str, bytes or None,"
                f" got {type(claimed).__name__}"
            )
        message = unwrap(stored, strict=self._options.strict_envelope_decoding)
        return InHand(
            stored, token, message.payload, message.id, deliveries, elapsed_ms(began), time.monotonic()
        )

    def _begin(self, message: InHand, start: Callable[[], None]) -> Flow[None]:
        """Start the heartbeat, then report the claim: a slow callback must not eat the lease.

        What the heartbeat's start raises (no thread to be had) is raised, and the message comes back later.
        """
        try:
            start()
        except Exception as error:
            yield from self._tell(message, Op.CLAIM, Out.FAILURE, error=error, duration_ms=message.waited_ms)
            raise
        yield from self._tell(
            message,
            Op.CLAIM,
            Out.SUCCESS,
            delivery_count=message.delivery_count,
            max_delivery_count=self._gateway.max_delivery_count,
            duration_ms=message.waited_ms,
        )

    def _handling(self, message: InHand) -> Handling:
        """What `current_message()` answers in the handler."""
        return Handling(CurrentMessage(self._options.name, message.message_id, message.delivery_count))

    def _check_leaseless(self) -> None:
        if self._options.heartbeat_interval_seconds is not None and not self._warned_leaseless:
            self._warned_leaseless = True
            text = "gateway returned no lease token, so the configured heartbeat has nothing to renew"
            logger.warning(text)
            warn(text)
        if self._gateway_timeout is not None:
            raise GatewayContractError("gateways with visibility timeouts must return ClaimedMessage")

    # -- settle --

    def _succeed(self, message: InHand) -> Flow[None]:
        """Settle after the handler returned. Raises CleanupFailedError if Redis or the gateway refused."""
        began = time.monotonic()
        completed = self.key.completed if self._options.enable_completed_queue else None
        try:
            applied = yield from self._finish(message, completed, self._options.max_completed_length)
        except Exception as error:
            yield from self._tell(
                message, Op.CLEANUP_FAILED, Out.FAILURE, error=error, duration_ms=elapsed_ms(began)
            )
            failure = CleanupFailedError("Cleanup after successful processing failed")
            raise with_context(
                failure, queue=self._options.name, message_id=message.message_id, operation="ack"
            ) from error
        took, outcome = elapsed_ms(began), Out.SUCCESS if applied else Out.SKIPPED
        if completed is not None:
            yield from self._tell(
                message,
                Op.COMPLETED,
                outcome,
                destination_queue=completed,
                duration_ms=elapsed_ms(message.started),
            )
        yield from self._tell(message, Op.ACK, outcome, duration_ms=took)
        yield from self._stale(message, applied, Op.STALE_LEASE_ACK, "successful processing")

    def _fail(self, message: InHand, failure: BaseException) -> Flow[None]:
        """Settle after the handler raised; only an exit escapes, so that the handler's error wins."""
        failed = self.key.failed if self._options.enable_failed_queue else None
        yield from self._tell(
            message,
            Op.FAILED,
            Out.FAILURE,
            destination_queue=failed,
            error=failure,
            duration_ms=elapsed_ms(message.started),
        )
        began = time.monotonic()
        try:
            applied = yield from self._finish(message, failed, self._options.max_failed_length)
        except BaseException as error:
            if self._flavour.aborts(error):
                raise
            yield from self._cleanup_failed(message, error, began)
            return
        yield from self._tell(
            message,
            Op.NACK,
            Out.SUCCESS if applied else Out.SKIPPED,
            duration_ms=elapsed_ms(began),
        )
        yield from self._stale(message, applied, Op.STALE_LEASE_NACK, "failed processing")

    def _cleanup_failed(self, message: InHand, error: BaseException, began: float) -> Flow[None]:
        logger.error("Cleanup after a handler exception failed", exc_info=error)
        yield from self._tell(
            message, Op.CLEANUP_FAILED, Out.FAILURE, error=error, duration_ms=elapsed_ms(began)
        )
        name = "TypeError" if isinstance(error, GatewayContractError) else type(error).__name__
        warn(f"Cleanup raised after handler exception ({name})")

    def _stale(self, message: InHand, applied: bool, operation: EventOperation, what: str) -> Flow[None]:
        if applied or message.token is None:
            return
        text = f"{what} had no effect: the lease expired and the message belongs to somebody else"
        logger.warning(text)
        yield from self._tell(message, operation, Out.SKIPPED)
        warn(f"Message after {what}: the lease expired before it could be settled")

    def _finish(self, message: InHand, destination: str | None, cap: int | None) -> Flow[bool]:
        """Take the message out of processing, to `destination` if there is one."""
        lease = {} if message.token is None else {"lease_token": message.token}
        method: str
        args: list[MessageData]
        if destination is None:
            method, args = "remove_message", [self.key.processing, message.stored]
        else:
            method, args = "move_message", [self.key.processing, destination, message.stored]
        applied = yield lambda: getattr(self._gateway, method)(*args, **lease)
        if not isinstance(applied, bool):
            raise GatewayContractError(f"gateway.{method}() must return bool, got {type(applied).__name__}")
        if destination is not None and cap is not None and (applied or message.token is None):
            yield from self._trim_history(destination, cap)
        return applied

    def _trim_history(self, destination: str, cap: int) -> Flow[None]:
        try:
            answer = yield lambda: self._gateway.trim_queue(destination, cap)
            if kind := discard_awaitable(answer):
                raise GatewayContractError(f"gateway.trim_queue() returned {kind}: nothing was trimmed")
        except Exception as error:
            limit = "max_completed_length" if destination == self.key.completed else "max_failed_length"
            logger.warning("Could not trim %s: %s", destination, error)
            yield from self._emit(Op.TRIM_FAILED, Out.FAILURE, destination_queue=destination, error=error)
            warn(
                f"Failed to trim queue {destination!r} ({type(error).__name__}); it may exceed {limit}={cap}"
            )

    # -- heartbeat --

    def _renew_once(self, message: InHand, stop: Any) -> Flow[bool]:
        """One renewal; False when the heartbeat should end. Results after a stop request are ignored."""
        try:
            renewed = yield lambda: self._gateway.renew_message_lease(
                self.key.processing, message.stored, message.token, is_interrupted=stop
            )
            if not isinstance(renewed, bool):
                raise GatewayContractError(
                    "gateway.renew_message_lease() must return bool, got " + type(renewed).__name__
                )
        except Exception as error:
            if stop.is_interrupted():
                return False
            logger.exception("Could not renew the lease of a message")
            yield from self._tell(message, Op.LEASE_RENEW_FAILED, Out.FAILURE, error=error)
            warn(f"Failed to renew message lease ({type(error).__name__})")
            yield from self._lease_lost(stop)
            return False
        if stop.is_interrupted():
            return False
        if renewed:
            yield from self._tell(message, Op.LEASE_RENEW, Out.SUCCESS)
            return True
        yield from self._tell(message, Op.LEASE_RENEW_FAILED, Out.SKIPPED)
        yield from self._lease_lost(stop)
        return False

    def _lease_lapsed(self, message: InHand, stop: Any) -> Flow[None]:
        """The lease has ended, and its renewal has no answer yet: nobody waits for that to be told."""
        error = RetryBudgetExhaustedError("the lease has ended, and its renewal has no answer")
        logger.error("Could not renew the lease of a message before it ended")
        yield from self._tell(message, Op.LEASE_RENEW_FAILED, Out.FAILURE, error=error)
        warn(f"Failed to renew message lease ({type(error).__name__})")
        yield from self._tell_heartbeat_failure(stop)

    def _heartbeat_stuck(self, message: InHand) -> Flow[None]:
        logger.warning("The heartbeat did not stop within timeout")
        yield from self._tell(message, Op.HEARTBEAT_STOP_TIMEOUT, Out.FAILURE)
        warn("Heartbeat did not stop within timeout")
