"""Names, labels, ownership: what all children have in common."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from redisqueue_operator.api.definition import API_VERSION, KIND
from redisqueue_operator.api.objects import QUEUE_LABEL, annotation_of
from redisqueue_operator.decide.finalizer import is_held

if TYPE_CHECKING:
    from redisqueue_operator.api.model import RedisQueue

CONFIG_HASH = "redisqueue.dev/config-hash"
OWNER_UID = "redisqueue.dev/owner-uid"
OPERATOR_VERSION = "redisqueue.dev/operator-version"
OPERATOR = "redisqueue.dev/operator"
"""Which operator wrote a child: namespace and name of the Lease by which one of its replicas leads."""
APPLIED_HASH = "redisqueue.dev/applied-hash"
"""What was applied: where it is the same, nothing is there that another apply would take away."""
MANAGED_BY = "app.kubernetes.io/managed-by"
"""For people. Others write it too, so nothing is found by it, and what they write is left as it is."""
TRACK = "redisqueue.dev/track"
CANARY = "canary"
PROTECTED = "redisqueue.dev/protected"
"""The operator had a pod left on its node, and will take that back."""
SAFE_TO_EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict"
KEEPS_NODE = {SAFE_TO_EVICT: "false", "karpenter.sh/do-not-disrupt": "true"}
"""By which the cluster autoscaler and Karpenter leave a pod, and with it its node."""
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
    return {"app.kubernetes.io/name": "redisqueue-worker", QUEUE_LABEL: name}


def labels(name: str) -> dict[str, str]:
    """All labels of a child, and of a pod; not `instance`, by which Argo CD tracks what it made."""
    return {MANAGED_BY: "redisqueue-operator", **selector_labels(name)}


def metadata(rq: RedisQueue, name: str, operator_version: str) -> dict[str, Any]:
    """The metadata of a child."""
    result: dict[str, Any] = {
        "name": name,
        "namespace": rq.key.namespace,
        "labels": labels(rq.key.name),
        "annotations": {OWNER_UID: rq.uid, OPERATOR_VERSION: operator_version},
    }
    if is_owned(rq):
        result["ownerReferences"] = [owner_reference(rq)]
    return result


def is_owned(rq: RedisQueue) -> bool:
    """Whether the children go with the RedisQueue, by garbage collection.

    With Orphan they outlive it. While our finalizer holds it for a drain they must not: a deletion in the
    foreground takes what is owned first, and waits for nobody.
    """
    return rq.spec.deletion_policy == "Delete" or (rq.spec.deletion_policy == "Drain" and not is_held(rq))


def owner_reference(rq: RedisQueue) -> dict[str, Any]:
    """What makes a child go with the RedisQueue."""
    owner = {"apiVersion": API_VERSION, "kind": KIND, "name": rq.key.name, "uid": rq.uid}
    return {**owner, "controller": True}


def belongs_to(child: dict[str, Any], rq: RedisQueue) -> bool:
    """Whether a child is this RedisQueue's: its own, or what another one of its name left behind (Orphan)."""
    metadata = child["metadata"]
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller"):
            return bool(owner["uid"] == rq.uid)
    labels, author = metadata.get("labels") or {}, annotation_of(child, OWNER_UID)
    return author != "" and (author == rq.uid or labels.get(QUEUE_LABEL) == rq.key.name)


def same_applied(live: dict[str, Any], manifest: dict[str, Any]) -> bool:
    """Whether an object was applied with the same manifest, whoever did it."""
    return annotation_of(live, APPLIED_HASH) == annotation_of(manifest, APPLIED_HASH)


def sealed(child: dict[str, Any], operator: str) -> dict[str, Any]:
    """The child with who applies it (empty: nobody says) and with the hash of all else that is applied."""
    metadata = child["metadata"]
    annotations = {
        name: value for name, value in metadata["annotations"].items() if name not in (OPERATOR, APPLIED_HASH)
    }
    whole = {**child, "metadata": {**metadata, "annotations": annotations}}
    marks = {APPLIED_HASH: digest(whole), **({OPERATOR: operator} if operator else {})}
    return {**child, "metadata": {**metadata, "annotations": annotations | marks}}


def digest(value: Any) -> str:
    """Ten hexadecimal digits that identify a JSON value."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]
