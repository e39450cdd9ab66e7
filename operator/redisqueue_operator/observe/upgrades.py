"""How many Deployments roll over to what this operator's version wrote: seen, or just about to be."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from redisqueue_operator.decide.upgrade_budget import rolling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from redisqueue_operator.api.model import Key
    from redisqueue_operator.kubernetes_api import Object

COUNT_SECONDS = 1.0


class Upgrades:
    """Counts them, at most once a second and after each start: all that wait for a turn ask.

    Args:
        version: the operator's own.
        deployments: all there are; None while that is not known.
    """

    def __init__(self, version: str, deployments: Callable[[], Iterable[Object] | None]) -> None:
        self._version = version
        self._deployments = deployments
        self.starting: set[Key] = set()
        """Whose rollout is being written, and may not show yet."""
        self._counted, self._counted_at = 0, -math.inf

    def rolling(self) -> int | None:
        """How many roll; None while that is not known."""
        deployments = self._deployments()
        if deployments is None:
            return None
        now = time.monotonic()
        if now - self._counted_at > COUNT_SECONDS:
            self._counted, self._counted_at = rolling(self._version, deployments), now
        return self._counted

    def started(self, key: Key) -> None:
        """Its rollout was written, or failed: the Deployment itself tells how it goes on."""
        if key in self.starting:  # else it is no upgrade, and to count at each write would be quadratic
            self.starting.discard(key)
            self._counted_at = -math.inf
