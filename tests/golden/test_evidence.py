"""What pages say of speed was measured: their tables are those of `tests/bench/results/`, and not old."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from tests.bench import losses_report
from tests.bench.evidence import PARTS, ROOT, Part, releases_since, rounded
from tests.bench.losses_entries import ENTRIES, SCENARIOS

if TYPE_CHECKING:
    from tests.golden.conftest import Written

MEASURED = {part.name: part for part in PARTS if part.file.exists()}
RELEASED = re.findall(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("part", MEASURED.values(), ids=MEASURED)
def test_the_tables_are_those_that_were_measured(part: Part, written: Written) -> None:
    for name, text in part.sections().items():
        written(ROOT / part.page, name, text)


@pytest.mark.parametrize("part", MEASURED.values(), ids=MEASURED)
def test_no_table_is_older_than_a_release(part: Part) -> None:
    measured = json.loads(part.file.read_text())["about"]["version"]
    newer = releases_since(measured, RELEASED)
    assert newer <= 1, f"{part.name} was measured with {measured}: make evidence ARGS='--only {part.name}'"


@pytest.mark.parametrize(
    ("measured", "released", "newer"),
    [
        ("0.1.0", [], 0),
        ("0.1.0", ["0.1.0"], 0),
        ("0.1.0", ["0.2.0", "0.1.0"], 1),
        ("0.2.0rc1", ["0.10.0", "0.2.0", "0.1.0"], 2),
    ],
)
def test_how_old_a_table_is(measured: str, released: list[str], newer: int) -> None:
    assert releases_since(measured, released) == newer


def test_what_is_kept_is_short() -> None:
    told = {"a": [0.123456, 1], "b": {"c": "0.123456", "d": 12345.6}}
    assert rounded(told) == {"a": [0.1235, 1], "b": {"c": "0.123456", "d": 12350.0}}


def test_each_contestant_of_today_was_measured_in_all_that_it_loses() -> None:
    runs = json.loads(MEASURED["losses"].file.read_text())["results"]
    measured = {(run["who"], run["what"]) for run in runs if "problem" not in run}
    assert measured == {(entry.name, what) for entry in ENTRIES for what in entry.only or SCENARIOS}


def test_the_settings_of_each_are_told(written: Written) -> None:
    written(ROOT / "tests" / "README.md", "settings of bench-losses", losses_report.settings())
