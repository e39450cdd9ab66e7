"""Which faults, when, and for how long: a pure function of the seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PAUSE_SECONDS = (2.0, 6.0)
"""Between what one fault was and the next one."""


@dataclass(frozen=True)
class Step:
    """One fault: not before `at_seconds` of the run, mended after `hold_seconds`."""

    at_seconds: float
    fault: str
    hold_seconds: float
    seed: int
    """What else is left to chance, such as which pod."""


def plan(seed: int, seconds: float, holds: Mapping[str, tuple[float, float]]) -> list[Step]:
    """The steps of a run that takes `seconds` at most; `holds` has the faults, and how long each lasts.

    Every fault comes before any comes again.
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
        hold = draw.uniform(*holds[fault])
        if at + hold > seconds:
            break
        steps.append(Step(round(at, 1), fault, round(hold, 1), draw.randrange(2**32)))
        at += hold + draw.uniform(*PAUSE_SECONDS)
    return steps
