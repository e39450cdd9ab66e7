"""The end of a queue object: nobody comes in any more, who is inside ends, unanswered claims are settled."""

from __future__ import annotations

import functools
import logging
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from redis_message_queue import validation
from redis_message_queue._claiming import ClaimLoop
from redis_message_queue._flow import Flow, Now, Sleep, is_retryable
from redis_message_queue._processing import Op, Out, elapsed_ms
from redis_message_queue.exceptions import (
    ConfigurationError,
    DrainFailedError,
    RedisMessageQueueError,
    with_context,
)

if TYPE_CHECKING:
    from redis_message_queue._clock import Moment
    from redis_message_queue._processing import QueueParts
    from redis_message_queue._queue import InFlightGate
    from redis_message_queue.events import EventOutcome

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.005
_telling_of_drain: ContextVar[bool] = ContextVar("redis_message_queue_telling_of_drain", default=False)


class QueueDrain:
    """The drain of one queue object, which may be asked for again and again; `done` once it has succeeded."""

    def __init__(self, queue: QueueParts, gate: InFlightGate) -> None:
        self._queue = queue
        self._name = queue.options.name
        self._gate = gate
        self.done = False

    def flow(self, timeout: float | None, caller: object) -> Flow[bool]:
        """Stop publishing and claiming, wait for who is inside, settle claims of unknown outcome.

        True once nothing is left. False (the time was too short, or Redis unreachable) may be tried again.
        """
        validation.check_types(timeout=timeout)
        if timeout is not None and timeout < 0:
            raise ConfigurationError(f"'timeout' must not be negative, got {timeout!r}; 0 only looks")
        began = time.monotonic()

        def tell(outcome: EventOutcome, error: BaseException | None = None) -> Flow[None]:
            waiting = self._unanswered()
            facts = {"timeout_seconds": timeout, "pending_claim_ids": waiting, "error": error}
            took = None if outcome is Out.START else elapsed_ms(began)
            yield from self._emit_drain(outcome, **facts, duration_ms=took)

        if self.done:
            yield Sleep(0)
            yield from tell(Out.SKIPPED)
            return True
        self._gate.stop()
        yield from tell(Out.START)
        try:
            yield from self._until_drained(timeout, caller)
        except Exception as error:
            if isinstance(error, RedisMessageQueueError):
                with_context(error, queue=self._name, operation="drain")
            yield from tell(Out.FAILURE, error)
            raise
        if self.done:
            yield from tell(Out.SUCCESS)
        else:
            failure = DrainFailedError("something is left; drain again, or let the leases end")
            yield from tell(Out.FAILURE, with_context(failure, queue=self._name, operation="drain"))
        return self.done

    def _emit_drain(self, outcome: EventOutcome, **fields: Any) -> Flow[None]:
        """Report, unless a callback that is told of this very drain drains again."""
        if not _telling_of_drain.get():
            _telling_of_drain.set(True)
            try:
                yield from self._queue.reporter.emit(Op.DRAIN, outcome, **fields)
            finally:
                _telling_of_drain.set(False)

    def _until_drained(self, timeout: float | None, caller: object) -> Flow[None]:
        began = yield Now()
        yield Sleep(0)
        while not self.done:
            with self._gate.draining(caller) as leads:
                if leads:
                    self.done = yield from self._drain_gateway(timeout, began)
                    return
            if timeout is not None and (yield Now()).since(began) >= timeout:
                return
            yield Sleep(_POLL_SECONDS)

    def _drain_gateway(self, timeout: float | None, began: Moment) -> Flow[bool]:
        hook = getattr(self._queue.gateway, "_drain_pending_claim_ids", None)
        if hook is None:
            return True
        remaining = None if timeout is None else timeout - (yield Now()).since(began)
        deadline = None if timeout is None else began.told + timeout

        def settle() -> Any:
            return hook(self._queue.key.processing, deadline_monotonic=deadline)

        try:
            return bool((yield functools.partial(self._queue.flavour.within, remaining, settle)))
        except Exception as error:
            if not is_retryable(error):
                raise
            logger.warning("Transient error while draining %s: %s", self._name, error)
            return False

    def _unanswered(self) -> tuple[str, ...] | None:
        """Claims of unknown outcome; None with a gateway that does not say."""
        loop = getattr(self._queue.gateway, "_claiming", None)
        return loop.unanswered.waiting(self._queue.key.processing) if isinstance(loop, ClaimLoop) else None
