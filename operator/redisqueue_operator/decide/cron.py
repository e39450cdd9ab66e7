"""When a cron expression ticks, in a time zone. Pure.

The fields are cronsim's. What happens when clocks are changed is decided here, alike for five fields and six:

- An expression that names hours (`30 2 * * *`, `0 */6 * * *`) means what clocks on the wall show. What they
  show twice counts once, the first time. What they skip is made up for once, at the first moment after.
- One that holds in every hour (`*/5 * * * *`) goes on while time passes: nothing is skipped or waits an hour.
"""

from __future__ import annotations

import contextlib
import difflib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
FIELDS = ("second", "minute", "hour", "day of the month", "month", "day of the week")
_RANGES = dict(
    zip(FIELDS, ("0-59", "0-59", "0-23", "1-31 or L", "1-12 or JAN-DEC", "0-7 or SUN-SAT"), strict=True)
)
MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EVERY_HOUR = frozenset(range(24))
# Such files exist on some machines, and mean something else on each.
_NO_ZONES = ("localtime", "posixrules", "Factory")
_ANY_TIME = datetime(2024, 1, 1)  # noqa: DTZ001 - what clocks on the wall show


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression in a time zone. Its ticks are whole seconds, and strictly ordered."""

    text: str
    time_zone: str
    _fields: str = field(repr=False)
    _zone: ZoneInfo = field(repr=False)
    _every_hour: bool = field(repr=False)

    @classmethod
    def parse(cls, text: str, time_zone: str = "UTC") -> Cron:
        """Parse five fields (minute, hour, day, month, day of the week), six with seconds first, or a macro.

        Raises ValueError that names the field, its value and the way out.
        """
        zone = _zone_of(time_zone)
        fields = _fields_of(text)
        try:
            sim = CronSim(fields, _ANY_TIME)
            next(sim)
        except (CronSimError, StopIteration) as error:
            raise ValueError(_explain(text, fields)) from error
        return cls(text, time_zone, fields, zone, sim.hours >= _EVERY_HOUR)

    def next_after(self, moment: datetime) -> datetime:
        """The first tick after that aware moment. In UTC: others compare by what clocks show."""
        start = _whole_seconds(moment) + SECOND
        return self._time_passes(start) if self._every_hour else self._wall_shows(start)

    def last_before(self, moment: datetime) -> datetime:
        """The last tick before that aware moment, in UTC."""
        end = _whole_seconds(moment)
        end -= SECOND if end == moment else timedelta(0)
        return self._time_passed(end) if self._every_hour else self._wall_showed(end)

    # -- every hour: where clocks are changed the next ones are counted from there --

    def _time_passes(self, start: datetime) -> datetime:
        """The first tick at or after it."""
        while True:
            offset = self._offset(start)
            tick = (next(self._shown_from(_shown(start, offset))) - offset).replace(tzinfo=UTC)
            if (change := self._first_change(start, tick)) is None:
                return tick
            start = change

    def _time_passed(self, end: datetime) -> datetime:
        """The last tick at or before it."""
        while True:
            offset = self._offset(end)
            tick = (next(self._shown_back_from(_shown(end, offset))) - offset).replace(tzinfo=UTC)
            if (change := self._last_change(tick, end)) is None:
                return tick
            end = change - SECOND

    # -- certain hours: each moment that clocks on the wall show has one place in time --

    def _wall_shows(self, start: datetime) -> datetime:
        """The first tick at or after it."""
        # As clocks were until then: those that they skip at this very moment are due at it.
        shown = _shown(start, self._offset(start - SECOND))
        return next(tick for each in self._shown_from(shown) if (tick := self._first_shown_at(each)) >= start)

    def _wall_showed(self, end: datetime) -> datetime:
        """The last tick at or before it."""
        local = end.astimezone(self._zone)
        # In the second of two equal hours: all of the first was before.
        ahead = _offset_of(local.replace(fold=0)) - _offset_of(local.replace(fold=1))
        shown = local.replace(tzinfo=None) + max(timedelta(0), ahead)
        return next(
            tick for each in self._shown_back_from(shown) if (tick := self._first_shown_at(each)) <= end
        )

    def _first_shown_at(self, shown: datetime) -> datetime:
        """When clocks show that first, or the first moment after it where they skip it."""
        first = shown.replace(tzinfo=self._zone, fold=0).astimezone(UTC)
        if first.astimezone(self._zone).replace(tzinfo=None) == shown:
            return first
        change = self._first_change(first - DAY, first)
        return first if change is None else change

    # -- clocks --

    def _shown_from(self, shown: datetime) -> CronSim:
        return CronSim(self._fields, shown - SECOND)

    def _shown_back_from(self, shown: datetime) -> CronSim:
        return CronSim(self._fields, shown + SECOND, reverse=True)

    def _offset(self, moment: datetime) -> timedelta:
        return _offset_of(moment.astimezone(self._zone))

    def _first_change(self, start: datetime, end: datetime) -> datetime | None:
        """The first moment after `start` and not after `end` where clocks are changed."""
        offset = self._offset(start)
        while start < end:
            step = min(end, start + DAY)
            if self._offset(step) != offset:
                return self._change_within(start, step)
            start = step
        return None

    def _last_change(self, start: datetime, end: datetime) -> datetime | None:
        """The last moment after `start` and not after `end` where clocks are changed."""
        offset = self._offset(end)
        while start < end:
            step = max(start, end - DAY)
            if self._offset(step) != offset:
                return self._change_within(step, end)
            end = step
        return None

    def _change_within(self, before: datetime, after: datetime) -> datetime:
        offset = self._offset(before)
        while after - before > SECOND:
            middle = before + SECOND * ((after - before) // SECOND // 2)
            before, after = (middle, after) if self._offset(middle) == offset else (before, middle)
        return after


def _zone_of(name: str) -> ZoneInfo:
    with contextlib.suppress(KeyError, ValueError, OSError):
        if name not in _NO_ZONES and not name.startswith(("right/", "posix/")):
            return ZoneInfo(name)
    known = {each.lower(): each for each in sorted(available_timezones().difference(_NO_ZONES))}
    close = [known[each] for each in difflib.get_close_matches(name.lower(), known, 1)]
    hint = f"did you mean {close[0]}?" if close else "write one like Europe/Berlin, or UTC"
    raise ValueError(f"timeZone {name!r} is not in the IANA time zone database: {hint}")


def _fields_of(text: str) -> str:
    words = text.split()
    if words and "=" in words[0]:
        raise ValueError(f"schedule {text!r} names a time zone: write it into timeZone")
    if words and words[0].startswith("@"):
        if len(words) == 1 and words[0].lower() in MACROS:
            return MACROS[words[0].lower()]
        known = ", ".join(MACROS)
        raise ValueError(
            f"schedule {text!r} is unknown: write {known}, or fields, as */30 * * * * * for every 30 seconds"
        )
    if len(words) not in (5, 6):
        raise ValueError(
            f"schedule {text!r} has {len(words)} fields: write five (minute, hour, day of the month, month,"
            " day of the week), or six with seconds first"
        )
    return " ".join(words)


def _explain(text: str, fields: str) -> str:
    """Which field cannot be read: each is tried alone."""
    words = fields.split()
    names = FIELDS[-len(words) :]
    for place, (name, word) in enumerate(zip(names, words, strict=True)):
        alone = ["*"] * len(words)
        alone[place] = word
        try:
            CronSim(" ".join(alone), _ANY_TIME)
        except CronSimError:
            return (
                f"schedule {text!r}: {word!r} is no {name}: write {_RANGES[name]}, *, a range as 1-5,"
                " a list as 1,3 or a step as */2"
            )
    return (
        f"schedule {text!r} never ticks, because no such day exists: change the day of the month or the month"
    )


def _whole_seconds(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone: give an aware datetime")
    return moment.astimezone(UTC).replace(microsecond=0)


def _shown(moment: datetime, offset: timedelta) -> datetime:
    return moment.replace(tzinfo=None) + offset


def _offset_of(local: datetime) -> timedelta:
    return local.utcoffset() or timedelta(0)
