"""The table of the present source beside an older one."""

from __future__ import annotations

from tests.bench.against import table


def test_more_than_one_means_that_the_present_source_is_faster_by_that_measure() -> None:
    present = {"per_second": 300.0, "client_us": 20.0, "server_us": 10.0}
    before = {"per_second": 200.0, "client_us": 30.0, "server_us": 5.0}
    start = [{"start_ms": 100.0, "cpu_ms": 80.0}, {"start_ms": 200.0, "cpu_ms": 80.0}]
    slower = {**present, "per_second": 100.0}
    lines = table([("a", [present, before]), ("a", [slower, before]), ("b", start)]).splitlines()
    assert lines[2:] == [
        "| a | 1.00x (0.50 to 1.50) | 1.50x (1.50 to 1.50) | 0.50x (0.50 to 0.50) |",
        "| b | 2.00x | 1.00x |  |",
    ]


def test_a_run_that_failed_has_no_ratio() -> None:
    assert len(table([("a", [{"problem": "no"}, {"per_second": 1.0}])]).splitlines()) == 2
