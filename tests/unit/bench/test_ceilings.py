"""What the benches of ceilings and of a load that lasts tell of their measurements."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from tests.bench import ceilings_report, held
from tests.support.growth import Sample

ROOT = Path(__file__).parents[3]
STORED = ROOT / "tests/bench/results/ceilings.json"
PAGE = ROOT / "worker/docs/how-far-one-queue-goes.md"
RESULTS = [
    {"what": "pending", "size": 1000, "per_second": 2000.0, "server_us": 10.0, "client_us": 20.0},
    {"what": "pending", "size": 100_000, "per_second": 1000.0, "server_us": 100.0, "client_us": 20.0},
    {"what": "workers", "size": 4, "per_second": 30_000.0, "server_us": 30.0, "client_us": 9.5},
    {
        "what": "calls",
        "call": "find",
        "us": {"small": 9, "large": 3_000_000},
        "longest_us": {"small": 9, "large": 900},
    },
    {
        "what": "calls",
        "call": "purge",
        "us": {"small": 9, "large": 20_000},
        "longest_us": {"small": 9, "large": 20_000},
    },
]


def test_tables_tell_what_a_core_is_enough_for_and_the_longest_of_many_commands() -> None:
    lines = ceilings_report.markdown(RESULTS).splitlines()
    assert "| 100,000 pending | 100.0 | 20.0 | 10,000 | 50,000 |" in lines
    assert "| 4 worker processes | 30.0 | 9.5 | 33,000 | 110,000 |" in lines
    assert "| find | 9 µs | 3,000 ms, longest 900 µs |" in lines
    assert "| purge | 9 µs | 20 ms |" in lines


def test_a_plot_has_a_panel_for_what_has_several_sizes() -> None:
    drawn = ET.fromstring(ceilings_report.plot(RESULTS))
    words = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"pending", "1,000", "100,000", "10 µs", "100 µs"} <= {*words}
    assert "worker processes" not in words
    lines = [line.get("points") for line in drawn.iter("{http://www.w3.org/2000/svg}polyline")]
    assert len(lines) == 2


def lasting(**last: float) -> list[Sample]:
    """Thirty samples that are alike, but for what ends at another number and came there evenly."""
    flat = dict.fromkeys([*held.ALLOWED, *held.RELATIVE], 50.0)
    return [
        Sample(1000.0 * number, {**flat, **{name: 50 + (to - 50) * number / 29 for name, to in last.items()}})
        for number in range(30)
    ]


def test_a_load_that_lasts_is_judged_by_what_grows_and_by_what_is_left() -> None:
    rest = {"leases": 0, "keys without expiry": 2}
    assert held.verdict(lasting(), rest, rest) == []
    assert held.verdict(lasting(**{"memory of workers": 52}), rest, rest) == []
    (grown,) = held.verdict(lasting(**{"memory of workers": 60}), rest, rest)
    assert grown.startswith("memory of workers: from 51")
    assert held.verdict(lasting(), rest, {**rest, "leases": 1}) == ["leases: 1 at the end, 0 before"]
