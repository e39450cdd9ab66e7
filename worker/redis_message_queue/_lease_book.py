"""The leases of one queue: which to renew when, and which to count as lost. Told the time, it does no I/O."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING

from redis_message_queue._schedule import Schedule
from redis_message_queue.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis_message_queue.consumer import Claim

    Lease = tuple[str | bytes, str]  # stored message, token

# After a failure the next try comes sooner: most of the lease is left, but not for ever.
_RETRY_SECONDS = 1.0
_TOLD = math.inf


class Loss(StrEnum):
    """Why a lease counts as lost."""

    TAKEN = "taken"  # Redis says that it is somebody else's, or nobody's
    EXPIRED = "expired"  # no renewal succeeded in time: it may be somebody else's by now


class LeaseBook:
    """All times are seconds on one clock that never goes back.

    A renewal takes along what is due within half an interval. So leases that came at different times soon
    fall due together, and each is renewed once in an interval, or at most twice.

    Raises ConfigurationError for an interval that leaves no room for a failure.
    """

    def __init__(self, visibility_timeout_seconds: float, interval_seconds: float | None = None) -> None:
        interval = visibility_timeout_seconds / 4 if interval_seconds is None else interval_seconds
        if not 0 < visibility_timeout_seconds < math.inf:
            raise ConfigurationError(
                f"'visibility_timeout_seconds' must be above 0 and finite, got {visibility_timeout_seconds!r}"
            )
        if not 0 < interval <= visibility_timeout_seconds / 2:
            raise ConfigurationError(
                "'interval_seconds' must be above 0 and at most half of 'visibility_timeout_seconds'"
                f" ({visibility_timeout_seconds:g}), so that one renewal may fail; got {interval!r}"
            )
        self.visibility_timeout_seconds = visibility_timeout_seconds
        self._interval = interval
        self.retry_seconds = min(_RETRY_SECONDS, interval / 4)
        self._held: dict[Lease, tuple[Claim, float]] = {}  # with the end of its lease
        self._renewals: Schedule[Lease] = Schedule()
        self._expiries: Schedule[Lease] = Schedule()  # only of those whose renewal was due

    def __len__(self) -> int:
        return len(self._held)

    def add(self, claim: Claim, claimed_at: float) -> float:
        """Keep a lease that began at `claimed_at`, or a little later; when it has to be renewed."""
        self._held[claim.lease] = claim, claimed_at + self.visibility_timeout_seconds
        when = claimed_at + self._interval
        self._renewals.set(claim.lease, when)
        return when

    def remove(self, claim: Claim) -> None:
        """Keep it no longer. Harmless when it was not kept."""
        self._held.pop(claim.lease, None)
        self._renewals.discard(claim.lease)
        self._expiries.discard(claim.lease)

    def clear(self) -> None:
        """Keep nothing any more."""
        for claim, _ in list(self._held.values()):
            self.remove(claim)

    def ends_at(self, claim: Claim) -> float | None:
        """When the lease ends unless it is renewed; None when it is not kept (any more)."""
        held = self._held.get(claim.lease)
        return held and held[1]

    @property
    def next_at(self) -> float | None:
        """When to look at `is_due` and `expired` next; None when nothing is kept."""
        times = [when for when in (self._renewals.next_at, self._expiries.next_at) if when is not None]
        return min(times, default=None)

    def is_due(self, now: float) -> bool:
        """Whether a renewal cannot wait any longer."""
        first = self._renewals.next_at
        return first is not None and first <= now

    def due(self, now: float) -> list[Claim]:
        """What a renewal should take along. Each must be given to `renewed` or to `failed`."""
        claims = []
        while (lease := self._renewals.pop(now + self._interval / 2)) is not None:
            claim, end = self._held[lease]
            if self._expiries.when(lease) is None:
                self._expiries.set(lease, end)
            claims.append(claim)
        return claims

    def renewed(self, claims: Sequence[Claim], kept: Sequence[bool], asked_at: float) -> list[Claim]:
        """Note the answers of Redis to a call begun at `asked_at`; those that were lost.

        What was removed since is nobody's concern.
        """
        lost = []
        for claim, ok in zip(claims, kept, strict=True):
            if claim.lease not in self._held:
                continue
            self.remove(claim)
            if ok:
                self.add(claim, asked_at)
            else:
                lost.append(claim)
        return lost

    def failed(self, claims: Sequence[Claim], now: float) -> None:
        """Nobody knows whether these were renewed: their ends stand, and they are soon due again."""
        for claim in claims:
            if claim.lease in self._held:
                self._renewals.set(claim.lease, now + self.retry_seconds)

    def expired(self, now: float) -> list[Claim]:
        """Those given by `due` whose leases have ended meanwhile, each told once.

        They are renewed further on: while nobody else took them they can be saved.
        """
        claims = []
        while (lease := self._expiries.pop(now)) is not None:
            self._expiries.set(lease, _TOLD)
            claims.append(self._held[lease][0])
        return claims
