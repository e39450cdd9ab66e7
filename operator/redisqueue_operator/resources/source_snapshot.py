"""The immutable copy of the ConfigMap in `worker.source`.

Pods mount the copy, whose name contains the hash of its files. So a change of the files is a rollout like any
other, a rollback brings the old files back, and no running worker sees a file change under its feet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redisqueue_operator.resources import identity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redisqueue_operator.api.model import RedisQueue


class SourceMissingError(ValueError):
    """The ConfigMap of `worker.source` is absent or empty."""


def manifest(
    rq: RedisQueue, source: Mapping[str, str] | None, operator_version: str
) -> dict[str, Any] | None:
    """The ConfigMap, or None when the spec names no source. Raises SourceMissingError."""
    wanted = rq.spec.worker.source
    if wanted is None:
        return None
    if not source:
        raise SourceMissingError(
            f"spec.worker.source.configMapRef.name: the ConfigMap '{wanted.config_map_ref.name}' does not "
            f"exist in namespace {rq.key.namespace}, or has no data: create it, one key per handler file"
        )
    files = dict(sorted(source.items()))
    name = f"{rq.key.name}-handler-{identity.digest(files)}"
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": identity.metadata(rq, name, operator_version),
        "immutable": True,
        "data": files,
    }
