"""Whether one version does worse than the other, or whether chance and bad times for both explain it."""

from __future__ import annotations

from math import exp, lgamma
from typing import NamedTuple

CHANCE = 0.005
"""What two versions that are equally good show less often than this, in one look, is no chance."""
CHANCE_IN_AN_OUTAGE = 0.001
"""The same while both fail: there are many looks, and waiting costs less."""
MARGIN = 1.5
"""Up to so many times as often is as often: with many messages any difference would count."""
SILENT_MESSAGES = 20
"""So many more than twice the other's: then the other is hardly at work, and there is nothing to wait for."""


class Share(NamedTuple):
    """So many of so many messages."""

    bad: int
    of: int

    @property
    def part(self) -> float:
        return self.bad / self.of if self.of else 0.0


def is_worse(new: Share, old: Share, chance: float = CHANCE) -> bool:
    """Whether the new version's share is larger than the old one's by more than a margin and chance."""
    return new.part > MARGIN * old.part and _by_chance(new, old, enough=chance) < chance


def is_alone(new: Share, old: Share) -> bool:
    """Whether the old version does too little in the same time to be compared with."""
    return new.of > 2 * old.of + SILENT_MESSAGES


def _by_chance(new: Share, old: Share, enough: float) -> float:
    """Fisher's exact test, one-sided: how likely so many bad ones fall on the new version, or more.

    Exact for the small counts that decide; for large ones the terms fall off fast. Stops at `enough`.
    """
    bad, total = new.bad + old.bad, 0.0
    every = _choices(new.of + old.of, bad)
    for count in range(new.bad, min(bad, new.of) + 1):
        term = exp(_choices(new.of, count) + _choices(old.of, bad - count) - every)
        total += term
        if total >= enough or term < enough * 1e-6:
            break
    return total


def _choices(of: int, count: int) -> float:
    """The logarithm of the ways to choose `count` of so many."""
    return lgamma(of + 1) - lgamma(count + 1) - lgamma(of - count + 1)
