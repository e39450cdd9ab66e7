"""Bulkheads: work at many servers shares a few slots, and slow ones do not take them from the rest."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis_message_queue.connection import ConnectionSettings

P = TypeVar("P", bound=Hashable)
SLOW_FOR_SECONDS = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Hold(Generic[P]):
    """One slot that is held for work at `place`, since then."""

    place: P
    since: float


class Bulkhead(Generic[P]):
    """Slots for work at places, of which each may have `each`, and all together `total`.

    A place is slow while something there takes longer than `slow_seconds`, and for a minute after that unless
    later work there is quicker. All slow places together have half of the slots: others always find one.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(
        self, *, total: int, each: int, slow_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._total = total
        self._each = each
        self._slow_seconds = slow_seconds
        self._clock = clock
        self._held: dict[P, list[Hold[P]]] = {}
        self._slow_until: dict[P, float] = {}
        self._waiting: dict[asyncio.Future[Hold[P]], P] = {}

    @property
    def held(self) -> int:
        """How many slots are held."""
        return sum(map(len, self._held.values()))

    def is_slow(self, place: P) -> bool:
        """Whether work there takes long, or did lately."""
        now = self._clock()
        long = any(now - hold.since > self._slow_seconds for hold in self._held.get(place, ()))
        return long or now < self._slow_until.get(place, now)

    def has_room(self, place: P) -> bool:
        """Whether work there may begin now."""
        if self.held >= self._total or len(self._held.get(place, ())) >= self._each:
            return False
        slow = sum(len(holds) for other, holds in self._held.items() if self.is_slow(other))
        return slow < self._total // 2 or not self.is_slow(place)

    async def take(self, place: P) -> Hold[P]:
        """Wait for a slot; first come, first served, among those that there is room for."""
        if self.has_room(place):
            return self._hold(place)
        turn: asyncio.Future[Hold[P]] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = place
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was given one at that moment
                self._drop(turn.result())
            raise
        finally:
            self._waiting.pop(turn, None)

    def give(self, hold: Hold[P]) -> None:
        """Let others have it."""
        now = self._clock()
        self._slow_until = {place: until for place, until in self._slow_until.items() if until > now}
        if now - hold.since > self._slow_seconds:
            self._slow_until[hold.place] = now + SLOW_FOR_SECONDS
        else:
            self._slow_until.pop(hold.place, None)
        self._drop(hold)

    @contextlib.asynccontextmanager
    async def slot(self, place: P, *, within_seconds: float) -> AsyncIterator[None]:
        """A slot for the block. Raises TimeoutError where there is none in time, at a slow place at once."""
        if self.is_slow(place) and not self.has_room(place):
            raise TimeoutError(f"{place} is slow")
        async with asyncio.timeout(within_seconds):
            hold = await self.take(place)
        try:
            yield
        finally:
            self.give(hold)

    def _hold(self, place: P) -> Hold[P]:
        hold = Hold(place, self._clock())
        self._held.setdefault(place, []).append(hold)
        return hold

    def _drop(self, hold: Hold[P]) -> None:
        self._held[hold.place].remove(hold)
        if not self._held[hold.place]:
            del self._held[hold.place]
        for turn, place in tuple(self._waiting.items()):
            if not turn.done() and self.has_room(place):
                turn.set_result(self._hold(place))


def server_at(settings: ConnectionSettings) -> str:
    """Which Redis that is, whoever logs in, whichever of its databases is meant."""
    address = settings.redacted
    return address if address.startswith("unix:") else address.rpartition("/")[0]
