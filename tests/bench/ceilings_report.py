"""What `make bench-ceilings` tells: tables, and a plot of what grows."""

from __future__ import annotations

import json
from math import log10
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from tests.bench.report import grid
from tests.simulate.plot import COLOURS, GAP, LEFT, RIGHT, WIDTH, drawing, placed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Result = dict[str, Any]
NAMES = {
    "workers": "worker processes",
    "pending": "pending",
    "payload": "bytes of a payload",
    "in flight, in order": "in flight, settled in order",
    "in flight, in any order": "in flight, settled in any order",
    "limit keys": "limit keys",
}
HEIGHT = 150
COSTS = ("server_us", "client_us")


def duration(us: float) -> str:
    """For a table: microseconds below ten milliseconds."""
    if us < 10_000:
        return f"{us:,.0f} µs"
    return f"{us / 1000:,.0f} ms" if us < 10_000_000 else f"{us / 1_000_000:,.0f} s"


def markdown(results: Sequence[Result]) -> str:
    """All tables."""
    parts = [growth(results), calls(results)]
    return "\n\n".join(part for part in parts if part)


def growth(results: Sequence[Result]) -> str:
    """A row for each size. Rates are what the processor time comes to: those of a run are one machine's."""
    rows = [
        (
            f"{one['size']:,} {NAMES[one['what']]}",
            *(f"{one[which]:,.1f}" for which in COSTS),
            *(f"{_rounded(1e6 / one[which]):,}" for which in COSTS),
        )
        for one in results
        if one["what"] in NAMES
    ]
    head = ("Queue", "server µs each", "client µs each", "a second by a core of the server", "of the client")
    return grid(head, rows) if rows else ""


def _rounded(rate: float) -> int:
    """To two digits."""
    return int(float(f"{rate:.2g}"))


def calls(results: Sequence[Result]) -> str:
    """A row for each call: what it costs the server, and the longest command where there are several."""
    told = [one for one in results if one["what"] == "calls"]
    if not told:
        return ""
    sizes = [*told[0]["us"]]
    rows = [(one["call"], *(_cell(one, size) for size in sizes)) for one in told]
    return grid(("Server time of a call", *sizes), rows)


def _cell(one: Result, size: str) -> str:
    us, longest = one["us"][size], one["longest_us"][size]
    return (
        f"{duration(us)}, longest {duration(longest)}" if us > 10_000 and longest < us / 2 else duration(us)
    )


def plot_of(file: Path) -> str:
    """The plot of a file that was written before."""
    return plot(json.loads(file.read_text())["results"])


def plot(results: Sequence[Result]) -> str:
    """Server and client microseconds of a message over each size, both axes logarithmic."""
    panels = [
        (name, points)
        for what, name in NAMES.items()
        if len(points := [one for one in results if one["what"] == what]) > 1
    ]
    drawn = [
        placed(LEFT, GAP + place * (HEIGHT + 2 * GAP), _panel(name, points))
        for place, (name, points) in enumerate(panels)
    ]
    height = GAP + len(panels) * (HEIGHT + 2 * GAP)
    return drawing(height, drawn)


def _panel(name: str, points: Sequence[Result]) -> str:
    right = WIDTH - LEFT - RIGHT
    costs = [one[which] for one in points for which in COSTS]
    low, high = _decades(costs)
    first, last = log10(points[0]["size"]), log10(points[-1]["size"])

    def x(size: float) -> float:
        return round(right * (log10(size) - first) / (last - first), 1)

    def y(us: float) -> float:
        return round(HEIGHT * (high - log10(us)) / (high - low), 1)

    parts = [f'<path d="M0 0V{HEIGHT}H{right}" fill="none" stroke="black"/>']
    parts += [
        f'<text x="-6" y="{y(10**power) + 4}" text-anchor="end">{10**power:g} µs</text>'
        for power in range(low, high + 1)
    ]
    parts += [
        f'<text x="{x(one["size"])}" y="{HEIGHT + 14}" text-anchor="middle">{one["size"]:,}</text>'
        for one in points
    ]
    for which, colour, shift in (("server_us", COLOURS[0], 0), ("client_us", COLOURS[2], 130)):
        line = " ".join(f"{x(one['size'])},{y(one[which])}" for one in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        word = which.removesuffix("_us")
        parts.append(f'<text x="{right - 250 + shift}" y="-6" fill="{colour}">{word}, µs a message</text>')
    parts.append(f'<text x="4" y="-6" font-weight="bold">{escape(name)}</text>')
    return "".join(parts)


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low, high = int(log10(min(values)) // 1), int(-(-log10(max(values)) // 1))
    return low, max(high, low + 1)
