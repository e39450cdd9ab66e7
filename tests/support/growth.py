"""Whether anything grows while messages are handled: samples in, findings out. Time plays no part."""

from __future__ import annotations

from itertools import combinations
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Sample(NamedTuple):
    """What there was when so many messages had been handled: names → numbers; some may be missing."""

    handled: float
    values: Mapping[str, float]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """How much y grows with x, by Theil and Sen: the median of all pairs, which no single point can bend."""
    slopes = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(points, 2) if x2 != x1]
    return median(slopes) if slopes else 0.0


def growth(points: Sequence[tuple[float, float]]) -> float:
    """How much larger the values have become from the first point to the last.

    The smaller of two answers: what the slope says, and the median of the last third less that of the first.
    A trend shows in both. A step up or one large value shows in one alone, unless it lasts.
    """
    if len(points) < 3:
        return 0.0
    third = len(points) // 3
    early, late = (median(y for _, y in part) for part in (points[:third], points[-third:]))
    return min(slope(points) * (points[-1][0] - points[0][0]), late - early)


def findings(samples: Sequence[Sample], allowed: Mapping[str, float]) -> list[str]:
    """What has grown by more than it may, in words; a name that no sample has is a finding, too."""
    found = []
    for name, most in allowed.items():
        points = [(one.handled, one.values[name]) for one in samples if name in one.values]
        if len(points) < 3:
            found.append(f"{name}: {len(points)} samples, which tell nothing")
        elif (grown := growth(points)) > most:
            over = points[-1][0] - points[0][0]
            seen = f"from {points[0][1]:g} to {points[-1][1]:g} over {over:,.0f} messages"
            found.append(f"{name}: {seen}, by {grown:.3g} where {most:g} may be")
    return found
