"""Bounds by the time of day: which windows are open, what they say together, and when that changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.any_observation import observations, on_a_busy_machine, policies
from tests.support.observations import Story, fleet, once, queue, seen, settled
from tests.support.resources import redis_queue

from redisqueue_operator.api.model import ScalingSchedule
from redisqueue_operator.decide.cron import Cron
from redisqueue_operator.decide.scaling import Policy, explain
from redisqueue_operator.decide.scaling.schedules import Bounds, bounds_at, clash_of, problem_of

if TYPE_CHECKING:
    from redisqueue_operator.observe.facts import Observation

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "America/Santiago",
)
BERLIN = "Europe/Berlin"
DAY = {"start": "0 8 * * MON-FRI", "end": "0 18 * * MON-FRI"}
NIGHT = {"start": "0 22 * * *", "end": "0 6 * * *"}


def window(
    start: str, end: str, least: int | None = None, most: int | None = None, zone: str = BERLIN
) -> ScalingSchedule:
    return ScalingSchedule(start=start, end=end, time_zone=zone, min_replicas=least, max_replicas=most)


def by_day(least: int | None = None, most: int | None = None) -> ScalingSchedule:
    return window(**DAY, least=least, most=most)


def by_night(least: int | None = None, most: int | None = None) -> ScalingSchedule:
    return window(**NIGHT, least=least, most=most)


def local(text: str, zone: str = BERLIN, fold: int = 0) -> float:
    """Seconds since the epoch of what clocks show in that zone."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def at(text: str, *schedules: ScalingSchedule, least: int = 1, most: int = 10, fold: int = 0) -> Bounds:
    return bounds_at(schedules, least, most, local(text, fold=fold))


def numbers(bounds: Bounds) -> tuple[int, int]:
    return bounds.min_replicas, bounds.max_replicas


@pytest.mark.parametrize(
    ("time", "bounds", "until"),
    [
        ("2026-06-01T07:59:59", (1, 10), "2026-06-01T08:00"),
        ("2026-06-01T08:00:00", (5, 10), "2026-06-01T18:00"),
        ("2026-06-01T17:59:59.9", (5, 10), "2026-06-01T18:00"),
        ("2026-06-01T18:00:00", (1, 10), "2026-06-02T08:00"),
        ("2026-06-05T18:00:00", (1, 10), "2026-06-08T08:00"),  # over the weekend
        ("2026-06-06T12:00:00", (1, 10), "2026-06-08T08:00"),
    ],
)
def test_from_a_start_to_the_next_end(time: str, bounds: tuple[int, int], until: str) -> None:
    found = at(time, by_day(5))
    assert numbers(found) == bounds
    assert found.until == local(until)
    assert bool(found.windows) == (bounds[0] == 5)


@pytest.mark.parametrize(
    ("time", "most"),
    [
        ("21:59", 10),
        ("22:00", 2),
        ("23:59:59", 2),
        ("00:00", 2),
        ("05:59:59", 2),
        ("06:00", 10),
        ("12:00", 10),
    ],
)
def test_over_midnight(time: str, most: int) -> None:
    assert at(f"2026-06-03T{time}", by_night(most=2)).max_replicas == most


def test_a_number_that_a_window_leaves_out_is_the_one_beside_it_and_others_are_replaced() -> None:
    assert numbers(at("2026-06-01T23:00", by_night(0), least=3)) == (0, 10)
    assert numbers(at("2026-06-01T23:00", by_night(most=50), least=3)) == (3, 50)
    assert numbers(at("2026-06-01T23:00", by_night(most=0), least=3)) == (0, 0)
    assert numbers(at("2026-06-01T12:00", by_night(most=0), least=3)) == (3, 10)
    assert bounds_at((), 2, 7, 0.0) == Bounds(2, 7)


def test_of_windows_that_overlap_the_tightest() -> None:
    all_day = window("0 0 * * *", "59 23 * * *", 2, 8)
    assert numbers(at("2026-06-01T12:00", all_day, by_day(5, 20))) == (5, 8)
    assert numbers(at("2026-06-01T12:00", by_day(5, 20), all_day)) == (5, 8)
    assert numbers(at("2026-06-06T12:00", by_day(5, 20), all_day)) == (2, 8)
    both = at("2026-06-01T12:00", by_day(9), all_day)
    assert (numbers(both), both.yielding) == ((8, 8), 9)
    assert both.windows == (
        "0 8 * * MON-FRI to 0 18 * * MON-FRI Europe/Berlin",
        "0 0 * * * to 59 23 * * * Europe/Berlin",
    )


def test_an_end_and_a_start_at_one_moment_end_the_window() -> None:
    daily = window("0 0 * * *", "0 0 * * MON", 4)  # open from Tuesday on
    assert numbers(at("2026-06-01T00:00", daily)) == (1, 10)
    assert at("2026-06-01T12:00", daily).until == local("2026-06-02T00:00")
    assert numbers(at("2026-06-02T00:00", daily)) == (4, 10)
    assert at("2026-06-02T00:00", daily).until == local("2026-06-08T00:00")


# In Berlin clocks went from 2:00 to 3:00 on 29 March 2026, and from 3:00 to 2:00 on 25 October.


@pytest.mark.parametrize(("time", "least"), [("01:59:59", 1), ("03:00", 5), ("03:59", 5), ("04:00", 1)])
def test_a_start_in_the_hour_that_is_skipped(time: str, least: int) -> None:
    assert at(f"2026-03-29T{time}", window("30 2 * * *", "0 4 * * *", 5)).min_replicas == least


def test_a_window_within_the_hour_that_is_skipped_does_not_open() -> None:
    inside = window("15 2 * * *", "45 2 * * *", 5)
    assert {at(f"2026-03-29T{time}", inside).min_replicas for time in ("01:59", "03:00", "03:20")} == {1}
    assert at("2026-03-28T12:00", inside).until == local("2026-03-30T02:15")
    assert at("2026-03-30T02:20", inside).min_replicas == 5


@pytest.mark.parametrize(
    ("time", "fold", "least"),
    [
        ("02:29:59", 0, 1),
        ("02:30", 0, 5),
        ("02:59", 0, 5),
        ("02:00", 1, 5),
        ("02:30", 1, 5),
        ("03:59", 0, 5),
        ("04:00", 0, 1),
    ],
)
def test_a_start_in_the_hour_that_comes_twice(time: str, fold: int, least: int) -> None:
    bounds = at(f"2026-10-25T{time}", window("30 2 * * *", "0 4 * * *", 5), fold=fold)
    assert bounds.min_replicas == least


def test_a_window_is_as_clocks_show_it_in_summer_and_in_winter() -> None:
    for day in ("2026-03-27", "2026-03-30", "2026-10-23", "2026-10-26"):
        assert at(f"{day}T08:00", by_day(5)).min_replicas == 5
        assert at(f"{day}T07:59", by_day(5)).min_replicas == 1
        assert at(f"{day}T08:00", by_day(5)).until == local(f"{day}T18:00")


expressions = st.sampled_from(
    [
        *("30 2 * * *", "0 8 * * MON-FRI", "0 22 * * *", "15 1 * * SUN", "0 0 1 * *", "0 3 * * *", "@daily"),
        *("*/20 * * * *", "0 */6 * * *", "10 30 2 * * *", "59 59 23 * * *", "0 12 L * *"),
    ]
)
schedules = st.builds(
    ScalingSchedule,
    start=expressions,
    end=expressions,
    time_zone=st.sampled_from(ZONES),
    min_replicas=st.integers(0, 9),
    max_replicas=st.none() | st.integers(0, 30),
)
CHANGES = [
    datetime.fromisoformat(day).replace(tzinfo=UTC)
    for day in (
        "2026-03-29T01:00",
        "2026-10-25T01:00",
        "2026-03-08T07:00",
        "2026-11-01T06:00",
        "2026-04-04T15:00",
        "2026-10-03T15:30",
    )
]
moments = st.builds(
    lambda change, seconds: change + timedelta(seconds=seconds),
    st.sampled_from(CHANGES),
    st.integers(-2 * 86_400, 2 * 86_400),
)


def _is_open(schedule: ScalingSchedule, moment: datetime) -> bool:
    """Tick by tick from three months before, as a person would follow it."""
    start, end = (Cron.parse(text, schedule.time_zone) for text in (schedule.start, schedule.end))
    second = timedelta(seconds=1)
    last = {each: each.next_after(moment - timedelta(days=100)) for each in (start, end)}
    assert all(tick <= moment for tick in last.values())
    for each in last:
        day = timedelta(days=33)  # the longest that lies between two ticks
        tick = each.next_after(moment - day)
        while tick <= moment:
            last[each], tick = tick, each.next_after(tick)
            recent = each.next_after(moment - timedelta(days=1) - second)
            if recent <= moment:  # often ticking ones: only the end of it counts
                tick = max(tick, recent)
    return last[start] > last[end]


@given(schedules, moments)
@on_a_busy_machine
def test_it_is_what_one_finds_who_follows_each_tick(schedule: ScalingSchedule, moment: datetime) -> None:
    found = bounds_at((schedule,), 50, 60, moment.timestamp())
    assert bool(found.windows) == _is_open(schedule, moment)
    assert found.since <= moment.timestamp() < found.until


@given(st.lists(schedules, min_size=1, max_size=3).map(tuple), moments)
@on_a_busy_machine
def test_nothing_changes_before_it_says_so_and_the_memory_of_it_changes_nothing(
    windows: tuple[ScalingSchedule, ...], moment: datetime
) -> None:
    now = moment.timestamp()
    found = bounds_at(windows, 1, 10, now)
    for other in (
        found.since,
        (found.since + now) // 2,
        now + 0.5,
        (now + found.until) // 2,
        found.until - 1,
    ):
        assert bounds_at(windows, 1, 10, other) == found
    after = bounds_at(windows, 1, 10, found.until)
    assert after.since == found.until or after.windows == found.windows
    assert bounds_at(windows, 1, 10, now) == found


@given(st.lists(schedules, min_size=1, max_size=4).map(tuple), moments)
@on_a_busy_machine
def test_order_says_nothing_and_one_more_window_is_never_looser(
    windows: tuple[ScalingSchedule, ...], moment: datetime
) -> None:
    now = moment.timestamp()
    found = bounds_at(windows, 1, 10, now)
    assert numbers(bounds_at(windows[::-1], 1, 10, now)) == numbers(found)
    assert 0 <= found.min_replicas <= found.max_replicas
    opened = [each for each in windows if bounds_at((each,), 1, 10, now).windows]
    assert len(opened) == len(found.windows)
    for each in opened:
        alone = bounds_at((each,), 1, 10, now)
        if each.max_replicas is not None:
            assert found.max_replicas <= alone.max_replicas
        assert (found.yielding or found.min_replicas) >= (each.min_replicas or 0)


@pytest.mark.parametrize(
    ("windows", "clash"),
    [
        ((by_day(5), by_night(most=2)), None),
        ((by_day(5), window("0 12 * * *", "0 13 * * *", most=5)), None),
        ((by_day(5), window("0 12 * * *", "0 13 * * *", most=4)), (5, 4, "2028-01-03T12:00")),
        ((window("0 12 1 12 *", "0 13 1 12 *", most=0), by_day(5)), (5, 0, "2028-12-01T12:00")),
        ((by_day(5), window("0 12 * * SUN", "0 13 * * SUN", most=0)), None),
        ((window("0 0 * * *", "59 23 * * *", 9), by_day(5), by_night(most=8)), (9, 8, "2028-01-01T01:00")),
        ((by_day(5),), None),
        ((), None),
    ],
)
def test_windows_of_which_one_number_will_give_way_are_found(
    windows: tuple[ScalingSchedule, ...], clash: tuple[int, int, str] | None
) -> None:
    found = clash_of(windows)
    if found is None or clash is None:
        assert found == clash
        return
    bounds, moment = found
    least, most, when = clash
    assert (bounds.yielding, bounds.max_replicas, moment.timestamp()) == (least, most, local(when))


def spec_with(*windows: dict[str, object], **scaling: object) -> object:
    return redis_queue(scaling={**scaling, "schedules": list(windows)}).spec


NOON, EVENING = (local(f"2026-06-01T{hour}:00", "UTC") for hour in (12, 20))
WORK = {"start": "0 8 * * *", "end": "0 18 * * *", "minReplicas": 4, "maxReplicas": 6}


def test_the_decision_follows_the_window_and_says_which() -> None:
    spec = spec_with(WORK)
    empty, full = seen(queue(), replicas=0), seen(queue(500), replicas=0)
    noon, evening = Policy.of(spec, NOON), Policy.of(spec, EVENING)
    decision = once(empty, noon)
    assert (decision.to_replicas, decision.reason) == (4, "MinReplicas")
    assert decision.schedule == "0 8 * * * to 0 18 * * * UTC"
    assert once(full, noon).to_replicas == 6
    assert (once(full, evening).to_replicas, once(full, evening).schedule) == (10, "")
    assert Policy.of(spec).bounds is None


def test_the_decision_is_taken_again_when_a_window_opens_or_closes() -> None:
    spec = spec_with(WORK)
    for observation in (seen(queue(), replicas=0), seen(None, replicas=2), fleet(queue(), idle=4)):
        assert once(observation, Policy.of(spec, NOON)).recheck_after_seconds <= 6 * 3600
        assert once(observation, Policy.of(spec, NOON + 6 * 3600 - 2)).recheck_after_seconds <= 2


def test_busy_workers_stay_when_a_window_closes() -> None:
    busy = fleet(queue(100, in_flight=6), busy=6)
    policy = Policy.of(spec_with({**WORK, "minReplicas": 0, "maxReplicas": 0}), NOON)
    decision = settled(busy, policy)
    assert (decision.to_replicas, decision.blocked_by) == (6, "BusyWorkers")
    decision = settled(fleet(queue(100), idle=6), policy)
    assert decision.to_replicas == 0


def test_what_is_in_force_and_what_gives_way_is_told() -> None:
    night = {"start": "0 11 * * *", "end": "0 13 * * *", "maxReplicas": 2}
    policy = Policy.of(spec_with(WORK, night), NOON)
    empty = seen(queue(), replicas=0)
    lines = explain(once(empty, policy), empty, policy)
    assert any(
        line.startswith("2 to 2 workers until 2026-06-01T13:00:00Z, by schedule: 0 8 ") for line in lines
    )
    assert "of schedules that overlap, at least 4 gives way to at most 2" in lines
    policy = Policy.of(spec_with(WORK, night), EVENING)
    told = "no schedule is in force until 2026-06-02T08:00:00Z: 0 to 10 workers"
    assert told in explain(once(empty, policy), empty, policy)


@given(st.lists(observations(), min_size=1, max_size=4), policies, st.integers(0, 9), st.integers(0, 9))
@on_a_busy_machine
def test_bounds_that_change_under_way_take_no_busy_worker(
    row: list[Observation], policy: Policy, least: int, most: int
) -> None:
    policy = replace(policy, mode="Auto", drain_busy=False)
    story = Story(policy)
    for step, observation in enumerate(row):
        story.policy = (
            replace(policy, min_replicas=min(least, most), max_replicas=most) if step % 2 else policy
        )
        decision = story.at(step * 30.0, observation)
        reports = {each.pod_uid: each for each in observation.workers if each.is_fresh}
        hung = {uid for uid, each in reports.items() if (each.oldest_start_age_seconds or 0) > 3600}
        gone = {f"uid-{name}" for name in decision.victims} - hung
        assert not [uid for uid in gone if uid in reports and reports[uid].busy]


@pytest.mark.parametrize(
    ("schedule", "field", "words"),
    [
        (window("0 25 * * *", "0 6 * * *"), "start", "'25' is no hour"),
        (window("0 8 * * *", "0 8 30 2 *"), "end", "no such day"),
        (window(**DAY, zone="Europe/Berlim"), "timeZone", "did you mean Europe/Berlin?"),
    ],
)
def test_what_cannot_be_read_is_named_with_the_way_out(
    schedule: ScalingSchedule, field: str, words: str
) -> None:
    problem = problem_of(schedule)
    assert problem is not None
    assert problem[0] == field
    assert words in problem[1]
    assert problem_of(by_day(1)) is None


def test_a_spec_with_one_that_cannot_be_read_says_nothing_usable() -> None:
    with pytest.raises(ValueError, match=r"spec\.scaling\.schedules\[1\]\.timeZone: .*did you mean"):
        spec_with(WORK, {**WORK, "timeZone": "Europe/Berlim"})
