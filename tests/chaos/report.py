"""What a run has shown: a table of its faults, the verdict, and a picture."""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from tests.simulate.plot import BUCKETS, GAP, RIGHT, ROW, WIDTH, drawing, placed

if TYPE_CHECKING:
    from collections.abc import Sequence

LEFT, LANE = 160, 16


def markdown(results: Sequence[dict[str, Any]]) -> str:
    """Of runs as `Outcome.plain` tells them: one table of all, then a line for each."""
    return "\n".join([*_table(results), "", *map(_line, results)])


def _table(results: Sequence[dict[str, Any]]) -> list[str]:
    found = defaultdict(list)
    repeats: dict[str, int] = defaultdict(int)
    for result in results:
        for each in result["happened"]:
            found[each.get("name", each["fault"])].append(each)
        for each in result["verdict"]["repeats"]:
            repeats[each["cause"]] += 1
    rows = [
        "| fault | times | lasted, s | all well again after, s: median | most | handled again |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for fault, them in sorted(found.items()):
        lasted = [each["mended"] - each["began"] for each in them]
        took = [each["recovered"] - each["mended"] for each in them if each["recovered"] is not None]
        middle, most = (f"{median(took):.1f}", f"{max(took):.1f}") if took else ("", "")
        if len(took) < len(them):
            most = "never"
        span = f"{min(lasted):.0f} to {max(lasted):.0f}"
        rows.append(f"| {fault} | {len(them)} | {span} | {middle} | {most} | {repeats[fault]} |")
    return rows


def _line(result: dict[str, Any]) -> str:
    verdict = result["verdict"]
    unexplained = sum(not each["cause"] for each in verdict["repeats"])
    waits = verdict["waits_seconds"]
    return (
        f"Seed {result['seed']}: {verdict['enqueued']} enqueued, {verdict['handled']} handled, "
        f"{len(verdict['lost'])} lost, {len(verdict['repeats'])} handled again, "
        f"{unexplained} without a cause; "
        f"wait p50 {_part(waits, 0.5)} s, p99 {_part(waits, 0.99)} s, longest {_part(waits, 1.0)} s; "
        f"{len(result['happened'])} of {result['planned']} faults in time."
    )


def _part(them: Sequence[float], part: float) -> str:
    return f"{max(0.0, them[min(len(them) - 1, int(len(them) * part))]):.1f}" if them else "?"


def picture(result: dict[str, Any]) -> str:
    """An SVG: what was enqueued and handled, and beneath it each fault until all was well again."""
    end = max([1.0, *result["handled_at"], *(each["mended"] for each in result["happened"])])
    names = sorted({each["fault"] for each in result["happened"]})
    height = 3 * GAP + 2 * ROW + len(names) * LANE + GAP
    parts = [
        placed(LEFT, GAP, _bars("enqueued", result["enqueued_at"], end, "#66bb6a")),
        placed(LEFT, 2 * GAP + ROW, _bars("handled", result["handled_at"], end, "#1565c0")),
        placed(LEFT, 3 * GAP + 2 * ROW, _lanes(names, result["happened"], end)),
    ]
    title = f"Chaos, seed {result['seed']}: each fault, and until when all was well again"
    heading = f'<text x="{LEFT}" y="16" font-weight="bold">{escape(title)}</text>'
    return drawing(height, [heading, *parts])


def _x(at: float, end: float) -> float:
    return round((WIDTH - LEFT - RIGHT) * at / end, 1)


def _bars(name: str, times: Sequence[float], end: float, colour: str) -> str:
    counts = [0] * BUCKETS
    for at in times:
        counts[min(BUCKETS - 1, int(at / end * BUCKETS))] += 1
    most = max(counts) or 1
    width = (WIDTH - LEFT - RIGHT) / BUCKETS
    bars = [
        f'<rect x="{place * width:.1f}" y="{ROW * (1 - count / most):.1f}" width="{width:.1f}" '
        f'height="{ROW * count / most:.1f}"/>'
        for place, count in enumerate(counts)
        if count
    ]
    right = WIDTH - LEFT - RIGHT
    return (
        f'<g fill="{colour}">{"".join(bars)}</g><path d="M0 0V{ROW}H{right}" fill="none" stroke="black"/>'
        f'<text x="4" y="-5">{name}</text>'
        f'<text x="-6" y="10" text-anchor="end">{most / (end / BUCKETS):.3g}/s</text>'
    )


def _lanes(names: Sequence[str], happened: Sequence[dict[str, Any]], end: float) -> str:
    """Dark while it lasts, light until all is well again."""
    drawn = []
    for place, name in enumerate(names):
        y = place * LANE
        drawn.append(f'<text x="-6" y="{y + 11}" text-anchor="end">{escape(name)}</text>')
        for each in happened:
            if each["fault"] == name:
                well = end if each["recovered"] is None else each["recovered"]
                drawn.append(_span(y, each["began"], well, end, "#ffcc80"))
                drawn.append(_span(y, each["began"], each["mended"], end, "#c62828"))
    right, bottom = WIDTH - LEFT - RIGHT, len(names) * LANE + 14
    drawn.append(f'<text x="{right}" y="{bottom}" text-anchor="end">{end / 60:.1f} min</text>')
    return "".join(drawn)


def _span(y: float, since: float, until: float, end: float, colour: str) -> str:
    left = _x(since, end)
    width = max(1.0, _x(until, end) - left)
    return f'<rect x="{left}" y="{y}" width="{width:.1f}" height="{LANE - 4}" fill="{colour}"/>'
