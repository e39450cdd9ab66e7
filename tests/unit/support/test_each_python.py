"""The smoke set of the other Pythons: what it names is there, and what it leaves out is known."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "tests" / "support" / "each_python"
LEFT_OUT = {
    *("tests/unit/charts", "tests/unit/monitoring"),  # Helm and Prometheus work there
    *("tests/unit/bench", "tests/unit/release", "tests/unit/simulate"),  # tools of the repository
    *("tests/unit/decide/canary", "tests/unit/decide/scaling", "tests/unit/decide/status"),  # arithmetic
}


def test_a_new_folder_of_unit_tests_runs_on_each_python() -> None:
    begin, end = "smoke=(\n", "\n)\n"
    chosen = SCRIPT.read_text("utf-8").partition(begin)[2].partition(end)[0].split()
    left_out = {word.removeprefix("--ignore=") for word in chosen if word.startswith("--ignore=")}
    assert left_out == LEFT_OUT
    assert "tests/unit" in chosen
    assert [
        word for word in {*chosen, *left_out} if not word.startswith("-") and not (ROOT / word).exists()
    ] == []
