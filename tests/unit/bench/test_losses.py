"""What the bench of losses counts from a book, and how its table tells it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.bench import losses_report
from tests.bench.losses_count import Line, begun, is_over, lines_of, row, undone
from tests.bench.losses_entries import ENTRIES, SCENARIOS

A, B, C = MESSAGES = ["message-001", "message-002", "message-003"]


def ended(message: str, at: float) -> Line:
    return Line("ended", message, at)


def began(message: str, at: float) -> Line:
    return Line("began", message, at)


def test_a_book_is_read_up_to_the_line_that_is_still_being_written() -> None:
    text = f"began {A} 10.000\nended {A} 15.250\nbegan {B} 1"
    assert lines_of(text, MESSAGES) == [began(A, 10.0), ended(A, 15.25)]


def test_messages_of_others_do_not_count() -> None:
    assert lines_of("began another-7 10.000\n", MESSAGES) == []


def test_what_is_in_hand_and_what_is_undone() -> None:
    lines = [began(A, 1), began(B, 2), ended(A, 6)]
    assert begun(lines) == {A, B}
    assert undone(MESSAGES, lines) == [B, C]


def test_it_is_over_when_all_are_done_and_nothing_was_begun_again_for_a_while() -> None:
    done = [ended(message, 20) for message in MESSAGES]
    assert not is_over(MESSAGES, done[:2], now=99, fault_over_at=5, quiet_seconds=60)
    assert not is_over(MESSAGES, [*done, began(A, 50)], now=99, fault_over_at=5, quiet_seconds=60)
    assert is_over(MESSAGES, [*done, began(A, 50)], now=110, fault_over_at=5, quiet_seconds=60)


def test_it_is_not_over_before_a_fault_had_time_to_show_what_it_has_done() -> None:
    """All were done while Redis stood still: what comes back comes when it goes on."""
    done = [ended(message, 20) for message in MESSAGES]
    assert not is_over(MESSAGES, done, now=99, fault_over_at=80, quiet_seconds=60)
    assert is_over(MESSAGES, done, now=140, fault_over_at=80, quiet_seconds=60)


def test_a_message_that_is_done_once_by_the_second_who_began_it_is_not_doubled() -> None:
    lines = [began(A, 1), began(A, 40), ended(A, 45), began(B, 40), ended(B, 46), ended(C, 47)]
    counted = row(MESSAGES, lines, {}, fault_at=2)
    assert counted == {
        "enqueued": 3,
        "handled": 3,
        "lost": 0,
        "left": 0,
        "where": [],
        "begun_again": 1,
        "twice": 0,
        "seconds": 45.0,
    }


def test_the_second_end_of_a_message_is_a_doubling_and_no_delay() -> None:
    lines = [*(ended(message, 10) for message in MESSAGES), ended(A, 70)]
    counted = row(MESSAGES, lines, {}, fault_at=2)
    assert (counted["twice"], counted["seconds"], counted["handled"]) == (1, 8.0, 3)


def test_what_is_in_no_key_is_lost_and_what_is_in_one_was_only_not_handled() -> None:
    counted = row(MESSAGES, [began(A, 1), began(B, 1), ended(C, 9)], {B: {"q:failed"}}, fault_at=2)
    assert (counted["lost"], counted["left"], counted["where"]) == (1, 1, ["q:failed"])
    assert counted["seconds"] is None


def run(**changed: Any) -> dict[str, Any]:
    usual = {"who": "ours", "what": "killed", "round": 0, "lost": 0, "left": 0, "twice": 0, "seconds": 9.0}
    return {**usual, **changed}


@pytest.mark.parametrize(
    ("runs", "text"),
    [
        ([], ""),
        ([run()], "0 / 0 / 9 s"),
        ([run(twice=2), run(twice=16, seconds=31.6)], "0 / **16** / 20 s"),
        ([run(lost=3, seconds=None)], "**3** / 0 / never"),
        ([run(), run(left=16, seconds=None)], "0 / 0 / 16 not in 150 s"),
        ([run(), {"who": "ours", "what": "killed", "problem": "no go"}], "failed: no go"),
    ],
)
def test_a_cell_has_the_worst_counts_of_its_rounds_and_their_median_time(
    runs: list[dict[str, Any]], text: str
) -> None:
    assert losses_report.cell(runs) == text


def test_the_table_has_a_row_for_whoever_was_measured_and_says_who_is_missing() -> None:
    missing = {"who": "arq 0.28.0", "what": "missing", "problem": "no index"}
    failed = run(left=2, seconds=None, where=["wip"], ended_by_themselves=1)
    lines = losses_report.markdown([failed, missing]).splitlines()
    assert lines[2] == "| ours | 0 / 0 / 2 not in 150 s |  |  |  |"
    assert lines[3].startswith("| arq 0.28.0: missing, no index |")
    assert lines[5] == "Not handled in the time, but still in Redis: ours (SIGKILL): in `wip`."
    assert lines[7].endswith("started again after a second: ours (SIGKILL).")


def test_each_contestant_has_a_row_of_settings_and_each_scenario_a_fault() -> None:
    page = losses_report.settings()
    assert all(f"| {entry.name} | {entry.told} |" in page for entry in ENTRIES)
    assert all(scenario.faults for scenario in SCENARIOS.values())
