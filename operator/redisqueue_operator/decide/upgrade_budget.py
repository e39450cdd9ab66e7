"""Whose turn it is to roll over when a newer operator makes another template of every Deployment.

A template that turns out wrong so stops at a few queues. What people change rolls at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redisqueue_operator.api.objects import OVERDUE, annotation_of, conditions_of
from redisqueue_operator.decide.children.deployment import config_hash
from redisqueue_operator.decide.children.identity import OPERATOR_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable

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
