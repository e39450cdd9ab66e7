"""When a cron expression ticks: held against a walk along the clock, by quarters of an hour."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redisqueue_operator.decide.cron import Cron

QUARTER = timedelta(minutes=15)
# Steps of an hour and of half an hour, at midnight and by night, at other times of the year, one that
# skipped a day, and none.
ZONES = [
    *(
        "Europe/Berlin",
        "America/New_York",
        "America/Havana",
        "Australia/Lord_Howe",
        "Africa/Cairo",
        "Asia/Beirut",
    ),
    *("America/Santiago", "Africa/Casablanca", "Pacific/Apia", "Asia/Kathmandu", "UTC"),
]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def ticks(cron: Cron, since: str, until: str) -> list[str]:
    found, now = [], at(since)
    while (now := cron.next_after(now)) < at(until):
        found.append(now.isoformat())
    return found


def random_moments(dice: random.Random, zone: str, number: int) -> list[datetime]:
    """Half of them within a day of a change of clocks, where there is one."""
    hours = [datetime(2010, 1, 1, tzinfo=UTC) + timedelta(hours=each) for each in range(0, 16 * 8766, 6)]
    offsets = [each.astimezone(ZoneInfo(zone)).utcoffset() for each in hours]
    changes = [hours[i] for i in range(1, len(hours)) if offsets[i] != offsets[i - 1]] or hours
    return [
        dice.choice(changes if dice.random() < 0.5 else hours)
        + timedelta(seconds=dice.randint(-86_400, 86_400), microseconds=dice.choice((0, 1, 999_999)))
        for _ in range(number)
    ]


def walked(zone: ZoneInfo, minutes: set[int], hours: set[int], moment: datetime) -> list[datetime]:
    """All ticks within two days of the moment, by their definition."""
    start = (moment - timedelta(days=2)).replace(minute=0, second=0, microsecond=0)
    clock = [start + QUARTER * each for each in range(4 * 96)]
    shown = [each.astimezone(zone).replace(tzinfo=None) for each in clock]
    if len(hours) == 24:
        return [when for when, wall in zip(clock, shown, strict=True) if wall.minute in minutes]
    wanted = [shown[0] + QUARTER * each for each in range(1, 4 * 96 + 8)]
    found = set()
    for wall in (each for each in wanted if each.minute in minutes and each.hour in hours):
        first = next((when for when, seen in zip(clock, shown, strict=True) if seen >= wall), None)
        found |= {first} - {None}
    return sorted(each for each in found if each is not None)


@pytest.mark.parametrize("zone", ZONES)
def test_the_ticks_are_those_that_a_walk_along_the_clock_finds(zone: str) -> None:
    dice = random.Random(zone)
    for moment in random_moments(dice, zone, 200):
        minutes = set(dice.sample((0, 15, 30, 45), dice.randint(1, 3)))
        hours = dice.choice((set(range(24)), set(dice.sample(range(24), 3)), {0, 1, 2, 3, 23}))
        hour_field = "*" if len(hours) == 24 else ",".join(map(str, hours))
        minute_field = ",".join(map(str, minutes))
        text = dice.choice((f"{minute_field} {hour_field} * * *", f"0 {minute_field} {hour_field} * * *"))
        cron = Cron.parse(text, zone)
        known = walked(ZoneInfo(zone), minutes, hours, moment)
        said = f"{text} in {zone} at {moment}"
        assert cron.next_after(moment) == next(each for each in known if each > moment), said
        assert cron.last_before(moment) == next(each for each in reversed(known) if each < moment), said


@pytest.mark.parametrize("zone", ZONES)
def test_back_and_forth_are_the_same_ticks(zone: str) -> None:
    dice = random.Random(zone)
    texts = (
        "*/7 * * * * *",
        "13 */20 1-4 * * *",
        "30 2 * * *",
        "0 0 1 * *",
        "0 0 L * 5",
        "5 4 29 2 *",
        "@hourly",
    )
    for moment in random_moments(dice, zone, 60):
        cron = Cron.parse(dice.choice(texts), zone)
        after, before = cron.next_after(moment), cron.last_before(moment)
        assert before < moment < after
        assert cron.last_before(after) in (before, moment), f"{cron.text} in {zone} at {moment}"
        assert cron.next_after(before) in (after, moment), f"{cron.text} in {zone} at {moment}"
        assert not after.microsecond


def test_what_clocks_skip_is_due_once_at_the_moment_after() -> None:
    cron = Cron.parse("0,15,30 2 * * *", "Europe/Berlin")
    assert ticks(cron, "2026-03-28T12:00Z", "2026-03-29T12:00Z") == ["2026-03-29T01:00:00+00:00"]


def test_what_clocks_show_twice_is_due_once_the_first_time() -> None:
    cron = Cron.parse("30 2 * * *", "Europe/Berlin")
    assert ticks(cron, "2026-10-24T12:00Z", "2026-10-25T12:00Z") == ["2026-10-25T00:30:00+00:00"]
    in_the_second = at("2026-10-25T02:40:00+01:00")
    assert cron.last_before(in_the_second) == at("2026-10-25T02:30:00+02:00")
    assert cron.next_after(in_the_second) == at("2026-10-26T02:30:00+01:00")


def test_what_holds_in_every_hour_goes_on_while_time_passes() -> None:
    cron = Cron.parse("*/30 * * * *", "Europe/Berlin")
    assert len(ticks(cron, "2026-10-24T22:00Z", "2026-10-25T22:00Z")) == 47
    assert len(ticks(cron, "2026-03-28T22:00Z", "2026-03-29T22:00Z")) == 47
    seconds = Cron.parse("*/2 * * * * *", "Europe/Berlin")
    assert len(ticks(seconds, "2026-10-25T00:59:00Z", "2026-10-25T01:01:00Z")) == 59


def test_six_fields_are_treated_as_five_are() -> None:
    for since in ("2026-03-28T12:00Z", "2026-10-24T12:00Z"):
        until = (at(since) + timedelta(days=3)).isoformat()
        five, six = (Cron.parse(text, "Europe/Berlin") for text in ("30 2 * * *", "0 30 2 * * *"))
        assert ticks(five, since, until) == ticks(six, since, until)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0 0 31 2 *", "never ticks, because no such day exists"),
        ("0 0 30 FEB *", "never ticks, because no such day exists"),
        ("60 * * * *", "'60' is no minute: write 0-59"),
        ("0 24 * * *", "'24' is no hour: write 0-23"),
        ("0 0 0 * *", "'0' is no day of the month"),
        ("* * * 13 *", "'13' is no month: write 1-12 or JAN-DEC"),
        ("* * * * 8", "'8' is no day of the week: write 0-7 or SUN-SAT"),
        ("61 * * * * *", "'61' is no second"),
        ("*/0 * * * *", "'*/0' is no minute"),
        ("0 0 ? * 1", "'?' is no day of the month"),
        ("* * *", "has 3 fields: write five"),
        ("", "has 0 fields: write five"),
        ("0 0 0 1 1 * 2026", "has 7 fields"),
        ("@every 5s", "write @yearly"),
        ("@reboot", "for every 30 seconds"),
        ("CRON_TZ=Europe/Berlin 0 0 * * *", "write it into timeZone"),
    ],
)
def test_what_is_no_schedule_is_told_with_the_way_out(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=r"^schedule ") as error:
        Cron.parse(text)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("zone", "says"),
    [
        ("Europe/Berln", "did you mean Europe/Berlin?"),
        ("utc", "did you mean UTC?"),
        ("localtime", "write one like Europe/Berlin, or UTC"),
        ("Local", "is not in the IANA time zone database"),
        ("", "write one like Europe/Berlin, or UTC"),
        ("../etc/passwd", "is not in the IANA time zone database"),
        ("right/Europe/Berlin", "did you mean Europe/Berlin?"),
    ],
)
def test_what_is_no_time_zone_is_told_with_the_way_out(zone: str, says: str) -> None:
    with pytest.raises(ValueError, match=r"^timeZone ") as error:
        Cron.parse("* * * * *", zone)
    assert says in str(error.value)


def test_a_moment_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="give an aware datetime"):
        Cron.parse("* * * * *").next_after(datetime(2026, 1, 1))  # noqa: DTZ001


@settings(max_examples=100, deadline=None)
@given(st.text("0123456789*/,-#LWFEBMON? @²\n", max_size=24))
def test_any_text_is_a_schedule_or_a_value_error(text: str) -> None:
    try:
        cron = Cron.parse(text)
    except ValueError:
        return
    assert cron.next_after(at("2026-01-01T00:00Z")) > at("2026-01-01T00:00Z")
