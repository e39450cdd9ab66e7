"""The immutable copy of the ConfigMap in `worker.source.configMapRef`.

Pods mount the copy, whose name contains the hash of its files. So a change of the files is a rollout like any
other, a rollback brings the old files back, and no running worker sees a file change under its feet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redisqueue_operator.decide.children import identity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redisqueue_operator.api.model import RedisQueue

    Files = Mapping[str, str]


class SourceMissingError(ValueError):
    """The ConfigMap of `worker.source.configMapRef` is absent or empty."""


def manifest(
    rq: RedisQueue, source: Files | None, binary_source: Files | None, operator_version: str
) -> dict[str, Any] | None:
    """The ConfigMap, or None when the spec names none. Raises SourceMissingError."""
    named = rq.spec.worker.config_map_name
    if named is None:
        return None
    parts = {"data": source, "binaryData": binary_source}
    files = {part: dict(sorted(found.items())) for part, found in parts.items() if found}
    if not files:
        raise SourceMissingError(
            f"spec.worker.source.configMapRef.name: the ConfigMap '{named}' does not "
            f"exist in namespace {rq.key.namespace}, or has no data: create it, one key per handler file"
        )
    # Texts alone are named as they always were.
    content = files if binary_source else files["data"]
    name = f"{rq.key.name}-handler-{identity.digest(content)}"
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": identity.metadata(rq, name, operator_version),
        "immutable": True,
        **files,
    }
