"""A fresh list of the children that no watch tells of."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from redisqueue_operator.api.model import Key
from redisqueue_operator.companions import Companion, Name, Object, companion_of, covers
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
    """What there is: everything by name, and the ConfigMaps by namespace and name of the RedisQueue.

    `objects` has what was listed, of a ConfigMap the metadata alone: a snapshot is known by its name.
    `unlisted` are the namespaces of which nothing is known; None among them stands for all.
    """

    companions: dict[Name, Companion] = field(default_factory=dict)
    snapshots: dict[Key, list[Object]] = field(default_factory=dict)
    objects: dict[Name, Object] = field(default_factory=dict)
    unlisted: set[str | None] = field(default_factory=set)

    def knows(self, namespace: str) -> bool:
        """Whether what is not here is not there either."""
        return self.unlisted.isdisjoint({None, namespace})

    def as_wanted(self, manifests: list[Object]) -> tuple[Companion, ...] | None:
        """What was listed of these children; None where one is missing or differs."""
        found: list[Companion] = []
        for manifest in manifests:
            metadata = manifest["metadata"]
            name = (manifest["kind"], Key(metadata["namespace"], metadata["name"]))
            shown = ("metadata",) if manifest["kind"] == "ConfigMap" else ("metadata", "spec")
            if not covers(self.objects.get(name), {part: manifest[part] for part in shown}):
                return None
            found.append(self.companions[name])
        return tuple(found)

    def add(self, kind: str, item: Object) -> None:
        """One more object."""
        companion = companion_of(kind, item)
        self.companions[companion.name], self.objects[companion.name] = companion, item
        queue = (item["metadata"].get("labels") or {}).get(QUEUE_LABEL)
        if kind == "ConfigMap" and queue:
            self.snapshots.setdefault(Key(companion.key.namespace, queue), []).append(item)


async def companion_list(api: KubernetesApi, share: Share) -> CompanionList:
    """Read it, but for the namespaces where that is refused, with a line in the log.

    Raises ApiError for an answer that says nothing about a right, OSError or TimeoutError for none.
    """
    found = CompanionList()
    for kind, group, version, plural in _KINDS:
        for namespace in share.namespaces or (None,):
            path = path_of(group, version, plural, namespace)
            try:
                async for items, _ in api.pages(path, MANAGED, metadata_only=kind == "ConfigMap"):
                    for item in items:
                        found.add(kind, item)
            except ApiError as error:
                if error.status not in (403, 404):
                    raise
                found.unlisted.add(namespace)
                log.warning("children that are deleted are not made again: %s", error)
    return found
