"""A fresh list of the children that no watch tells of."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from redisqueue_operator.api.model import Key
from redisqueue_operator.companions import Companion, Name, Object, companion_of
from redisqueue_operator.kubernetes_api import ApiError, KubernetesApi, path_of
from redisqueue_operator.observe import MANAGED, QUEUE_LABEL

if TYPE_CHECKING:
    from redisqueue_operator.share import Share

log = logging.getLogger(__name__)

_KINDS = (
    ("ConfigMap", "", "v1", "configmaps"),
    ("PodDisruptionBudget", "policy", "v1", "poddisruptionbudgets"),
)


@dataclass(frozen=True, slots=True)
class CompanionList:
    """What there is: everything by name, and the ConfigMaps by namespace and name of the RedisQueue."""

    companions: dict[Name, Companion] = field(default_factory=dict)
    snapshots: dict[Key, list[Object]] = field(default_factory=dict)

    def add(self, kind: str, item: Object) -> None:
        """One more object; its metadata is enough."""
        companion = companion_of(kind, item)
        self.companions[companion.name] = companion
        queue = (item["metadata"].get("labels") or {}).get(QUEUE_LABEL)
        if kind == "ConfigMap" and queue:
            self.snapshots.setdefault(Key(companion.key.namespace, queue), []).append(item)


async def companion_list(api: KubernetesApi, share: Share) -> CompanionList | None:
    """Read it. None, with a line in the log, where the operator may not list them."""
    found = CompanionList()
    try:
        for kind, group, version, plural in _KINDS:
            for namespace in share.namespaces or (None,):
                path = path_of(group, version, plural, namespace)
                async for items, _ in api.pages(path, MANAGED, metadata_only=True):
                    for item in items:
                        found.add(kind, item)
    except ApiError as error:
        if error.status != 403:
            raise
        log.warning("children that are deleted are not made again: %s", error)
        return None
    return found
