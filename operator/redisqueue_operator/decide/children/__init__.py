"""RedisQueue → the Kubernetes objects it owns. Pure: no cluster, no clock; one file per child."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redisqueue_operator.decide.children import deployment, disruption_budget, identity, source_snapshot
from redisqueue_operator.decide.children.environment import worker_environment
from redisqueue_operator.decide.children.source_snapshot import SourceMissingError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redisqueue_operator.api.model import RedisQueue

__all__ = ["SourceMissingError", "children", "worker_environment"]


def children(
    rq: RedisQueue,
    *,
    default_image: str,
    default_pull_secrets: Sequence[str] = (),
    operator_version: str,
    operator: str = "",
    secret_versions: Mapping[str, str] | None = None,
    source: Mapping[str, str] | None = None,
    binary_source: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """The manifests to apply, in this order.

    Args:
        default_image: the worker image where the spec names none.
        default_pull_secrets: names of the Secrets by which that one is pulled, where the spec names none.
        operator_version: written on each child, so that an older operator leaves it alone.
        operator: written on each child, so that another one beside it leaves it alone.
        secret_versions: by Secret name, what identifies its content (uid and resourceVersion, never a hash);
            a change of that with the URL rolls the workers over.
        source: the texts in the ConfigMap of `worker.source.configMapRef`.
        binary_source: its other files, in base64.

    Raises SourceMissingError when a ConfigMap is named there and no file of it is given.
    """
    snapshot = source_snapshot.manifest(rq, source, binary_source, operator_version)
    ordered = [
        # First, because the pods mount it.
        snapshot,
        # Before the pods, so that they are protected from the first moment on.
        disruption_budget.manifest(rq, operator_version),
        # Last, because it starts pods, which need the others.
        deployment.manifest(
            rq,
            image=rq.spec.worker.image or default_image,
            pull_secrets=_pull_secrets(rq, default_pull_secrets),
            operator_version=operator_version,
            secret_versions=secret_versions or {},
            source_name=snapshot["metadata"]["name"] if snapshot else None,
        ),
    ]
    return [identity.sealed(child, operator) for child in ordered if child is not None]


def _pull_secrets(rq: RedisQueue, default: Sequence[str]) -> list[dict[str, Any]]:
    worker = rq.spec.worker
    own = list(worker.image_pull_secrets)
    # An image of the user's own comes from a registry of which the default says nothing.
    if worker.image:
        return own
    # Those of the files do not take the place of those of the image; a pod tries all that it has.
    if own and not (worker.source and worker.source.image):
        return own
    return own + [{"name": name} for name in default if {"name": name} not in own]
