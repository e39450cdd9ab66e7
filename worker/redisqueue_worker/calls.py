"""The calls of the consumer loop, and what becomes of results when one fails."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from redis import ResponseError

from redis_message_queue._clock import monotonic
from redis_message_queue.consumer import Due
from redis_message_queue.trouble import described, is_final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis_message_queue.consumer import Claim, Consumer, Settlement, SettleReply
    from redis_message_queue.pipelined import PipelinedConsumer
    from redisqueue_worker.claim_timing import ClaimTiming
    from redisqueue_worker.metrics import Metrics
    from redisqueue_worker.outbox import Outbox


log = logging.getLogger(__name__)

SETTLE, CLAIM, DEREGISTER = "settle (EVALSHA consume)", "claim (EVALSHA consume)", "deregister (HDEL)"
COUNT = "count (LLEN, ZCARD)"


class Asked(NamedTuple):
    """A call that is not answered yet: what it settles, how many messages it is to bring, and since when."""

    batch: list[Settlement]
    wanted: int
    in_hand: int
    since: float


class Calls:
    """The calls of one thread, which raise what the consumer raises; `unless_refused` does not.

    Args:
        connect: a Consumer on a connection of this thread's own.

    Attributes:
        under_way: what was asked and not answered yet.
    """

    def __init__(
        self, connect: Callable[[], PipelinedConsumer], outbox: Outbox, timing: ClaimTiming, metrics: Metrics
    ) -> None:
        self._connect = connect
        self._outbox = outbox
        self._timing = timing
        self._metrics = metrics
        self._consumer: PipelinedConsumer | None = None
        self._command = "connect"  # what was asked last
        self._refusals = 0  # of what the rest can do without
        self.under_way: deque[Asked] = deque()

    def consumer(self, command: str) -> PipelinedConsumer:
        """The consumer, to be asked this: a word for it and, in brackets, what is sent."""
        if self._consumer is None:
            self._command = "connect"
            self._consumer = self._connect()
        self._command = command
        return self._consumer

    @property
    def unanswered(self) -> bool:
        """Whether a claim was sent whose reply is lost."""
        return self._consumer is not None and self._consumer.unresolved > 0

    @property
    def coming(self) -> int:
        """How many messages what is under way may bring."""
        return sum([asked.wanted for asked in self.under_way])

    def settle(
        self, batch: list[Settlement], wanted: int, *, in_hand: int = 0, due: Due = Due.FIRST
    ) -> tuple[Asked, SettleReply | None]:
        """Settle and claim in one call; None where a result was refused, which the outbox sees to then."""
        self.under_way.append(Asked(batch, wanted, in_hand, monotonic()))
        consumer = self.consumer(SETTLE if batch else CLAIM)
        return self._answer(lambda: consumer.settle(batch, claim=wanted, in_hand=in_hand, due=due))

    def may_overlap(self) -> bool:
        """Whether one more call may be sent before the first is answered."""
        if self._consumer is None or len(self.under_way) > 1:
            return False
        # Beside what was claimed with nothing in hand nothing else may be handled: see `Consumer.settle`.
        return self._consumer.may_overlap and all(asked.in_hand for asked in self.under_way)

    def send(self, batch: list[Settlement], wanted: int, *, in_hand: int, due: Due) -> None:
        """Begin what `settle` does."""
        self.under_way.append(Asked(batch, wanted, in_hand, monotonic()))
        self.consumer(SETTLE).send(batch, wanted, in_hand=in_hand, due=due)

    def wait(self) -> None:
        """Wait until the reply to the first call under way begins to arrive, for a second at most."""
        self.consumer(SETTLE).wait_for_reply()

    def receive(self) -> tuple[Asked, SettleReply | None]:
        """End what `send` began first."""
        return self._answer(self.consumer(SETTLE).receive)

    def _answer(self, ask: Callable[[], SettleReply]) -> tuple[Asked, SettleReply | None]:
        """What is answered to the first call under way."""
        asked = self.under_way[0]
        reply: SettleReply | None = None
        try:
            reply = ask()
        except ResponseError as error:
            self._refused(error, asked.batch, asked.wanted)
        self.under_way.popleft()
        if reply is None:
            self.lost()
        return asked, reply

    def lost(self) -> None:
        """Nothing that is under way will be answered; it is sent once more, as it was."""
        self._outbox.lost([asked.batch for asked in self.under_way if asked.batch])
        self.under_way.clear()
        if self._consumer:
            self._consumer.abandon()

    def _refused(self, error: ResponseError, batch: list[Settlement], wanted: int) -> None:
        """Have the outbox see to what Redis refuses; raises the error where none of it is to blame."""
        if not batch or not is_final(error):
            raise error
        self._metrics.redis_errors += 1
        refused = self._outbox.refuse(batch, monotonic(), claiming=wanted > 0)
        if refused:
            self._tell(
                "Redis refuses a result, trying it again alone",
                error,
                refused.times,
                message_id=refused.settlement.claim.id,
                outcome=refused.settlement.outcome.value,
                pause_seconds=refused.next_at - refused.tried_at,
            )

    def recover(self) -> Sequence[Claim]:
        """What the claim without an answer was given after all."""
        return self.consumer(CLAIM).recover()

    def waiting(self) -> int:
        """How many messages wait, whatever holds them up."""
        return self.consumer(COUNT).waiting()

    def deregister(self) -> None:
        """Take the worker out of the queue's table."""
        self.consumer(DEREGISTER).deregister()

    def unless_refused(self, command: str, ask: Callable[[Consumer], object]) -> None:
        """Ask for what the rest can do without: a refusal is told, and keeps no message."""
        consumer = self.consumer(f"{command} (EVALSHA {command})")
        try:
            ask(consumer)
        except ResponseError as error:
            if not is_final(error):
                raise
            self._refusals += 1
            self._metrics.redis_errors += 1
            self._tell("Redis refuses, going on without", error, self._refusals)

    def failed(self, error: Exception) -> None:
        """Tell that a call failed, and plan when to try again."""
        self.lost()
        pause = self._timing.failed(monotonic())
        self._metrics.redis_errors += 1
        what = "Redis refuses, trying again" if is_final(error) else "Redis does not answer, trying again"
        self._tell(what, error, self._timing.failures, pause_seconds=round(pause, 3))

    def answered_again(self, *, in_flight: int) -> None:
        """Redis has answered to all that was asked, after it did not."""
        log.info("Redis answers again", extra={"failures": self._timing.failures, "in_flight": in_flight})
        self._timing.answered()
        self._outbox.hurry()

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
