"""`scaling.schedules`: how many workers there are at least and at most, by the time of day. Pure.

A window is open from a tick of its start until the next tick of its end; where both tick at one moment it is
closed. It needs no memory: the last ticks say what is in force, also when nobody was there to see them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redisqueue_operator.api.model import ScalingSchedule
    from redisqueue_operator.decide.cron import Cron

SECOND = timedelta(seconds=1)
_ANY_YEAR, _DAYS = datetime(2028, 1, 1, tzinfo=UTC), 367
_ALL_CALENDARS = timedelta(days=40 * 366)
_CHANGES = 1500
_FAR = 64
"""So many starts are looked at for one with which no end comes."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The fewest and the most workers at one moment, and what says so. Times are seconds since the epoch."""

    min_replicas: int
    max_replicas: int
    windows: tuple[str, ...] = ()
    """The windows that are open, in the order of the spec, as `<start> to <end> <time zone>`."""
    yielding: int | None = None
    """The fewest that were wanted, where that was above the most: it gives way."""
    since: float = field(default=float("-inf"), compare=False)
    """They were the same from then on, at least."""
    until: float = float("inf")
    """When a window opens or closes next."""

    @property
    def text(self) -> str:
        """The open windows in one line; empty when there is none."""
        return "; ".join(self.windows)


def bounds_at(
    schedules: tuple[ScalingSchedule, ...], min_replicas: int, max_replicas: int, at: float
) -> Bounds:
    """What holds then: of open windows the tightest, and the spec's own number where none has one.

    Raises ValueError, as `Cron.parse`, for a schedule that `problem_of` has something to say about.
    """
    if not schedules:
        return Bounds(min_replicas, max_replicas)
    return _timetable(schedules, min_replicas, max_replicas).at(at)


def problem_of(schedule: ScalingSchedule) -> tuple[str, str] | None:
    """The field that cannot be read, and why with the way out; None when all can."""
    for name, text in (("start", schedule.start), ("end", schedule.end)):
        try:
            _cron(text, schedule.time_zone)
        except ValueError as error:
            place = "timeZone" if str(error).startswith("timeZone") else name
            return place, str(error).removeprefix("schedule ")
    return None


def never_opens(schedule: ScalingSchedule) -> bool:
    """Whether all its starts of a year at least are ends, too; it is not told of starts beyond daily ones.

    Raises ValueError, as `Cron.parse`.
    """
    start, end = (_cron(text, schedule.time_zone) for text in (schedule.start, schedule.end))
    moment = _ANY_YEAR
    for _ in range(_DAYS):
        if moment - _ANY_YEAR > _ALL_CALENDARS:
            break
        moment = start.next_after(moment)
        if end.last_before(moment + SECOND) != moment:
            return False
    return moment - _ANY_YEAR >= timedelta(days=365)


def clash_of(schedules: tuple[ScalingSchedule, ...]) -> tuple[Bounds, datetime] | None:
    """Windows that are open at one moment of a year with a fewest above a most, and from when on.

    It is told of the first of them, and of none after very many changes. Raises ValueError, as `Cron.parse`.
    """
    least = max((each.min_replicas for each in schedules if each.min_replicas is not None), default=0)
    most = min((each.max_replicas for each in schedules if each.max_replicas is not None), default=least)
    able = tuple(
        each
        for each in schedules
        if (each.min_replicas or 0) > most or (each.max_replicas is not None and each.max_replicas < least)
    )
    if not able:
        return None
    timetable = _Timetable(able, 0, sys.maxsize)
    moment = _ANY_YEAR
    for _ in range(_CHANGES):
        bounds = timetable.at(moment.timestamp())
        if bounds.yielding is not None:
            return bounds, moment
        moment = datetime.fromtimestamp(bounds.until, UTC)
        if moment - _ANY_YEAR > timedelta(days=_DAYS):
            break
    return None


def _cron(text: str, time_zone: str) -> Cron:
    # What it brings is not installed where queues are looked at alone, as by `redisqueue top`.
    from redisqueue_operator.decide.cron import Cron  # noqa: PLC0415

    return Cron.parse(text, time_zone)


class _Window:
    def __init__(self, schedule: ScalingSchedule) -> None:
        self.schedule = schedule
        self._start, self._end = (_cron(text, schedule.time_zone) for text in (schedule.start, schedule.end))

    @property
    def words(self) -> str:
        return f"{self.schedule.start} to {self.schedule.end} {self.schedule.time_zone}"

    def state(self, moment: datetime) -> tuple[bool, datetime, datetime]:
        """Whether it is open then, since when, and until when."""
        started, ended = (each.last_before(moment + SECOND) for each in (self._start, self._end))
        if started > ended:
            return True, started, self._end.next_after(moment)
        return False, ended, self._opens_after(moment)

    def _opens_after(self, moment: datetime) -> datetime:
        """The next start with which no end comes; where there seems to be none, just the next one."""
        first = start = self._start.next_after(moment)
        for _ in range(_FAR):
            if self._end.last_before(start + SECOND) < start:
                return start
            start = self._start.next_after(start)
        return first


class _Timetable:
    """The windows of one spec. The last answer is kept: it holds until the next window opens or closes."""

    def __init__(self, schedules: tuple[ScalingSchedule, ...], min_replicas: int, max_replicas: int) -> None:
        self._windows = [_Window(each) for each in schedules]
        self._least, self._most = min_replicas, max_replicas
        self._last: Bounds | None = None

    def at(self, at: float) -> Bounds:
        last = self._last
        if last is None or not last.since <= at < last.until:
            last = self._last = self._at(datetime.fromtimestamp(at // 1, UTC))
        return last

    def _at(self, moment: datetime) -> Bounds:
        states = [(window, *window.state(moment)) for window in self._windows]
        inside = [window for window, is_open, _, _ in states if is_open]
        of_open = [window.schedule for window in inside]
        low = [each.min_replicas for each in of_open if each.min_replicas is not None]
        high = [each.max_replicas for each in of_open if each.max_replicas is not None]
        least, most = max(low, default=self._least), min(high, default=self._most)
        return Bounds(
            min_replicas=min(least, most),
            max_replicas=most,
            windows=tuple(window.words for window in inside),
            yielding=least if least > most else None,
            since=max(since for _, _, since, _ in states).timestamp(),
            until=min(until for _, _, _, until in states).timestamp(),
        )


@lru_cache(maxsize=4096)
def _timetable(schedules: tuple[ScalingSchedule, ...], min_replicas: int, max_replicas: int) -> _Timetable:
    return _Timetable(schedules, min_replicas, max_replicas)
