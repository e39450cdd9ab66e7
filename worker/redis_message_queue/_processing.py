# Written by worker/sync_face.py from asyncio/_processing.py: change that.
"""One message between claim and settlement: what to do, and what to report, in which order."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis_message_queue import _io
from redis_message_queue._callbacks import discard_awaitable, report_callback_failure, warn
from redis_message_queue.envelope import unwrap
from redis_message_queue.events import EventOperation, EventOutcome, QueueEvent, hash_lease_token
from redis_message_queue.exceptions import (
    CleanupFailedError,
    GatewayContractError,
    RetryBudgetExhaustedError,
    with_context,
)
from redis_message_queue.messages import Claim, ClaimedMessage, CurrentMessage, handled

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis_message_queue.keys import QueueKeys
    from redis_message_queue.messages import MessageData
    from redis_message_queue.options import QueueOptions

logger = logging.getLogger(__name__)

Op, Out = EventOperation, EventOutcome


class Reporter:
    """Tells the callbacks of one queue what happened; what they do stays with them, except an exit."""

    def __init__(self, queue: str, on_event: Callable[..., Any] | None) -> None:
        self._queue = queue
        self.on_event = on_event

    def emit(self, operation: EventOperation, outcome: EventOutcome, **fields: Any) -> None:
        """Tell `on_event`, if there is one."""
        if self.on_event is None:
            return
        error = fields.get("error")
        if error is not None:
            fields.setdefault("exception_type", type(error).__name__)
        event = QueueEvent(self._queue, operation, outcome, **fields)
        self.guarded("on_event", _io.call_event, self.on_event, event)

    def guarded(self, name: str, call: Callable[..., object], *args: object) -> None:
        """Call a callback, and report what it raises."""
        try:
            call(*args)
        except BaseException as error:
            if _io.aborts(error):
                raise
            report_callback_failure(name, error)


@dataclass(slots=True)
class QueueParts:
    """What all messages of a queue have in common; `timeout_seconds` is how long a lease lasts."""

    options: QueueOptions
    key: QueueKeys
    gateway: Any
    timeout_seconds: int | None
    reporter: Reporter
    warned_leaseless: bool = False


def elapsed_ms(since: float) -> float:
    """Milliseconds since a reading of the monotonic clock."""
    return (time.monotonic() - since) * 1000


class Processing:
    """What happens to one message in the hands of a handler: `claimed` is what the gateway returned for it.

    Raises GatewayContractError for what no gateway may return, MalformedStoredMessageError.
    """

    def __init__(self, queue: QueueParts, claimed: object, began: float) -> None:
        self._queue = queue
        token, deliveries = "", 0
        stored: MessageData
        if isinstance(claimed, ClaimedMessage):
            stored, token = claimed.stored_message, claimed.lease_token
            deliveries = claimed.delivery_count or 0
        elif isinstance(claimed, (str, bytes)):
            stored = claimed
            self._check_leaseless()
        else:
            raise GatewayContractError(
                "gateway.wait_for_message_and_move() must return ClaimedMessage, str, bytes or None,"
                f" got {type(claimed).__name__}"
            )
        message = unwrap(stored, strict=queue.options.strict_envelope_decoding)
        self.claim = Claim(stored, token, message.id, message.payload, deliveries)
        self._started = time.monotonic()
        self._waited_ms = (self._started - began) * 1000
        self.ended = False
        """Whether the handler has ended: losing the lease is then reported by the settlement."""

    def _check_leaseless(self) -> None:
        queue = self._queue
        if queue.options.heartbeat_interval_seconds is not None and not queue.warned_leaseless:
            queue.warned_leaseless = True
            text = "gateway returned no lease token, so the configured heartbeat has nothing to renew"
            logger.warning(text)
            warn(text)
        if queue.timeout_seconds is not None:
            raise GatewayContractError("gateways with visibility timeouts must return ClaimedMessage")

    def __enter__(self) -> None:
        """In here `current_message()` tells this one."""
        claim, self._outer = self.claim, handled.get()
        handled.set(CurrentMessage(self._queue.options.name, claim.id, claim.delivery_count or None))

    def __exit__(self, *_: object) -> None:
        # Not by token: a generator may be closed from another context than it was begun in.
        handled.set(self._outer)

    def _tell(self, operation: EventOperation, outcome: EventOutcome, **fields: Any) -> None:
        """Report something about this message."""
        reporter, claim = self._queue.reporter, self.claim
        if reporter.on_event is not None:
            facts = {"message_id": claim.id, "lease_token_hash": hash_lease_token(claim.token or None)}
            reporter.emit(operation, outcome, **facts, **fields)

    def begin(self, start: Callable[[], None] | None) -> None:
        """Start the heartbeat, then report the claim: a slow callback must not eat the lease.

        What the heartbeat's start raises (no thread to be had) is raised, and the message comes back later.
        """
        try:
            if start is not None:
                start()
        except Exception as error:
            self._tell(Op.CLAIM, Out.FAILURE, error=error, duration_ms=self._waited_ms)
            raise
        if self._queue.reporter.on_event is not None:
            self._tell(
                Op.CLAIM,
                Out.SUCCESS,
                delivery_count=self.claim.delivery_count or None,
                max_delivery_count=self._queue.gateway.max_delivery_count,
                duration_ms=self._waited_ms,
            )

    # -- settle --

    def succeed(self) -> None:
        """Settle after the handler returned. Raises CleanupFailedError if Redis or the gateway refused."""
        queue = self._queue
        began = time.monotonic()
        completed = queue.key.completed if queue.options.enable_completed_queue else None
        try:
            applied = self._finish(completed, queue.options.max_completed_length)
        except Exception as error:
            self._tell(Op.CLEANUP_FAILED, Out.FAILURE, error=error, duration_ms=elapsed_ms(began))
            failure = CleanupFailedError("Cleanup after successful processing failed")
            raise with_context(
                failure, queue=queue.options.name, message_id=self.claim.id, operation="ack"
            ) from error
        if queue.reporter.on_event is None and applied:
            return
        took, outcome = elapsed_ms(began), Out.SUCCESS if applied else Out.SKIPPED
        if completed is not None:
            self._tell(
                Op.COMPLETED,
                outcome,
                destination_queue=completed,
                duration_ms=elapsed_ms(self._started),
            )
        self._tell(Op.ACK, outcome, duration_ms=took)
        self._stale(applied, Op.STALE_LEASE_ACK, "successful processing")

    def fail(self, failure: BaseException) -> None:
        """Settle after the handler raised; only an exit escapes, so that the handler's error wins."""
        queue = self._queue
        failed = queue.key.failed if queue.options.enable_failed_queue else None
        self._tell(
            Op.FAILED,
            Out.FAILURE,
            destination_queue=failed,
            error=failure,
            duration_ms=elapsed_ms(self._started),
        )
        began = time.monotonic()
        try:
            applied = self._finish(failed, queue.options.max_failed_length)
        except BaseException as error:
            if _io.aborts(error):
                raise
            self.cleanup_failed(error, began)
            return
        self._tell(
            Op.NACK,
            Out.SUCCESS if applied else Out.SKIPPED,
            duration_ms=elapsed_ms(began),
        )
        self._stale(applied, Op.STALE_LEASE_NACK, "failed processing")

    def cleanup_failed(self, error: BaseException, began: float) -> None:
        """Report that a failure could not be settled."""
        logger.error("Cleanup after a handler exception failed", exc_info=error)
        self._tell(Op.CLEANUP_FAILED, Out.FAILURE, error=error, duration_ms=elapsed_ms(began))
        name = "TypeError" if isinstance(error, GatewayContractError) else type(error).__name__
        warn(f"Cleanup raised after handler exception ({name})")

    def _stale(self, applied: bool, operation: EventOperation, what: str) -> None:
        if applied or not self.claim.token:
            return
        text = f"{what} had no effect: the lease expired and the message belongs to somebody else"
        logger.warning(text)
        self._tell(operation, Out.SKIPPED)
        warn(f"Message after {what}: the lease expired before it could be settled")

    def _finish(self, destination: str | None, cap: int | None) -> bool:
        """Take the message out of processing, to `destination` if there is one."""
        queue = self._queue
        stored, token = self.claim.stored, self.claim.token
        lease = {"lease_token": token} if token else {}
        if destination is None:
            method = "remove_message"
            applied = queue.gateway.remove_message(queue.key.processing, stored, **lease)
        else:
            method = "move_message"
            applied = queue.gateway.move_message(queue.key.processing, destination, stored, **lease)
        if not isinstance(applied, bool):
            raise GatewayContractError(f"gateway.{method}() must return bool, got {type(applied).__name__}")
        if destination is not None and cap is not None and (applied or not token):
            self._trim_history(destination, cap)
        return applied

    def _trim_history(self, destination: str, cap: int) -> None:
        queue = self._queue
        try:
            answer = queue.gateway.trim_queue(destination, cap)
            if kind := discard_awaitable(answer):
                raise GatewayContractError(f"gateway.trim_queue() returned {kind}: nothing was trimmed")
        except Exception as error:
            limit = "max_completed_length" if destination == queue.key.completed else "max_failed_length"
            logger.warning("Could not trim %s: %s", destination, error)
            queue.reporter.emit(Op.TRIM_FAILED, Out.FAILURE, destination_queue=destination, error=error)
            warn(
                f"Failed to trim queue {destination!r} ({type(error).__name__}); it may exceed {limit}={cap}"
            )

    # -- heartbeat --

    def renew_once(self, stop: Any) -> bool:
        """One renewal; False when the heartbeat should end. Results after a stop request are ignored."""
        queue = self._queue
        try:
            claim, renew = self.claim, queue.gateway.renew_message_lease
            renewed = renew(queue.key.processing, claim.stored, claim.token, is_interrupted=stop)
            if not isinstance(renewed, bool):
                raise GatewayContractError(
                    "gateway.renew_message_lease() must return bool, got " + type(renewed).__name__
                )
        except Exception as error:
            if stop.is_interrupted():
                return False
            logger.exception("Could not renew the lease of a message")
            self._tell(Op.LEASE_RENEW_FAILED, Out.FAILURE, error=error)
            warn(f"Failed to renew message lease ({type(error).__name__})")
            self._lease_lost(stop)
            return False
        if stop.is_interrupted():
            return False
        if renewed:
            self._tell(Op.LEASE_RENEW, Out.SUCCESS)
            return True
        if not self.ended:  # else it is the settlement that took the lease, or tells that it was lost
            self._tell(Op.LEASE_RENEW_FAILED, Out.SKIPPED)
            self._lease_lost(stop)
        return False

    def lease_lapsed(self) -> None:
        """The lease has ended, and its renewal has no answer yet: nobody waits for that to be told."""
        error = RetryBudgetExhaustedError("the lease has ended, and its renewal has no answer")
        logger.error("Could not renew the lease of a message before it ended")
        self._tell(Op.LEASE_RENEW_FAILED, Out.FAILURE, error=error)
        warn(f"Failed to renew message lease ({type(error).__name__})")
        self._tell_heartbeat_failure()

    def heartbeat_stuck(self) -> None:
        """Report that a renewal did not end in time."""
        logger.warning("The heartbeat did not stop within timeout")
        self._tell(Op.HEARTBEAT_STOP_TIMEOUT, Out.FAILURE)
        warn("Heartbeat did not stop within timeout")

    def _lease_lost(self, stop: Any) -> None:
        """Tell `on_heartbeat_failure`, unless the handler has ended meanwhile."""
        if not stop.is_interrupted():
            self._tell_heartbeat_failure()

    def _tell_heartbeat_failure(self) -> None:
        queue, callback = self._queue, self._queue.options.on_heartbeat_failure
        if callback is not None and not self.ended:
            queue.reporter.guarded("on_heartbeat_failure", _io.call_plain, callback)
