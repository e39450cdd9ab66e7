"""The Deployment of workers that try a new template: the other one's twin with a label more."""

from __future__ import annotations

import copy
from typing import Any

from redisqueue_operator.decide.children import identity

_TRACK = {identity.TRACK: identity.CANARY}


def canary_of(deployment: dict[str, Any], name: str) -> dict[str, Any]:
    """The manifest, from that of the Deployment of all workers of the RedisQueue `name`.

    Its pods bear the labels of all workers, so that budget, counters and selectors find them; the ReplicaSets
    of the two Deployments are kept apart by their owners. The config hash is that of the template to come.
    """
    canary = copy.deepcopy(deployment)
    canary["metadata"]["name"] = identity.canary_name(name)
    canary["metadata"]["labels"] |= _TRACK
    canary["spec"]["selector"]["matchLabels"] |= _TRACK
    canary["spec"]["template"]["metadata"]["labels"] |= _TRACK
    return identity.sealed(canary, canary["metadata"]["annotations"].get(identity.OPERATOR, ""))


def config_hash(deployment: dict[str, Any] | None) -> str:
    """The hash of a Deployment's pod template; empty without one."""
    if deployment is None:
        return ""
    template = deployment["spec"].get("template") or {}
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    return str(annotations.get(identity.CONFIG_HASH, ""))
