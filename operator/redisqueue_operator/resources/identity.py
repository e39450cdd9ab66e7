"""Names, labels, ownership: what all children have in common."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from redisqueue_operator.api.definition import API_VERSION, KIND

if TYPE_CHECKING:
    from redisqueue_operator.api.model import RedisQueue

CONFIG_HASH = "redisqueue.dev/config-hash"
OWNER_UID = "redisqueue.dev/owner-uid"
OPERATOR_VERSION = "redisqueue.dev/operator-version"
TRACK = "redisqueue.dev/track"
CANARY = "canary"
URL_VERSION = "redisqueue.dev/url-version"
WORKER_CONTAINER = "worker"


def deployment_name(name: str) -> str:
    """Name of the Deployment of the RedisQueue `name`."""
    return f"{name}-worker"


def canary_name(name: str) -> str:
    """Name of the Deployment that tries a new template of the RedisQueue `name`; no longer than the other."""
    return f"{name}-canary"


def stable_name(name: str) -> str:
    """Name of the ConfigMap with the template that all workers of the RedisQueue `name` have."""
    return f"{name}-stable"


def selector_labels(name: str) -> dict[str, str]:
    """The labels that select the worker pods. They can never change: a Deployment's selector is immutable."""
    return {"app.kubernetes.io/name": "redisqueue-worker", "redisqueue.dev/queue": name}


def labels(name: str) -> dict[str, str]:
    """All labels of a child, and of a pod."""
    return {
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/managed-by": "redisqueue-operator",
        **selector_labels(name),
    }


def metadata(rq: RedisQueue, name: str, operator_version: str) -> dict[str, Any]:
    """The metadata of a child. With deletionPolicy Orphan it has no owner, to outlive the RedisQueue."""
    result: dict[str, Any] = {
        "name": name,
        "namespace": rq.key.namespace,
        "labels": labels(rq.key.name),
        "annotations": {OWNER_UID: rq.uid, OPERATOR_VERSION: operator_version},
    }
    if rq.spec.deletion_policy != "Orphan":
        owner = {"apiVersion": API_VERSION, "kind": KIND, "name": rq.key.name, "uid": rq.uid}
        result["ownerReferences"] = [{**owner, "controller": True}]
    return result


def digest(value: Any) -> str:
    """Ten hexadecimal digits that identify a JSON value."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]
