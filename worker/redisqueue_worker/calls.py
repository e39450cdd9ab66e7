"""What the claim loop asks of Redis, and what it makes of a refusal: no message suffers for another one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

from redis import ResponseError

from redis_message_queue._clock import monotonic
from redis_message_queue._retry import is_final
from redis_message_queue.consumer import Due
from redis_message_queue.trouble import described

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis_message_queue.consumer import Consumer, Settlement, SettleReply
    from redisqueue_worker.metrics import Metrics
    from redisqueue_worker.outbox import Outbox
    from redisqueue_worker.pace import Pace

T = TypeVar("T")
log = logging.getLogger(__name__)

SETTLE, CLAIM, DEREGISTER = "settle (EVALSHA consume)", "claim (EVALSHA consume)", "deregister (HDEL)"


class Calls:
    """The calls of one thread; all but `settle` and `unless_refused` raise what the consumer raises.

    Args:
        connect: a Consumer on a connection of this thread's own.
    """

    def __init__(self, connect: Callable[[], Consumer], outbox: Outbox, pace: Pace, metrics: Metrics) -> None:
        self._connect = connect
        self._outbox = outbox
        self._pace = pace
        self._metrics = metrics
        self._consumer: Consumer | None = None
        self._command = "connect"  # what was asked last
        self._refusals = 0  # of what the rest can do without

    def consumer(self, command: str) -> Consumer:
        """The consumer, to be asked this: a word for it and, in brackets, what is sent."""
        if self._consumer is None:
            self._command = "connect"
            self._consumer = self._connect()
        self._command = command
        return self._consumer

    def settle(
        self, batch: list[Settlement], wanted: int, *, in_hand: int = 0, due: Due = Due.FIRST
    ) -> SettleReply | None:
        """Settle and claim in one call; None when a result was refused, which the outbox sees to then."""
        consumer = self.consumer(SETTLE if batch else CLAIM)
        try:
            return consumer.settle(batch, claim=wanted, in_hand=in_hand, due=due)
        except ResponseError as error:
            if not batch or not is_final(error):
                raise
            self._metrics.redis_errors.labels("claimer").inc()
            refused = self._outbox.refuse(monotonic(), claiming=wanted > 0)
            if refused:
                self._tell(
                    "Redis refuses a result, trying it again alone",
                    error,
                    refused.times,
                    message_id=refused.settlement.claim.id,
                    outcome=refused.settlement.outcome.value,
                    pause_seconds=refused.next_at - refused.tried_at,
                )
        return None

    def unless_refused(self, command: str, ask: Callable[[Consumer], object]) -> None:
        """Ask for what the rest can do without: a refusal is told, and keeps no message."""
        consumer = self.consumer(f"{command} (EVALSHA {command})")
        try:
            ask(consumer)
        except ResponseError as error:
            if not is_final(error):
                raise
            self._refusals += 1
            self._metrics.redis_errors.labels("claimer").inc()
            self._tell("Redis refuses, going on without", error, self._refusals)

    def failed(self, error: Exception) -> None:
        """Tell that a call failed, and plan when to try again."""
        pause = self._pace.failed(monotonic())
        self._metrics.redis_errors.labels("claimer").inc()
        what = "Redis refuses, trying again" if is_final(error) else "Redis does not answer, trying again"
        self._tell(what, error, self._pace.failures, pause_seconds=round(pause, 3))

    def left(self, error: Exception, *, in_flight: int) -> None:
        """Tell that the worker leaves after its last call has failed."""
        what = "Redis refuses" if is_final(error) else "Redis does not answer"
        self._tell(f"{what}: leases are left to expire", error, 1, in_flight=in_flight)

    def _tell(self, what: str, error: Exception, times: int, **fields: object) -> None:
        level = logging.WARNING if times in (1, 2, 4, 8) or times % 16 == 0 else logging.DEBUG
        known = {
            "command": self._command,
            "error": f"{type(error).__name__}: {described(error)}",
            "failures": times,
        }
        log.log(level, what, extra={**known, **fields})
