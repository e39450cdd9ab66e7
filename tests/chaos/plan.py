"""Which faults, when, and for how long: a pure function of the seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PAUSE_SECONDS = (2.0, 6.0)
"""Between what one fault was and the next one."""
OVERLAPPING_PART = 0.35
"""How often another fault begins before the one before it has healed, where one is left that may."""
NOT_YET_HEALED_SECONDS = 1.0
"""Nobody is well again so soon: also what is mended at once is overlapped by what comes within that time."""


@dataclass(frozen=True)
class Step:
    """One fault: not before `at_seconds` of the run, mended after `hold_seconds`."""

    at_seconds: float
    fault: str
    hold_seconds: float
    seed: int
    """What else is left to chance, such as which pod."""
    overlaps: bool = False
    """Does it begin while the one before it has not healed?"""


def plan(
    seed: int,
    seconds: float,
    holds: Mapping[str, tuple[float, float]],
    may_overlap: Callable[[str, str], bool] = lambda one, other: False,
) -> list[Step]:
    """The steps of a run that takes `seconds` at most; `holds` has the faults, and how long each lasts.

    Every fault comes before any comes again. `may_overlap` says of which two one may begin before the other
    has healed.
    """
    draw = random.Random(seed)
    steps: list[Step] = []
    deck: list[str] = []
    at = draw.uniform(*PAUSE_SECONDS)
    while holds:
        if not deck:
            deck = sorted(holds)
            draw.shuffle(deck)
        fault = deck.pop()
        drawn = [_drawn(draw, at, fault, holds[fault])]
        others = [each for each in deck if may_overlap(fault, each)]
        if draw.random() < OVERLAPPING_PART and others:
            deck.remove(others[-1])
            begins = at + draw.uniform(0, drawn[0].hold_seconds + NOT_YET_HEALED_SECONDS)
            drawn.append(_drawn(draw, begins, others[-1], holds[others[-1]], overlaps=True))
        ends = max(each.at_seconds + each.hold_seconds for each in drawn)
        if ends > seconds:
            break
        steps += drawn
        at = ends + draw.uniform(*PAUSE_SECONDS)
    return steps


def _drawn(
    draw: random.Random, at: float, fault: str, hold: tuple[float, float], *, overlaps: bool = False
) -> Step:
    return Step(round(at, 1), fault, round(draw.uniform(*hold), 1), draw.randrange(2**32), overlaps)


def groups(steps: Sequence[Step]) -> list[list[Step]]:
    """The steps, each with those that begin before it has healed."""
    found: list[list[Step]] = []
    for each in steps:
        if each.overlaps:
            found[-1].append(each)
        else:
            found.append([each])
    return found
