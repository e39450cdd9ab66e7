"""Whose turn it is to roll over when a newer operator makes another template of every Deployment.

A template that turns out wrong so stops at a few queues. What people change rolls at once.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from redisqueue_operator.api.objects import OVERDUE, annotation_of, conditions_of
from redisqueue_operator.decide.children.deployment import config_hash
from redisqueue_operator.decide.children.identity import OPERATOR_VERSION

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


MOST_AT_ONCE = 5


def is_upgrade(live: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether the pods of the Deployment `live` would be replaced because another operator is at work."""
    by_another = operator_version_of(live) != operator_version_of(wanted)
    return by_another and _replicas(live) > 0 and config_hash(live) != config_hash(wanted)


def rolling(version: str, deployments: Iterable[dict[str, Any]]) -> int:
    """How many Deployments roll over to what an operator of that version wrote."""
    return sum(is_rolling(each) for each in deployments if operator_version_of(each) == version)


def must_wait(rolling: int | None, starting: int) -> bool:
    """Whether another rollout has to wait for its turn.

    Args:
        rolling: how many there are; None while that is not known.
        starting: rollouts that are being written and may not show among these yet.
    """
    return rolling is None or starting + rolling >= MOST_AT_ONCE


def is_rolling(deployment: dict[str, Any]) -> bool:
    """Whether it replaces pods. One that does not get on is no longer waited for, when Kubernetes says so."""
    status = deployment.get("status") or {}
    if conditions_of(status).get("Progressing", {}).get("reason") == OVERDUE:
        return False
    wanted = _replicas(deployment)
    updated = status.get("updatedReplicas") or 0
    if wanted == 0:
        return False
    seen = status.get("observedGeneration") or 0
    behind = seen < deployment["metadata"].get("generation", 0)
    return behind or updated < wanted or (status.get("replicas") or 0) > updated


def operator_version_of(child: dict[str, Any]) -> str:
    """The operator's version that wrote it; empty when none is known."""
    return annotation_of(child, OPERATOR_VERSION)


def _replicas(deployment: dict[str, Any]) -> int:
    return int(deployment["spec"].get("replicas", 1))
