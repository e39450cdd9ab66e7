"""How many of the workers have the version on trial. The scaler chooses their sum."""

from __future__ import annotations

import math
from typing import NamedTuple


class Split(NamedTuple):
    """Workers of each version."""

    stable: int
    canary: int


def share(total: int, percent: float) -> int:
    """The canary's part of `total` workers: at least one, and not all as long as there are two."""
    if total < 2:
        return max(0, total)
    return min(total - 1, max(1, math.ceil(total * percent / 100)))


def split(target: int, now: Split, *, victims: Split, percent: float | None) -> Split:
    """Who is to have how many of `target` workers.

    Args:
        target: the sum that the scaler wants.
        now: what both have.
        victims: how many of the workers that are to go each has; a shrink takes these and no others.
        percent: the canary's share when more are started; None when none of them shall be canaries.
    """
    canary = min(target, now.canary - victims.canary)
    if percent is not None and target > sum(now):
        # The first worker is none: nobody shall wait for one that may never start.
        canary = max(canary, min(share(target, percent), target - max(1, now.stable)))
    return Split(target - canary, canary)


def missing_canaries(to: int, wanted: int, canaries: int, percent: float) -> int:
    """How many to start beside the others, which shrink when they are idle.

    Args:
        to: the sum that the scaler has settled on.
        wanted: the need before anything held it back; without need no canary is started.
        canaries: how many there are.
    """
    return max(0, share(min(to, wanted), percent) - canaries)
