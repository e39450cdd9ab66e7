"""What handlers did, on its way to Redis; no message suffers for another one that Redis refuses."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redis_message_queue.consumer import Outcome, settlements_at_once
from redisqueue_worker.logs import TRACEBACK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis_message_queue.consumer import Settlement
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
    """The results that are to be sent, for the first time or once more.

    A batch without an answer is repeated as it was, or Redis would take it for news. One that is refused is
    cut in halves, until what is to blame is alone; that is tried again in growing pauses.
    """

    def __init__(self) -> None:
        self._new: dict[object, Settlement] = {}
        self._suspects: deque[list[Settlement]] = deque()
        self._refused: dict[object, Refused] = {}
        self._unanswered: deque[list[Settlement]] = deque()
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
        due = None
        if self._refused:
            due = next((one for one in self._refused.values() if one.next_at <= now), None)
        if self._unanswered:  # and as suspicious as it was
            return self._unanswered.popleft()
        self.suspicious = bool(self._suspects or due)
        if self._suspects:
            return self._suspects.popleft()
        if due:
            return [due.settlement]
        return self._together() if self._new else []

    def _together(self) -> list[Settlement]:
        """Of the new ones, those that go in one request."""
        new = [*self._new.values()]
        batch = settlements_at_once(new)
        if len(batch) == len(new):
            self._new.clear()
        else:
            for settlement in batch:
                del self._new[settlement.claim.lease]
        return batch

    def taken(self, settlements: Sequence[Settlement], now: float) -> None:
        """Redis has answered for these."""
        for settlement in settlements:
            self._since.pop(settlement.claim.lease, None)
        for settlement in settlements if self._refused else ():
            self._refused.pop(settlement.claim.lease, None)
        self._taken_at = now

    def lost(self, batches: Sequence[list[Settlement]]) -> None:
        """Redis has not answered for these, in the order in which they were sent."""
        self._unanswered.extendleft(reversed(batches))

    def refuse(self, batch: list[Settlement], now: float, *, claiming: bool) -> Refused | None:
        """Redis refuses this; what it refuses alone.

        `claiming`: a claim went with it, which may be to blame: the same is sent once more without one.
        """
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
    def new(self) -> int:
        """How many results were not sent yet."""
        return len(self._new)

    @property
    def is_plain(self) -> bool:
        """Whether none of the results has to be sent once more."""
        return not (self._unanswered or self._suspects or self._refused)

    def waiting(self, now: float) -> bool:
        """Whether there is something to send."""
        return bool(self._unanswered or self._suspects or self._new) or (self.next_at or now + 1) <= now

    @property
    def next_at(self) -> float | None:
        """When to try the next that was refused."""
        if not self._refused:
            return None
        return min([one.next_at for one in self._refused.values()])

    def untried(self, since: float) -> bool:
        """Whether there is something that Redis was not asked to take since then."""
        tried = all(one.tried_at >= since for one in self._refused.values())
        left = self._unanswered or self._suspects or self._new
        return bool(left) or not tried

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
