"""Series as lines and areas of SVG. Sizes are units of the drawing, which the page stretches."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from redisqueue_operator.serve.page.elements import classed, element
from redisqueue_operator.serve.page.history import BINS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from xml.etree.ElementTree import Element

    from redisqueue_operator.serve.page.model import Series

HEIGHT, SPARK_HEIGHT = 100, 28


class Curve(NamedTuple):
    """One series of a plot. `style` is a class of the page's style: `area-1`, `line-2`, …"""

    name: str
    style: str
    values: Series


def ceiling(highest: float) -> float:
    """A round number that is not below it, for the top of a scale; at least 1."""
    if highest <= 1:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next(step * power for step in (1, 2, 4, 5, 10) if step * power >= highest)


def highest(curves: Sequence[Curve]) -> float:
    """Of all their values; 0 where none is known."""
    return max((value for curve in curves for value in curve.values if value is not None), default=0.0)


def runs(values: Series) -> Iterator[tuple[int, list[float]]]:
    """The parts without a gap: where each begins, and its values."""
    start, run = 0, list[float]()
    for place, value in enumerate((*values, None)):
        if value is not None:
            start = start if run else place
            run.append(value)
        elif run:
            yield start, run
            run = []


def outline(values: Series, top: float, height: float, *, closed: bool) -> str:
    """The path of a series: level in a half minute, cut where it is not known, to the ground if `closed`."""
    parts = []
    for start, run in runs(values):
        heights = [_number(height - height * value / top) for value in run]
        path = [f"M{start} {_number(height)}V{heights[0]}"] if closed else [f"M{start} {heights[0]}"]
        steps = (place for place in range(1, len(run)) if heights[place] != heights[place - 1])
        path += [*(f"H{start + place}V{heights[place]}" for place in steps), f"H{start + len(run)}"]
        parts.append("".join(path) + (f"V{_number(height)}Z" if closed else ""))
    return "".join(parts)


def spark(curves: Sequence[Curve], said: str) -> Element:
    """The last hour in a cell, each curve on a scale of its own; `said` to whoever does not see it."""
    drawn = [_path(curve, ceiling(highest([curve])), SPARK_HEIGHT) for curve in curves if any(curve.values)]
    attributes = {**_box(SPARK_HEIGHT), "class": "spark", "role": "img", "aria-label": said}
    return element("svg", attributes, element("title", None, said), *drawn)


def plot(curves: Sequence[Curve], said: str, told: Callable[[int], str]) -> Element:
    """A whole drawing; `told` says what a half minute, by its place, is told of under the pointer."""
    top = ceiling(highest(curves))
    known = [any(curve.values[place] is not None for curve in curves) for place in range(BINS)]
    lines = [
        element("line", {"class": "grid", "x1": "0", "x2": str(BINS), "y1": str(y), "y2": str(y)})
        for y in (0, HEIGHT // 2, HEIGHT)
    ]
    drawn = [
        *(_gap(start, len(run)) for start, run in runs(tuple(None if each else 1.0 for each in known))),
        *lines,
        *(_path(curve, top, HEIGHT) for curve in curves),
        *(_hint(place, told(place)) for place in range(BINS) if known[place]),
    ]
    attributes = {**_box(HEIGHT), "class": "plot", "role": "img", "aria-label": said}
    return element("svg", attributes, *drawn)


def _path(curve: Curve, top: float, height: float) -> Element:
    area = curve.style.startswith("area")
    drawn = outline(curve.values, top, height, closed=area)
    return element("path", {"class": curve.style, "d": drawn or "M0 0"})


def _gap(start: int, lasts: int) -> Element:
    where = {"x": str(start), "y": "0", "width": str(lasts), "height": str(HEIGHT)}
    return element("rect", {"class": "gap", **where}, element("title", None, "not known"))


def _hint(place: int, text: str) -> Element:
    where = {"x": str(place), "y": "0", "width": "1", "height": str(HEIGHT)}
    return element("rect", {"class": "hint", **where}, element("title", None, text))


def _box(height: float) -> dict[str, str]:
    return {"viewBox": f"0 0 {BINS} {_number(height)}", "preserveAspectRatio": "none"}


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def legend(curves: Sequence[Curve]) -> Element:
    """The names of the curves, with their marks."""
    marks = ((curve, classed("span", f"mark {curve.style}")) for curve in curves)
    return classed("ul", "legend", *(element("li", None, mark, curve.name) for curve, mark in marks))
