"""Recordings: from counters to rows, and from rows to a load."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.simulate import trace
from tests.simulate.trace import Row, Seen, rows_of

if TYPE_CHECKING:
    from pathlib import Path


def test_arrivals_are_claims_and_what_waits() -> None:
    seen = [Seen(100.0, 7, 0, 0), Seen(100.2, 7, 3, 0), Seen(100.4, 9, 1, 2), Seen(100.6, 10, 4, 2)]
    assert [(row.seconds, row.arrivals) for row in rows_of(seen)] == [(0.2, 3), (0.6, 4)]


def test_handlers_took_what_was_in_flight_for_how_long() -> None:
    """Two slots are always busy and two messages are claimed each second: one second each."""
    seen = [Seen(second * 0.5, second, 10, 2) for second in range(101)]
    rows = rows_of(seen)
    assert {row.handling_seconds for row in rows} == {1.0}
    assert sum(row.arrivals for row in rows) == 100


def test_the_time_of_handlers_follows_the_load() -> None:
    quick = [Seen(float(second), 4 * second, 0, 2) for second in range(100)]
    slow = [Seen(100.0 + second, 400 + second, 0, 2) for second in range(100)]
    handling = {row.seconds: row.handling_seconds for row in rows_of([*quick, *slow])}
    assert handling[50.0] == pytest.approx(0.5, abs=0.05)
    assert handling[150.0] == pytest.approx(2.0, abs=0.05)


def test_without_a_claim_nothing_is_known() -> None:
    with pytest.raises(ValueError, match="while workers are at work"):
        rows_of([Seen(0.0, 5, 0, 0), Seen(1.0, 5, 9, 0)])


def test_written_and_read(tmp_path: Path) -> None:
    file = tmp_path / "jobs.csv"
    trace.write(file, [Row(0.2, 2, 1.5), Row(3.0, 1, 0.25)])
    load = trace.read(file)
    assert load.name == "jobs"
    assert [(each.arrived, each.handling_seconds) for each in load.messages] == [
        (0.2, 1.5),
        (0.2, 1.5),
        (3.0, 0.25),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line"),
        ("a,b\n1,2\n", "first line"),
        ("seconds,arrivals,handling_seconds\n", "no arrivals"),
        ("seconds,arrivals,handling_seconds\n1,x,1\n", "line 2"),
        ("seconds,arrivals,handling_seconds\n1,1\n", "line 2"),
    ],
)
def test_what_is_no_recording_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "wrong.csv"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        trace.read(file)
