"""The PodDisruptionBudget: a node drain takes a few workers at a time, each with its whole grace period."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redisqueue_operator.decide.children import identity

if TYPE_CHECKING:
    from redisqueue_operator.api.model import RedisQueue


def manifest(rq: RedisQueue, operator_version: str) -> dict[str, Any] | None:
    """The PodDisruptionBudget, or None when the spec wants none. Pods that are not ready may always go."""
    if rq.spec.disruption_budget.mode == "None":
        return None
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": identity.metadata(rq, identity.deployment_name(rq.key.name), operator_version),
        "spec": {
            "maxUnavailable": rq.spec.disruption_budget.max_unavailable,
            "selector": {"matchLabels": identity.selector_labels(rq.key.name)},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
