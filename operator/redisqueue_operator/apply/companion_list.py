"""A fresh list of the children that no watch tells of, and of other people's budgets for the same pods."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from redisqueue_operator.api.model import Key
from redisqueue_operator.decide.children.companions import Name, Object, is_as_wanted, name_of, selects
from redisqueue_operator.decide.children.identity import deployment_name
from redisqueue_operator.kubernetes_api import ApiError, KubernetesApi, path_of
from redisqueue_operator.observe.cache import MANAGED, QUEUE_LABEL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from redisqueue_operator.scope import Share

log = logging.getLogger(__name__)

BUDGET = "PodDisruptionBudget"
# Of budgets all are read: somebody else's may select our pods.
_KINDS = (
    ("ConfigMap", "", "v1", "configmaps", MANAGED),
    (BUDGET, "policy", "v1", "poddisruptionbudgets", ""),
)


@dataclass(frozen=True, slots=True)
class CompanionList:
    """What there is: everything by name, and the ConfigMaps by namespace and name of the RedisQueue.

    `objects` has what was listed or written since, of a ConfigMap the metadata alone: a snapshot is known by
    its name. `strangers` are the budgets of others: name and selector, by namespace. `unlisted` are the
    namespaces of which nothing is known; None among them stands for all.
    """

    objects: dict[Name, Object] = field(default_factory=dict)
    snapshots: dict[Key, list[Object]] = field(default_factory=dict)
    strangers: dict[str, dict[str, Object | None]] = field(default_factory=dict)
    unlisted: set[str | None] = field(default_factory=set)

    def knows(self, namespace: str) -> bool:
        """Whether what is not here is not there either."""
        return self.unlisted.isdisjoint({None, namespace})

    def are_as_wanted(self, manifests: Iterable[Object]) -> bool:
        """Whether an apply of these children would change nothing."""
        return all(
            is_as_wanted(
                self.objects.get(name_of(manifest)),
                manifest,
                *(("metadata",) if manifest["kind"] == "ConfigMap" else ("metadata", "spec")),
            )
            for manifest in manifests
        )

    def budgets_of_others(self, namespace: str, labels: Mapping[str, str]) -> list[str]:
        """The names of the budgets, none of ours, that select pods with these labels."""
        budgets = self.strangers.get(namespace, {})
        return sorted(name for name, selector in budgets.items() if selects(selector, labels))

    def add(self, kind: str, item: Object) -> None:
        """One more object."""
        metadata = item["metadata"]
        queue = (metadata.get("labels") or {}).get(QUEUE_LABEL)
        key = Key(metadata["namespace"], metadata["name"])
        if kind == BUDGET and (queue is None or key.name != deployment_name(queue)):
            self.strangers.setdefault(key.namespace, {})[key.name] = item["spec"].get("selector")
            return
        self.objects[kind, key] = item
        if kind == "ConfigMap" and queue:
            self.snapshots.setdefault(Key(key.namespace, queue), []).append(item)


async def companion_list(api: KubernetesApi, share: Share) -> CompanionList:
    """Read it, but for the namespaces where that is refused, with a line in the log.

    Raises ApiError for an answer that says nothing about a right, OSError or TimeoutError for none.
    """
    found = CompanionList()
    for kind, group, version, plural, selector in _KINDS:
        for namespace in share.namespaces or (None,):
            path = path_of(group, version, plural, namespace)
            try:
                async for items, _ in api.pages(path, selector, metadata_only=kind == "ConfigMap"):
                    for item in items:
                        found.add(kind, item)
            except ApiError as error:
                if error.status not in (403, 404):
                    raise
                found.unlisted.add(namespace)
                log.warning("children that are deleted are not made again: %s", error)
    return found
