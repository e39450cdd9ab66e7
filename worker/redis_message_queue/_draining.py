# Written by worker/sync_face.py from asyncio/_draining.py: change that.
"""The end of a queue object: nothing new begins, who is inside leaves, open claims are settled."""

from __future__ import annotations

import logging
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from redis_message_queue import _io, validation
from redis_message_queue._claiming import ClaimLoop
from redis_message_queue._processing import Op, Out, elapsed_ms
from redis_message_queue.exceptions import (
    ConfigurationError,
    DrainFailedError,
    RedisMessageQueueError,
    with_context,
)
from redis_message_queue.trouble import is_retryable

if TYPE_CHECKING:
    from redis_message_queue._abstract_redis_gateway import AbstractRedisGateway
    from redis_message_queue._clock import Moment
    from redis_message_queue._local_state import InFlightGate
    from redis_message_queue._processing import Reporter
    from redis_message_queue.events import EventOutcome
    from redis_message_queue.keys import QueueKeys

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 0.005  # between two looks whether those who are inside have left
_telling_of_drain: ContextVar[bool] = ContextVar("redis_message_queue_telling_of_drain", default=False)


class QueueDrain:
    """The drain of one queue object; `done` once nothing is left."""

    def __init__(
        self,
        name: str,
        keys: QueueKeys,
        gateway: AbstractRedisGateway,
        gate: InFlightGate,
        reporter: Reporter,
    ) -> None:
        self._name = name
        self._processing = keys.processing
        self._gateway = gateway
        self._gate = gate
        self._reporter = reporter
        self.done = False

    def run(self, timeout: float | None, caller: object) -> bool:
        """Stop publishing and claiming, wait for who is inside, settle claims of unknown outcome.

        True once nothing is left. False (the time was too short, or Redis unreachable) may be tried again.
        """
        validation.check_types(timeout=timeout)
        if timeout is not None and timeout < 0:
            raise ConfigurationError(f"'timeout' must not be negative, got {timeout!r}; 0 only looks")
        began = time.monotonic()

        def tell(outcome: EventOutcome, error: BaseException | None = None) -> None:
            waiting = self._unanswered()
            facts = {"timeout_seconds": timeout, "pending_claim_ids": waiting, "error": error}
            took = None if outcome is Out.START else elapsed_ms(began)
            self._emit(outcome, **facts, duration_ms=took)

        if self.done:
            _io.sleep(0)
            tell(Out.SKIPPED)
            return True
        self._gate.stop()
        tell(Out.START)
        try:
            # What cannot be counted down is no limit: NaN is never reached, as infinity is not.
            limited = timeout is not None and timeout < validation.LONGEST_DELAY_SECONDS
            self._until_done(timeout if limited else None, caller)
        except Exception as error:
            if isinstance(error, RedisMessageQueueError):
                with_context(error, queue=self._name, operation="drain")
            tell(Out.FAILURE, error)
            raise
        if self.done:
            tell(Out.SUCCESS)
        else:
            failure = DrainFailedError("something is left; drain again, or let the leases end")
            tell(Out.FAILURE, with_context(failure, queue=self._name, operation="drain"))
        return self.done

    def _emit(self, outcome: EventOutcome, **fields: Any) -> None:
        """Report, unless a callback that is told of this very drain drains again."""
        if not _telling_of_drain.get():
            _telling_of_drain.set(True)
            try:
                self._reporter.emit(Op.DRAIN, outcome, **fields)
            finally:
                _telling_of_drain.set(False)

    def _until_done(self, timeout: float | None, caller: object) -> None:
        began = _io.now()
        _io.sleep(0)
        while not self.done:
            with self._gate.draining(caller) as leads:
                if leads:
                    self.done = self._settle(timeout, began)
                    return
            if timeout is not None and _io.now().since(began) >= timeout:
                return
            _io.sleep(_LOOK_SECONDS)

    def _settle(self, timeout: float | None, began: Moment) -> bool:
        hook = getattr(self._gateway, "_drain_pending_claim_ids", None)
        if hook is None:
            return True
        remaining = None if timeout is None else timeout - _io.now().since(began)
        deadline = None if timeout is None else began.told + timeout

        def settle() -> Any:
            return hook(self._processing, deadline_monotonic=deadline)

        try:
            return bool(_io.within(remaining, settle))
        except Exception as error:
            if not is_retryable(error):
                raise
            logger.warning("Transient error while draining %s: %s", self._name, error)
            return False

    def _unanswered(self) -> tuple[str, ...] | None:
        """Claims of unknown outcome; None with a gateway that does not say."""
        loop = getattr(self._gateway, "_claiming", None)
        return loop.unanswered.waiting(self._processing) if isinstance(loop, ClaimLoop) else None
