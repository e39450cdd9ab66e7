"""Which ticks of a schedule are due, which are too late, and when to look again. Pure.

A tick is due when it is there, later by its jitter; it is too late when its deadline has passed since then.
Ticks up to `since` are done with. Whoever decides comes to the same: nothing is random or remembered.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from redisqueue_operator.timestamps import moment_of, timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redisqueue_operator.decide.cron import Cron

MOST_TICKS = 100
"""Of those that are late: so many are enqueued with missedTicks All, and so many are counted."""
HISTORY = 10
_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What of a spec says when."""

    uid: str
    cron: Cron
    jitter_seconds: int
    deadline_seconds: int
    all_ticks: bool

    def due_at(self, tick: datetime) -> datetime:
        """The tick and its jitter, by which it never passes the next one."""
        if not self.jitter_seconds:
            return tick
        digest = hashlib.sha256(f"{self.uid} {tick.timestamp():.0f}".encode()).digest()
        share = int.from_bytes(digest[:4], "big") / 2**32
        gap = self.cron.next_after(tick) - tick
        return tick + share * min(timedelta(seconds=self.jitter_seconds), gap)


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """`ticks` shall be enqueued now, in their order; `missed` of them are left out, up to `late`."""

    ticks: tuple[datetime, ...]
    late: datetime | None
    missed: int
    next: datetime
    wake: datetime
    """When `next` is due."""


def due(timing: Timing, since: datetime, now: datetime) -> Due:
    """What is due of the ticks after `since`."""
    cron = timing.cron
    newest = cron.last_before(now + _INSTANT)
    following = cron.next_after(max(now, since))
    if newest > since and timing.due_at(newest) > now:
        following, newest = newest, cron.last_before(newest)
    deadline = timedelta(seconds=timing.deadline_seconds)
    most = MOST_TICKS if timing.all_ticks else 1
    ticks: list[datetime] = []
    while newest > since and len(ticks) < most and now - timing.due_at(newest) <= deadline:
        ticks.insert(0, newest)
        newest = cron.last_before(newest)
    late, missed = (newest if newest > since else None), 0
    while newest > since and missed < MOST_TICKS:
        missed, newest = missed + 1, cron.last_before(newest)
    return Due(ticks=tuple(ticks), late=late, missed=missed, next=following, wake=timing.due_at(following))


def message_id(uid: str, tick: datetime) -> str:
    """Of the message of a tick, and its deduplication key."""
    return f"{uid}-{tick.astimezone(UTC):%Y%m%dT%H%M%SZ}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a schedule is; its status, as data."""

    schedule: str
    time_zone: str
    suspend: bool
    counts_from: datetime
    last: datetime | None = None
    last_success: datetime | None = None
    history: tuple[dict[str, Any], ...] = ()

    @property
    def since(self) -> datetime:
        """Ticks up to then are done with."""
        return max(self.counts_from, self.last or self.counts_from)

    def under(self, schedule: str, time_zone: str, *, suspend: bool, now: datetime) -> Progress:
        """With this spec: what it changes counts from now on."""
        changed = (schedule, time_zone) != (self.schedule, self.time_zone) or (self.suspend and not suspend)
        counts_from = max(now, self.counts_from) if changed else self.counts_from
        return replace(self, schedule=schedule, time_zone=time_zone, suspend=suspend, counts_from=counts_from)

    def enqueued(self, tick: datetime, identity: str, now: datetime) -> Progress:
        """The message of this tick is in the queue."""
        entry = {
            "scheduledTime": timestamp(tick),
            "outcome": "Enqueued",
            "messageId": identity,
            "time": timestamp(now),
        }
        return replace(self, last=tick, last_success=now, history=self._with(entry))

    def left_out(self, late: datetime, missed: int, reason: str, now: datetime) -> Progress:
        """So many ticks, up to this one, are too late; of what kept them the reason, where there is one."""
        entry = {
            "scheduledTime": timestamp(late),
            "outcome": "Missed",
            "time": timestamp(now),
            "missed": missed,
            **({"reason": reason} if reason else {}),
        }
        return replace(self, counts_from=late, history=self._with(entry))

    @property
    def kept_by(self) -> str:
        """The reason why the newest tick was left out; empty where that is not so, or nobody was there."""
        newest = self.history[0] if self.history else {}
        return str(newest.get("reason", "")) if newest.get("outcome") == "Missed" else ""

    def _with(self, entry: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        return (entry, *self.history)[:HISTORY]


def progress_of(status: Mapping[str, Any], spec: tuple[str, str, bool], created: datetime) -> Progress:
    """Read from the status; without one, everything since its creation counts.

    What somebody else wrote into it and cannot be read is as good as none: no message is enqueued twice.
    """
    known = status.get("inForce") or {}
    schedule, time_zone, suspend = spec
    return Progress(
        schedule=known.get("schedule", schedule),
        time_zone=known.get("timeZone", time_zone),
        suspend=known.get("suspend", suspend),
        counts_from=moment_of(status.get("countsFrom")) or created,
        last=moment_of(status.get("lastScheduleTime")),
        last_success=moment_of(status.get("lastSuccessfulTime")),
        history=tuple(status.get("history") or ()),
    )
