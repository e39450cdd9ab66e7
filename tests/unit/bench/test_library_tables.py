"""What `make bench-library` makes of its measurements."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bench import report
from tests.bench.contestants import ASYNQ, BASE, BULLMQ, OURS
from tests.bench.library import QUICK, plan
from tests.bench.outcome import Outcome, retell

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def one(who: str, scenario: str, per_second: float) -> dict[str, object]:
    costs = {"client_us": 40.0, "server_us": 20.0, "repetition": 0}
    return {"contestant": who, "scenario": scenario, "delayed": False, "per_second": per_second, **costs}


RESULTS = [
    one(OURS, "publish_dedup", 100.0),
    one(OURS, "async_publish", 90.0),
    one(ASYNQ.name, "publish_dedup", 70.0),
    one(ASYNQ.name, "publish_dedup", 80.0),
    {"contestant": BULLMQ.name, "missing": "no node on PATH"},
]


def test_a_producer_of_another_language_stands_beside_ours() -> None:
    lines = report.markdown(RESULTS).splitlines()
    assert f"| {OURS} | 100 | 40.0 | 20.0 |  |  |  |  |  |  |" in lines
    assert f"| {OURS}, asyncio |  |  |  | 90 | 40.0 | 20.0 |  |  |  |" in lines
    assert f"| {ASYNQ.name} | 75 (70 to 80) | 40.0 | 20.0 |  |  |  |  |  |  |" in lines


def test_one_that_cannot_take_part_is_said_to_be_missing() -> None:
    said = [line for line in report.markdown(RESULTS).splitlines() if "no node on PATH" in line]
    assert said
    assert all(line.startswith(f"| {BULLMQ.name}: missing, no node on PATH |") for line in said)


def test_the_tables_of_a_file_are_those_of_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "speed.json"
    Outcome("2 cores", "3.12").tell(RESULTS, report.markdown, file)
    printed = capsys.readouterr().out
    retell(file, report.markdown)
    assert capsys.readouterr().out == printed


def test_a_quick_run_has_ours_its_ancestor_and_the_other_languages_in_each_kind_of_publishing() -> None:
    (runs,) = plan(QUICK)
    assert {run.contestant.name for run in runs} == {OURS, BASE, ASYNQ.name, BULLMQ.name}
    for scenario in ("publish", "publish_dedup"):
        assert len([run for run in runs if run.scenario == scenario]) == 4
