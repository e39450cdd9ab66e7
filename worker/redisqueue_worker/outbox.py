"""What handlers did, on its way to Redis: together, but alone what Redis refuses. Pure.

All times are seconds on any clock that only goes forward, the same for all calls.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redis_message_queue.consumer import settlements_at_once

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis_message_queue.consumer import Settlement

_LONGEST_PAUSE_SECONDS = 60.0
# Refused results are held, and their leases kept. A worker that holds so many claims nothing more.
_MOST_REFUSED, _MOST_REFUSED_BYTES = 1000, 1 << 26


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
        self.suspicious = False
        """Whether the batch that is to be sent may be refused: then nothing else should depend on it."""

    def add(self, settlement: Settlement, now: float) -> None:
        """A handler has ended, or a claim is to be released."""
        self._new[settlement.claim.lease] = settlement
        self._since.setdefault(settlement.claim.lease, now)

    def next(self, now: float) -> list[Settlement]:
        """What to send; empty when there is nothing, or nothing yet."""
        if not self._sent:
            due = next((one for one in self._refused.values() if one.next_at <= now), None)
            self.suspicious = bool(self._suspects or due)
            if self._suspects:
                self._sent = self._suspects.popleft()
            elif due:
                self._sent = [due.settlement]
            elif self._new:
                self._sent = settlements_at_once([*self._new.values()])
                for settlement in self._sent:
                    del self._new[settlement.claim.lease]
        return self._sent

    def taken(self, settlements: Sequence[Settlement], now: float) -> None:
        """Redis has answered for these."""
        for settlement in settlements:
            self._refused.pop(settlement.claim.lease, None)
            self._since.pop(settlement.claim.lease, None)
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

    def waiting(self, now: float) -> bool:
        """Whether there is something to send."""
        return bool(self._sent or self._suspects or self._new) or (self.next_at or now + 1) <= now

    @property
    def next_at(self) -> float | None:
        """When to try the next that was refused."""
        return min((one.next_at for one in self._refused.values()), default=None)

    def untried(self, since: float) -> bool:
        """Whether there is something that Redis was not asked to take since then."""
        tried = all(one.tried_at >= since for one in self._refused.values())
        return bool(self._sent or self._suspects or self._new) or not tried

    @property
    def crowded(self) -> bool:
        """Whether so many are refused that no more should be claimed."""
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
