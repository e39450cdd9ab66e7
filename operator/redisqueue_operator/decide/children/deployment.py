"""The Deployment of the workers, without `replicas`: their number is written to /scale alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redisqueue_operator.decide.children import identity
from redisqueue_operator.decide.children.pod_template import pod_template

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redisqueue_operator.api.model import RedisQueue


def manifest(
    rq: RedisQueue,
    *,
    image: str,
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
                rq, image=image, secret_versions=secret_versions, source_name=source_name
            ),
        },
    }
