"""The demo's verdicts must be able to fail: each kind of fault is found and named."""

from __future__ import annotations

import platform
from dataclasses import replace
from typing import Any

import pytest

from redisqueue_operator.demo.checks import Outcome, checks
from redisqueue_operator.demo.handler import describe, pack, unpack

SOURCE = b"class A:\n    def f(self): ...\n    async def g(self): ...\n"


def report(**changes: Any) -> dict[str, Any]:
    return {**describe(SOURCE), "python": platform.python_version(), **changes}


GOOD = Outcome(
    files=["a.py", "b.py"],
    accepted=2,
    reports={"a.py": report(), "b.py": report()},
    handlings={"a.py": 1, "b.py": 1},
    direct={"a.py": describe(SOURCE), "b.py": describe(SOURCE)},
    left_over={"pending": 0, "dead letters": 0},
    replicas=[0, 4, 2, 0],
)


def test_a_good_run_passes_and_says_what_it_proved() -> None:
    verdicts = checks(GOOD)
    assert all(verdict.ok for verdict in verdicts)
    text = "\n".join(verdict.text for verdict in verdicts)
    for fact in ("none lost: 2", "each handled once: 2", "4 functions, 2 classes", "0 → 4 → 2 → 0"):
        assert fact in text


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ({"accepted": 1}, "only 1 of 2 messages were accepted"),
        ({"reports": {"a.py": report()}}, "1 files without a report (b.py)"),
        ({"reports": {**GOOD.reports, "c.py": report()}}, "1 unknown (c.py)"),
        ({"handlings": {"a.py": 1, "b.py": 2}}, "not exactly once (b.py)"),
        ({"handlings": {"a.py": 1}}, "1 files handled"),
        (
            {"reports": {**GOOD.reports, "b.py": report(classes=2)}},
            "1 reports differ from the direct count (b.py)",
        ),
        (
            {"reports": {**GOOD.reports, "b.py": report(sha256="0")}},
            "1 reports differ from the direct count (b.py)",
        ),
        ({"direct": {}}, "reports differ from the direct count"),
        ({"left_over": {"pending": 0, "dead letters": 3}}, "3 dead letters"),
        ({"replicas": [0, 4, 1]}, "replicas went 0 → 4 → 1"),
        ({"replicas": [0]}, "replicas went 0"),
        ({"replicas": []}, "no replicas"),
    ],
)
def test_a_fault_is_found_and_named(fault: dict[str, Any], named: str) -> None:
    failed = [verdict.text for verdict in checks(replace(GOOD, **fault)) if not verdict.ok]
    assert any(named in text for text in failed), failed


def test_a_file_that_only_the_other_python_parses_is_compared_by_content() -> None:
    unparsed = report(functions=0, classes=0, error="SyntaxError", python="2.7.18")
    verdicts = checks(replace(GOOD, reports={**GOOD.reports, "b.py": unparsed}))
    assert all(verdict.ok for verdict in verdicts)
    assert any("1 files by digest only" in verdict.text for verdict in verdicts)


def test_the_same_python_must_parse_the_same_files() -> None:
    unparsed = report(functions=0, classes=0, error="SyntaxError")
    assert not all(
        verdict.ok for verdict in checks(replace(GOOD, reports={**GOOD.reports, "b.py": unparsed}))
    )


def test_the_handler_counts_functions_and_classes_and_survives_what_is_no_python() -> None:
    assert {key: describe(SOURCE)[key] for key in ("functions", "classes", "error")} == {
        "functions": 2,
        "classes": 1,
        "error": "",
    }
    assert describe(b"print 'two'")["error"] == "SyntaxError"
    assert describe(b"\x00")["error"]


def test_a_file_survives_the_message() -> None:
    source = bytes(range(256)) * 3
    assert unpack(pack(source)) == source
