"""Which ticks of a schedule are due: thousands, past changed clocks, with leaders that end at every step."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from redisqueue_operator.decide.cron import Cron
from redisqueue_operator.decide.due import MOST_TICKS, Progress, Timing, due, message_id

UID = "0b1c2d3e-uid"
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "UTC")
# Some days before one of their changes of clocks.
BEGINNINGS = [datetime.fromisoformat(each) for each in ("2026-03-07T00:00Z", "2026-10-24T00:00Z")]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def timing(
    text: str, zone: str = "UTC", *, jitter: int = 0, deadline: int = 3600, all_ticks: bool = False
) -> Timing:
    cron = Cron.parse(text, zone)
    return Timing(uid=UID, cron=cron, jitter_seconds=jitter, deadline_seconds=deadline, all_ticks=all_ticks)


def progress(when: datetime, text: str = "* * * * *") -> Progress:
    return Progress(schedule=text, time_zone="UTC", suspend=False, counts_from=when)


@dataclass
class World:
    """A queue that remembers its keys, a status, and a clock; leaders come and end."""

    timing: Timing
    time: datetime
    status: Progress
    ahead: timedelta = timedelta(0)
    keys: dict[str, datetime] = field(default_factory=dict)
    messages: list[datetime] = field(default_factory=list)

    @property
    def clock(self) -> datetime:
        return self.time + self.ahead

    def enqueue(self, tick: datetime) -> None:
        key = message_id(UID, tick)
        assert self.clock >= self.timing.due_at(tick), "too early"
        if self.keys.get(key, self.time) <= self.time:
            self.keys[key] = self.time + timedelta(seconds=self.timing.deadline_seconds + 600)
            self.messages.append(tick)

    def look(self, ends_after: int) -> datetime | None:
        """When to look again; None of a leader that ended after so many steps: messages, and the status."""
        found = due(self.timing, self.status.since, self.clock)
        mine = self.status
        if found.late is not None:
            mine = mine.left_out(found.late, found.missed, "", self.clock)
        for tick in found.ticks:
            if ends_after <= 0:
                return None
            self.enqueue(tick)
            ends_after -= 1
            mine = mine.enqueued(tick, message_id(UID, tick), self.clock)
        if ends_after <= 0:
            return None
        self.status = mine
        return found.wake


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("text", ["*/20 * * * *", "15,45 0-4 * * *", "0 */10 1-3 * * *", "30 * * * * *"])
def test_each_tick_is_enqueued_once_whatever_ends_when(zone: str, text: str) -> None:
    """A hundred ticks of each, 2,000 in all."""
    dice = random.Random(f"{zone} {text}")
    start = dice.choice(BEGINNINGS)
    world = World(timing(text, zone, jitter=7, all_ticks=True), start, progress(start))
    cron, ticks = world.timing.cron, [start]
    while len(ticks) <= 100:
        ticks.append(cron.next_after(ticks[-1]))
    until = cron.next_after(ticks[-1])
    while world.time < until:
        # A leader ends before, between or after two of its steps; then nobody leads for a while.
        wake = world.look(dice.choice((0, 1, 1, 2, 100)))
        if wake is not None:
            world.time = max(world.time, min(wake, until))
        world.time += timedelta(seconds=dice.choice((0, 0, 1, 30, 600)) + dice.random())
    world.look(100)
    world.look(100)
    enqueued = [tick for tick in world.messages if tick <= ticks[-1]]
    assert enqueued == ticks[1:]
    assert world.status.since >= ticks[-1]


@pytest.mark.parametrize("all_ticks", [True, False])
def test_a_clock_that_is_set_enqueues_nothing_twice(all_ticks: bool) -> None:
    dice = random.Random(f"clock {all_ticks}")
    start = BEGINNINGS[0]
    world = World(timing("*/5 * * * * *", all_ticks=all_ticks, deadline=60), start, progress(start))
    for _ in range(400):
        world.look(dice.choice((0, 1, 2, 100)))
        world.time += timedelta(seconds=dice.choice((1, 5, 20)))
        if dice.random() < 0.1:
            world.ahead = timedelta(seconds=dice.randint(-240, 240))
    assert len(world.messages) == len(set(world.messages)) > 100


def test_of_ticks_that_were_missed_the_latest_comes() -> None:
    found = due(timing("0 * * * *"), at("2026-01-01T00:30Z"), at("2026-01-01T05:10Z"))
    assert found.ticks == (at("2026-01-01T05:00Z"),)
    assert (found.late, found.missed) == (at("2026-01-01T04:00Z"), 4)
    assert (found.next, found.wake) == (at("2026-01-01T06:00Z"),) * 2


def test_all_of_them_come_where_that_is_wanted_but_no_more_than_a_hundred() -> None:
    found = due(timing("* * * * *", all_ticks=True), at("2026-01-01T00:00Z"), at("2026-01-01T00:30:10Z"))
    assert (len(found.ticks), found.late) == (30, None)
    assert list(found.ticks) == sorted(found.ticks)
    found = due(timing("* * * * * *", all_ticks=True), at("2026-01-01T00:00Z"), at("2026-01-01T00:30Z"))
    assert (len(found.ticks), found.missed) == (MOST_TICKS, MOST_TICKS)
    assert found.ticks[-1] == at("2026-01-01T00:30Z")


def test_what_is_later_than_its_deadline_is_left_out() -> None:
    late = timing("0 * * * *", deadline=60)
    assert due(late, at("2026-01-01T00:30Z"), at("2026-01-01T01:01:00Z")).ticks == (at("2026-01-01T01:00Z"),)
    found = due(late, at("2026-01-01T00:30Z"), at("2026-01-01T01:01:01Z"))
    assert (found.ticks, found.late, found.missed) == ((), at("2026-01-01T01:00Z"), 1)
    again = due(late, at("2026-01-01T01:00Z"), at("2026-01-01T01:01:02Z"))
    assert (again.late, again.missed) == (None, 0)


def test_jitter_is_the_same_for_every_leader_and_never_passes_the_next_tick() -> None:
    spread = timing("* * * * *", jitter=3600)
    tick, delays = at("2026-01-01T00:00Z"), []
    for _ in range(500):
        delays.append((spread.due_at(tick) - tick).total_seconds())
        assert spread.due_at(tick) == replace(spread).due_at(tick)
        tick += timedelta(minutes=1)
    assert min(delays) >= 0
    assert max(delays) < 60
    assert max(delays) - min(delays) > 50


def test_before_its_jitter_has_passed_a_tick_is_the_next_one() -> None:
    spread = timing("0 * * * *", jitter=600)
    tick = at("2026-01-01T01:00Z")
    found = due(spread, at("2026-01-01T00:30Z"), spread.due_at(tick) - timedelta(seconds=0.5))
    assert (found.ticks, found.next, found.wake) == ((), tick, spread.due_at(tick))
    assert due(spread, at("2026-01-01T00:30Z"), spread.due_at(tick)).ticks == (tick,)


def test_a_changed_schedule_and_the_end_of_a_suspension_count_from_then_on() -> None:
    before = progress(at("2026-01-01T00:00Z"), "0 * * * *")
    now = at("2026-01-01T05:30Z")
    same = before.under("0 * * * *", "UTC", suspend=False, now=now)
    assert same == before
    assert before.under("1 * * * *", "UTC", suspend=False, now=now).since == now
    assert before.under("0 * * * *", "Asia/Tokyo", suspend=False, now=now).since == now
    asleep = before.under("0 * * * *", "UTC", suspend=True, now=at("2026-01-01T02:30Z"))
    assert asleep.since == before.since
    assert asleep.under("0 * * * *", "UTC", suspend=False, now=now).since == now
