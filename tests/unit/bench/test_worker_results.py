"""What the bench of whole workers makes of the lines that contestants print."""

from __future__ import annotations

from itertools import pairwise

import pytest
from tests.bench import worker, worker_report
from tests.bench.entries import ENTRIES, FOREIGN, OURS, PEERS, RATES, SCENARIOS, Entry, Load
from tests.bench.worker_process import Failed, parsed

ASYNQ, BULLMQ = FOREIGN
THREADS = OURS[0]


def rate(who: str, what: str, *per_second: float, client_us: float = 1.0) -> list[dict[str, object]]:
    return [
        {
            "who": who,
            "what": what,
            "repetition": number,
            "load": 0.5 + number,
            "per_second": each,
            "client_us": client_us,
            "server_us": 2.0,
        }
        for number, each in enumerate(per_second)
    ]


def row(page: str, *cells: str) -> list[str]:
    """The cells of the one row that begins with `cells`."""
    found = [line for line in page.splitlines() if line.startswith(f"| {' | '.join(cells)} |")]
    assert len(found) == 1, page
    return [cell.strip() for cell in found[0].strip("|").split(" | ")][len(cells) :]


def test_a_line_of_a_program_is_its_result() -> None:
    assert parsed('{"per_second": 2.5}\n') == {"per_second": 2.5}


@pytest.mark.parametrize(
    ("line", "word"),
    [('{"problem": "ran out of tasks"}', "ran out of tasks"), ("panic: no", "panic: no"), ("7", "7")],
)
def test_any_other_line_is_a_failure_that_says_what_was_printed(line: str, word: str) -> None:
    with pytest.raises(Failed, match=word):
        parsed(line)


def test_rates_of_processes_add_up_and_each_has_seen_the_server_work_for_all() -> None:
    """Two processes, 100 and 300 messages; each saw the server use 0.8 ms for the 400 of both."""
    both = worker.together(
        [
            {"per_second": 100.0, "client_us": 40.0, "server_us": 8.0, "messages": 100},
            {"per_second": 300.0, "client_us": 20.0, "server_us": 8 / 3, "messages": 300},
        ]
    )
    assert both == {"per_second": 400.0, "client_us": 25.0, "server_us": pytest.approx(2.0), "messages": 400}


def test_one_process_alone_is_as_it_said() -> None:
    said = {"per_second": 100.0, "client_us": 40.0, "server_us": 8.0, "messages": 100}
    assert worker.together([said]) == said


def test_a_round_has_each_scenario_of_each_contestant_and_those_of_a_scenario_side_by_side() -> None:
    for number in range(3):
        runs = worker.plan(ENTRIES, ("noop", "slow", "idle"), number)
        assert sorted((what, one.name) for what, one in runs) == sorted(
            (what, one.name)
            for what in (("noop", "slow", "idle") if number == 0 else ("noop", "slow"))
            for one in ENTRIES
            if what in one.scenarios
        )
        scenarios = [what for what, _ in runs]
        changes = sum(before != after for before, after in pairwise(scenarios))
        assert changes == len(set(scenarios)) - 1
    assert worker.plan(ENTRIES, RATES, 1) != worker.plan(ENTRIES, RATES, 2)


def test_ours_asynq_and_bullmq_do_the_same_with_the_same_slots() -> None:
    for what in (*RATES, "start"):
        told = [SCENARIOS[what].options(one) for one in (*OURS[:2], *FOREIGN) if what in one.scenarios]
        assert len(told) == 4
        assert all(each == told[0] for each in told)


def test_as_many_messages_as_slots_and_handlers_allow() -> None:
    assert Load("", handler_ms=10).per_second(THREADS) == 1600
    assert Load("", processes=4).per_second(THREADS) == 2 * THREADS.per_second


@pytest.mark.parametrize("what", RATES)
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda one: one.name)
def test_there_are_more_messages_than_the_fastest_run_takes(entry: Entry, what: str) -> None:
    """At the rate that is expected at most: for the warm-up, for the second that counts, and some more."""
    load = SCENARIOS[what]
    rate = load.per_second(entry)
    warm_up = max(0.3 * rate, min(5000 * load.processes, 2.0 * rate))
    assert worker.enough(entry, load) > warm_up + rate


def test_a_table_has_the_median_and_how_far_the_rounds_are_apart() -> None:
    page = worker_report.markdown(rate(ASYNQ.name, "slow", 1000.0, 1500.0, 1400.0, client_us=30.25))
    assert row(page, SCENARIOS["slow"].title_for(ASYNQ), ASYNQ.name) == [
        "1,400 (1,000 to 1,500)",
        "30.2 (30.2 to 30.2)",
        "2.0 (2.0 to 2.0)",
    ]
    assert "Load average of the machine before each run: 1.5 (0.5 to 2.5)." in page


def test_what_cannot_take_part_and_what_failed_is_said() -> None:
    page = worker_report.markdown(
        [
            {"who": ASYNQ.name, "what": "missing", "problem": "no go on PATH"},
            {"who": BULLMQ.name, "what": "large", "repetition": 0, "problem": "ran out of tasks"},
            *rate(THREADS.name, "large", 9.0),
            *rate(THREADS.name, "noop", 9.0),
            {"who": THREADS.name, "what": "start", "start_ms": 9.0, "cpu_ms": 9.0},
        ]
    )
    assert page.count(f"\n| {ASYNQ.name}: missing, no go on PATH |") == 2
    assert SCENARIOS["slow"].title_for(ASYNQ) not in page
    assert row(page, SCENARIOS["large"].title_for(ASYNQ), f"{ASYNQ.name}: missing, no go on PATH") == [""] * 3
    assert row(page, SCENARIOS["large"].title_for(ASYNQ), BULLMQ.name)[0] == "failed: ran out of tasks"
    assert row(page, SCENARIOS["large"].title_for(ASYNQ), f"**{THREADS.name}**")[0] == "9"


def test_starts_wake_ups_and_what_comes_back() -> None:
    who = BULLMQ.name
    page = worker_report.markdown(
        [
            {"who": who, "what": "start", "start_ms": 301.4, "cpu_ms": 250.0},
            {
                "who": who,
                "what": "idle",
                "delays_ms": [1.0, 3.0],
                "idle_cpu_percent": 0.1,
                "resident_mib": 70.2,
            },
            {"who": who, "what": "killed", "first_s": 31.2, "last_s": 59.9},
        ]
    )
    lines = [line for line in page.splitlines() if line.startswith(f"| {who} |")]
    assert [line.removeprefix(f"| {who} |").strip(" |") for line in lines] == [
        "|  |  |  | 2.0 / 3.0 | 0.1 | 70".strip(" |"),
        "301 | 250",
        "31 | 60",
    ]


def test_ratios_to_python_s_fastest_and_to_each_other_language() -> None:
    page = worker_report.markdown(
        [
            *rate(THREADS.name, "noop", 30.0),
            *rate(PEERS[0].name, "noop", 10.0),
            *rate(PEERS[1].name, "noop", 5.0),
            *rate(ASYNQ.name, "noop", 20.0),
        ]
    )
    assert "Ours against the fastest task queue of Python: 3.0x with one process (goal 2x)." in page
    assert f"Ours against {ASYNQ.name}: 1.5x with one process." in page
    assert BULLMQ.name not in page
