"""The Deployment of the workers, without `replicas`: their number is written to /scale alone.

Those that try a new template have its twin with a label more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redisqueue_operator.api.objects import annotation_of
from redisqueue_operator.decide.children import identity
from redisqueue_operator.decide.children.pod_template import hashed, pod_template

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redisqueue_operator.api.model import RedisQueue


def manifest(
    rq: RedisQueue,
    *,
    image: str,
    pull_secrets: Sequence[dict[str, Any]],
    operator_version: str,
    secret_versions: Mapping[str, str],
    source_name: str | None,
) -> dict[str, Any]:
    """The Deployment. Its selector, and with it the label `redisqueue.dev/queue`, is for life."""
    name = rq.key.name
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": identity.metadata(rq, identity.deployment_name(name), operator_version),
        "spec": {
            # Said, so that it is ours: a paused one would keep its template whatever the spec says.
            "paused": False,
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": identity.selector_labels(name)},
            # New workers first, at least one (25 % is rounded up), so that no capacity is missing.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
            "template": pod_template(
                rq,
                image=image,
                pull_secrets=pull_secrets,
                secret_versions=secret_versions,
                source_name=source_name,
            ),
        },
    }


_TRACK = {identity.TRACK: identity.CANARY}


def canary_of(deployment: dict[str, Any], name: str) -> dict[str, Any]:
    """The manifest, from that of the Deployment of all workers of the RedisQueue `name`.

    Its pods bear the labels of all workers, so that budget, counters and selectors find them; the ReplicaSets
    of the two Deployments are kept apart by their owners. The config hash is that of the template to come.
    """
    spec = deployment["spec"]
    selector, template = spec["selector"], spec["template"]
    labels = {"matchLabels": {**selector["matchLabels"], **_TRACK}}
    of_pods = _tracked(template["metadata"])
    canary = {
        **deployment,
        "metadata": {**_tracked(deployment["metadata"]), "name": identity.canary_name(name)},
        "spec": {**spec, "selector": {**selector, **labels}, "template": {**template, "metadata": of_pods}},
    }
    return identity.sealed(canary, canary["metadata"]["annotations"].get(identity.OPERATOR, ""))


def _tracked(metadata: dict[str, Any]) -> dict[str, Any]:
    return {**metadata, "labels": {**metadata["labels"], **_TRACK}}


def as_before_protection(deployment: dict[str, Any]) -> dict[str, Any]:
    """The manifest as operators wrote it that knew no `worker.protect`: they had no worker evicted, ever."""
    metadata, template = deployment["metadata"], deployment["spec"]["template"]
    annotations = {identity.SAFE_TO_EVICT: "false", **template["metadata"]["annotations"]}
    before = hashed({**template, "metadata": {**template["metadata"], "annotations": annotations}})
    whole = {**deployment, "spec": {**deployment["spec"], "template": before}}
    return identity.sealed(whole, metadata["annotations"].get(identity.OPERATOR, ""))


def config_hash(deployment: dict[str, Any] | None) -> str:
    """The hash of a Deployment's pod template; empty without one."""
    return hash_of(deployment["spec"].get("template")) if deployment is not None else ""


def hash_of(template: dict[str, Any] | None) -> str:
    """The config hash that a pod template bears; empty without one."""
    return annotation_of(template, identity.CONFIG_HASH)
