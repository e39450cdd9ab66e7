"""Tables of benches in READMEs are made from the measurements that lie beside the benches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench import losses_report
from tests.bench.losses_entries import ENTRIES, SCENARIOS

if TYPE_CHECKING:
    from tests.golden.conftest import Written

ROOT = Path(__file__).parents[2]
LOSSES = ROOT / "tests" / "bench" / "results" / "losses.json"


def test_what_each_loses_is_told_as_it_was_measured(written: Written) -> None:
    told = json.loads(LOSSES.read_text())
    written(
        ROOT / "worker" / "README.md",
        "what each loses",
        losses_report.page(told["about"], told["results"]),
    )


def test_each_contestant_of_today_was_measured_in_all_that_it_does() -> None:
    runs = json.loads(LOSSES.read_text())["results"]
    measured = {(run["who"], run["what"]) for run in runs if "problem" not in run}
    assert measured == {(entry.name, what) for entry in ENTRIES for what in entry.only or SCENARIOS}


def test_the_settings_of_each_are_told(written: Written) -> None:
    written(ROOT / "tests" / "README.md", "settings of bench-losses", losses_report.settings())
