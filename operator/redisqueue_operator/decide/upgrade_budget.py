"""Whose turn it is to roll over when a newer operator makes another template of every Deployment."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from redisqueue_operator.decide.rollouts import is_upgrade, must_wait, rolling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from redisqueue_operator.api.model import Key
    from redisqueue_operator.kubernetes_api import Object

COUNT_SECONDS = 1.0


class UpgradeBudget:
    """Lets a few Deployments roll over at once.

    Args:
        version: the operator's own.
        deployments: all there are; None while that is not known.
    """

    def __init__(self, version: str, deployments: Callable[[], Iterable[Object] | None]) -> None:
        self._version = version
        self._deployments = deployments
        self._waiting: dict[Key, tuple[object, ...]] = {}
        self._starting: set[Key] = set()
        self._counted, self._counted_at = 0, -math.inf

    def must_wait(self, key: Key, live: Object | None, wanted: Object, inputs: tuple[object, ...]) -> bool:
        """Whether its turn is yet to come, for nothing but another operator; else its turn begins.

        `inputs` are what people had asked for: what they change does not wait.
        """
        if live is None or not is_upgrade(live, wanted):
            self._waiting.pop(key, None)
            return False
        if self._waiting.setdefault(key, inputs) != inputs:
            return False
        if must_wait(self._count(), len(self._starting)):
            return True
        self._starting.add(key)
        return False

    def started(self, key: Key) -> None:
        """Its rollout was written, or failed: the Deployment itself tells how it goes on."""
        self._starting.discard(key)
        self._counted_at = -math.inf

    def forget(self, key: Key) -> None:
        """The RedisQueue is gone."""
        self._waiting.pop(key, None)

    def _count(self) -> int | None:
        # At most once a second and after each start: all that wait ask, and all Deployments are read.
        deployments = self._deployments()
        if deployments is None:
            return None
        now = time.monotonic()
        if now - self._counted_at > COUNT_SECONDS:
            self._counted, self._counted_at = rolling(self._version, deployments), now
        return self._counted
