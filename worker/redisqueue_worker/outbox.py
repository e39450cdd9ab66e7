"""What handlers did, on its way to Redis; no message suffers for another one that Redis refuses."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from redis import ResponseError

from redis_message_queue._clock import monotonic
from redis_message_queue.consumer import Due, Outcome, settlements_at_once
from redis_message_queue.trouble import described, is_final
from redisqueue_worker.logs import TRACEBACK

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis_message_queue.consumer import Claim, Consumer, Settlement, SettleReply
    from redisqueue_worker.claim_timing import ClaimTiming
    from redisqueue_worker.metrics import Metrics
    from redisqueue_worker.retry_policy import Failure


log = logging.getLogger(__name__)

_LONGEST_PAUSE_SECONDS = 60.0
# Refused results are held, and their leases kept. A worker that holds so many claims nothing more.
_MOST_REFUSED, _MOST_REFUSED_BYTES = 1000, 1 << 26
_COMES_AGAIN = (Outcome.RETRY, Outcome.RELEASE)


@dataclass(slots=True)
class Refused:
    """A result that Redis refuses although it is alone.

    Attributes:
        since: when it was refused first.
        tried_at: when it was refused last; tried again at `next_at`.
        times: how often it was refused.
    """

    settlement: Settlement
    since: float
    tried_at: float
    next_at: float = 0.0
    times: int = 0


class Outbox:
    """The results that Redis has not taken yet.

    A batch that was sent is repeated as it was until it is answered, or Redis would take it for news. One
    that is refused is cut in halves, until what is to blame is alone; that is tried again in growing pauses.
    """

    def __init__(self) -> None:
        self._new: dict[object, Settlement] = {}
        self._suspects: deque[list[Settlement]] = deque()
        self._refused: dict[object, Refused] = {}
        self._sent: list[Settlement] = []
        self._since: dict[object, float] = {}
        self._taken_at = 0.0
        self.keeps_results = False
        """Whether it is kept what handlers returned, and why messages were given up."""
        self.suspicious = False
        """Whether the batch that is to be sent may be refused: then nothing else should depend on it."""

    def add(self, settlement: Settlement, now: float, returned: str = "") -> None:
        """A handler has ended, and has `returned` what is to be kept; or a claim is to be released."""
        if self.keeps_results:
            settlement.result = result_of(settlement, returned)
        lease = settlement.claim.lease
        self._new[lease] = settlement
        self._since.setdefault(lease, now)

    def next(self, now: float) -> list[Settlement]:
        """What to send; empty when there is nothing, or nothing yet."""
        if not self._sent:
            due = None
            if self._refused:
                due = next((one for one in self._refused.values() if one.next_at <= now), None)
            self.suspicious = bool(self._suspects or due)
            if self._suspects:
                self._sent = self._suspects.popleft()
            elif due:
                self._sent = [due.settlement]
            elif self._new:
                new = [*self._new.values()]
                self._sent = settlements_at_once(new)
                if len(self._sent) == len(new):
                    self._new.clear()
                else:
                    for settlement in self._sent:
                        del self._new[settlement.claim.lease]
        return self._sent

    def taken(self, settlements: Sequence[Settlement], now: float) -> None:
        """Redis has answered for these."""
        for settlement in settlements:
            self._since.pop(settlement.claim.lease, None)
        for settlement in settlements if self._refused else ():
            self._refused.pop(settlement.claim.lease, None)
        self._sent, self._taken_at = [], now

    def refuse(self, now: float, *, claiming: bool) -> Refused | None:
        """Redis refuses what was sent; what it refuses alone.

        `claiming`: a claim went with it, which may be to blame: the same is sent once more without one.
        """
        batch, self._sent = self._sent, []
        if claiming:
            self._suspects.appendleft(batch)
        elif len(batch) > 1:
            middle = len(batch) // 2
            self._suspects.extendleft((batch[middle:], batch[:middle]))
        else:
            refused = self._refused.setdefault(batch[0].claim.lease, Refused(batch[0], now, now))
            refused.times += 1
            refused.tried_at = now
            refused.next_at = now + min(_LONGEST_PAUSE_SECONDS, 0.25 * 2 ** min(refused.times, 10))
            return refused
        return None

    def hurry(self) -> None:
        """Something has changed: try at once what was refused."""
        for refused in self._refused.values():
            refused.next_at = 0.0

    @property
    def is_plain(self) -> bool:
        """Whether there are results, and none of them was sent or refused before."""
        return bool(self._new) and not (self._sent or self._suspects or self._refused)

    def waiting(self, now: float) -> bool:
        """Whether there is something to send."""
        return bool(self._sent or self._suspects or self._new) or (self.next_at or now + 1) <= now

    @property
    def next_at(self) -> float | None:
        """When to try the next that was refused."""
        if not self._refused:
            return None
        return min([one.next_at for one in self._refused.values()])

    def untried(self, since: float) -> bool:
        """Whether there is something that Redis was not asked to take since then."""
        tried = all(one.tried_at >= since for one in self._refused.values())
        return bool(self._sent or self._suspects or self._new) or not tried

    @property
    def crowded(self) -> bool:
        """Whether so many are refused that no more should be claimed."""
        if not self._refused:
            return False
        held = sum(len(one.settlement.claim.stored) for one in self._refused.values())
        return len(self._refused) >= _MOST_REFUSED or held >= _MOST_REFUSED_BYTES

    # -- for other threads --

    def oldest_seconds(self, now: float) -> float:
        """How long the oldest of them waits; 0 when there is none."""
        return max(0.0, now - min([*self._since.values()], default=now))

    @property
    def refused_since(self) -> float | None:
        """Since when Redis has taken nothing and refused what it was told; None when it refuses nothing."""
        first = min([one.since for one in [*self._refused.values()]], default=None)
        return None if first is None else max(first, self._taken_at)

    def __len__(self) -> int:
        """How many are refused."""
        return len(self._refused)


def tell_outcome(
    log: logging.Logger, settlement: Settlement, failure: Failure | None, seconds: float
) -> None:
    """Log how a handler ended, after so many seconds, and what becomes of its message."""
    claim = settlement.claim
    fields: dict[str, object] = {
        "message_id": claim.id,
        "delivery_count": claim.delivery_count,
        "outcome": settlement.outcome.value,
        "seconds": round(seconds, 6),
    }
    if settlement.outcome is Outcome.CANCELLED:
        log.info("cancelled", extra=fields)
        return
    if failure is None:
        log.debug("handled", extra=fields)
        return
    if settlement.outcome is Outcome.RETRY:
        fields["delay_seconds"] = round(settlement.delay_seconds, 3)
    fields["reason"] = settlement.reason
    if settlement.detail:
        fields[TRACEBACK] = failure.detail
    log.warning("not handled", extra=fields)


def result_of(settlement: Settlement, returned: str) -> str:
    """The text that is kept of how a message has ended; "" of one that comes again."""
    from redis_message_queue import results  # noqa: PLC0415  (few workers keep results)

    if settlement.outcome is Outcome.DONE:
        return returned or results.completed(None)
    if settlement.outcome in (Outcome.FAILED, Outcome.DEAD):
        return results.ended("failed", settlement.reason)
    return ""


def count_settled(
    log: logging.Logger, metrics: Metrics, settlements: Sequence[Settlement], applied: Sequence[bool]
) -> int:
    """Count what Redis has answered for, and tell of lost leases; how many messages came to an end."""
    ended = 0
    for settlement, ok in zip(settlements, applied, strict=True):
        metrics.outcomes[settlement.outcome if ok else "lost"] += 1
        if not ok:
            log.error("lease lost: this outcome does not count", extra={"message_id": settlement.claim.id})
        elif settlement.outcome not in _COMES_AGAIN:
            ended += 1
    return ended


T = TypeVar("T")
SETTLE, CLAIM, DEREGISTER = "settle (EVALSHA consume)", "claim (EVALSHA consume)", "deregister (HDEL)"


class Calls:
    """The calls of one thread; all but `settle` and `unless_refused` raise what the consumer raises.

    Args:
        connect: a Consumer on a connection of this thread's own.

    Attributes:
        unanswered: a claim was sent and its reply has not come.
    """

    def __init__(
        self, connect: Callable[[], Consumer], outbox: Outbox, timing: ClaimTiming, metrics: Metrics
    ) -> None:
        self._connect = connect
        self._outbox = outbox
        self._timing = timing
        self._metrics = metrics
        self._consumer: Consumer | None = None
        self._command = "connect"  # what was asked last
        self._refusals = 0  # of what the rest can do without
        self.unanswered = False

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
        self.unanswered = self.unanswered or wanted > 0
        consumer = self.consumer(SETTLE if batch else CLAIM)
        try:
            reply = consumer.settle(batch, claim=wanted, in_hand=in_hand, due=due)
        except ResponseError as error:
            if not batch or not is_final(error):
                raise
            self._metrics.redis_errors += 1
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
        if wanted:
            self.unanswered = False
        return reply

    def recover(self) -> Sequence[Claim]:
        """What the claim without an answer was given after all."""
        claims = self.consumer(CLAIM).recover()
        self.unanswered = False
        return claims

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
