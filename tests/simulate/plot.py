"""One load as a picture, an SVG: what arrived, and how many replicas each scaler asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.simulate.loads import Load
    from tests.simulate.play import Outcome

WIDTH, LEFT, RIGHT, ROW, GAP = 900, 60, 12, 90, 34
BUCKETS = 180
COLOURS = ("#1565c0", "#9e9e9e", "#ef6c00", "#6a1b9a", "#90a4ae", "#2e7d32")


def picture(load: Load, outcomes: Sequence[Outcome]) -> str:
    """The arrivals above, then a row for each scaler, all over the same time."""
    end = max(load.messages[-1].arrived, *(at for each in outcomes for at, _ in each.steps[-1:]))
    most = max(each.most_replicas for each in outcomes) or 1
    rows = [_arrivals(load, end)]
    rows += [_steps(each, end, most, colour) for each, colour in zip(outcomes, COLOURS, strict=False)]
    height = GAP + len(rows) * (ROW + GAP)
    parts = [placed(LEFT, GAP + place * (ROW + GAP), row) for place, row in enumerate(rows)]
    title = f'<text x="{LEFT}" y="16" font-weight="bold">{escape(load.name)}: {escape(load.text)}</text>'
    return drawing(height, [title, *parts])


def drawing(height: float, parts: Iterable[str]) -> str:
    """An SVG of these parts, as wide as all are."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
        f"{''.join(parts)}</svg>\n"
    )


def placed(x: float, y: float, part: str) -> str:
    """A part of it, at its place."""
    return f'<g transform="translate({x} {y})">{part}</g>'


def _x(at: float, end: float) -> float:
    return round((WIDTH - LEFT - RIGHT) * at / end, 1)


def _arrivals(load: Load, end: float) -> str:
    counts = [0] * BUCKETS
    for message in load.messages:
        counts[min(BUCKETS - 1, int(message.arrived / end * BUCKETS))] += 1
    width = (WIDTH - LEFT - RIGHT) / BUCKETS
    bars = [
        f'<rect x="{place * width:.1f}" y="{ROW * (1 - count / max(counts)):.1f}" '
        f'width="{width:.1f}" height="{ROW * count / max(counts):.1f}"/>'
        for place, count in enumerate(counts)
        if count
    ]
    top = f"{max(counts) / (end / BUCKETS):.3g}/s"
    return f'<g fill="#66bb6a">{"".join(bars)}</g>{_axis("messages that arrive", top, end)}'


def _steps(outcome: Outcome, end: float, most: int, colour: str) -> str:
    points, height = [(0.0, ROW)], ROW
    for at, replicas in outcome.steps:
        points += [(_x(at, end), height), (_x(at, end), round(ROW * (1 - replicas / most), 1))]
        height = points[-1][1]
    points += [(_x(end, end), height), (_x(end, end), ROW)]
    line = " ".join(f"{x},{y}" for x, y in points)
    name = (
        f"{outcome.scaler}: p99 wait {outcome.wait_p99:.0f} s, {outcome.pod_seconds:.0f} pod-seconds, "
        f"{outcome.interrupted} interrupted, {outcome.flaps} flaps"
    )
    drawn = f'<polyline points="{line}" fill="{colour}" fill-opacity="0.2" stroke="{colour}"/>'
    return drawn + _axis(name, str(most), end)


def _axis(name: str, top: str, end: float) -> str:
    right = WIDTH - LEFT - RIGHT
    return (
        f'<path d="M0 0V{ROW}H{right}" fill="none" stroke="black"/><text x="4" y="-5">{escape(name)}</text>'
        f'<text x="-6" y="10" text-anchor="end">{top}</text><text x="-6" y="{ROW}" text-anchor="end">0</text>'
        f'<text x="{right}" y="{ROW + 13}" text-anchor="end">{end / 60:.0f} min</text>'
    )
