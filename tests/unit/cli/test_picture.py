"""The picture of `redisqueue top`: it fits, says what is unknown, and marks what is old."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.cells import cell_len

from redis_message_queue.stats import QueueSample
from redisqueue_operator.cli.live.looks import LiveQueue, LiveView
from redisqueue_operator.cli.live.picture import COLUMNS, ago, bar, empty_in, oldest, picture, trend
from redisqueue_operator.decide.scaling.decision import Rates

AT = datetime(2026, 1, 31, 8, 0, tzinfo=UTC)
SAMPLE = QueueSample(
    pending=12,
    in_flight=1,
    expired=0,
    processing=1,
    completed=0,
    failed=0,
    dead_letter=2,
    delayed=0,
    delayed_due=0,
    next_due_seconds=None,
    next_expiry_seconds=None,
    claims_total=4,
    time_ms=0,
    workers=(),
)
QUEUE = LiveQueue("emails", SAMPLE, "", Rates(1.0, 3.0, 6.0, 12, 4.0), pending=(1, 5, 12))


def lines(
    seen: LiveView, columns: int = 80, height: int = 24, *, now: datetime = AT, ascii_only: bool = False
) -> list[str]:
    return picture(seen, "redis://r:6379/0", now, (columns, height), ascii_only=ascii_only).plain.splitlines()


def test_messages_of_a_queue_that_cannot_be_read_are_not_none() -> None:
    lost = LiveQueue("lost", None, "WRONGTYPE")
    shown: tuple[tuple[LiveQueue, ...], ...] = ((lost,), (QUEUE, lost), (QUEUE,), ())
    heads = [lines(LiveView(queues, (), AT))[0] for queues in shown]
    assert [head.split("  ")[1] for head in heads] == [
        "1 queue, ? pending, 1 cannot be read",
        "2 queues, 12 pending, 1 cannot be read",
        "1 queue, 12 pending",
        "0 queues, 0 pending",
    ]


@pytest.mark.parametrize("name", ["emails", "x" * 200, "メール" * 9, "a\x1b[2Jb"])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_no_line_is_wider_than_the_terminal(name: str, ascii_only: bool) -> None:
    lost = LiveQueue("lost", None, "NOPERM no permission" * 9)
    seen = LiveView(
        (replace(QUEUE, name=name), lost), ("warning: " + "w" * 400,), AT, "Connection refused" * 9
    )
    for columns in range(20, 301):
        shown = lines(seen, columns, ascii_only=ascii_only)
        assert max(map(cell_len, shown)) <= columns
        assert "\x1b" not in "".join(shown)
        assert shown[2].startswith("QUEUE")
        assert "PENDING" in shown[2]


def test_the_wider_the_more_columns_until_all_are_there() -> None:
    counts = [len(lines(LiveView((QUEUE,), (), AT), columns)[1].split()) for columns in range(20, 301)]
    assert counts == sorted(counts)
    # The bar has no header, EMPTY IN and IN FLIGHT have two words each, and QUEUE is no column of numbers.
    assert counts[-1] == len(COLUMNS) - 1 + 2 + 1


def test_no_picture_is_higher_than_the_terminal() -> None:
    seen = LiveView(tuple(replace(QUEUE, name=f"q{number}") for number in range(50)), ("remark",), AT)
    for height in range(4, 60):
        assert len(lines(seen, height=height)) <= height


@pytest.mark.parametrize(
    ("trouble", "seconds", "old"), [("", 1, False), ("", 20, True), ("refused", 0, True)]
)
def test_old_numbers_are_marked_whatever_the_reason(trouble: str, seconds: int, old: bool) -> None:
    shown = "\n".join(lines(LiveView((QUEUE,), (), AT, trouble), now=AT + timedelta(seconds=seconds)))
    assert ("OLD: numbers of 08:00:00Z" in shown) is old
    assert "emails" in shown


def test_before_the_first_look_nothing_is_claimed() -> None:
    assert lines(LiveView()) == ["redis://r:6379/0", "looking…"]
    assert "no queue found" in "".join(lines(LiveView(at=AT)))
    assert lines(LiveView(trouble="refused"))[1] == "Redis: refused; trying again"


@pytest.mark.parametrize(
    ("rates", "at_least", "age", "eta"),
    [
        (Rates(), False, "?", "?"),
        (Rates(1.0, 3.0, 90.0, 12, 4.0), False, "4s", "1m30s"),
        (Rates(1.0, 3.0, 90.0, 12, 4.0), True, ">4s", "1m30s"),
        (Rates(3.0, 1.0, None, 12, 7200.0), False, "2h", "grows"),
        (Rates(1.0, 1.0, None, 12, 4.0), False, "4s", "stays"),
        (Rates(1.0, 1.0, 0.0, 0, 0.0), False, "-", "-"),
    ],
)
def test_what_is_reckoned_is_told_in_a_word(rates: Rates, at_least: bool, age: str, eta: str) -> None:
    queue = replace(QUEUE, rates=rates, oldest_is_at_least=at_least)
    assert (oldest(queue), empty_in(queue)) == (age, eta)


def test_durations_have_two_units_at_most() -> None:
    told = [ago(seconds) for seconds in (0, 59.9, 60, 3599, 3600, 90_000, 172_800, None)]
    assert told == ["0s", "59s", "1m", "59m59s", "1h", "1d1h", "2d", "?"]


def test_bars_and_trends_are_true_to_scale() -> None:
    assert [bar(value, 8, 8, ascii_only=False) for value in (0, 1, 8)] == ["", "█", "████████"]
    assert bar(1, 100_000, 8, ascii_only=False) == "▏", "whatever is not nothing is seen"
    assert trend((0, 7, 14), 5, ascii_only=False) == "  ▁▅█"
    assert trend((0, 7, 14), 2, ascii_only=True) == "+#"
    assert trend((0, 0), 2, ascii_only=False) == "▁▁"
