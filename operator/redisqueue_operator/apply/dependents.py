"""The children beside the Deployments on the API server, and who all children go with."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from redisqueue_operator.api.model import Key
from redisqueue_operator.api.objects import QUEUE_LABEL
from redisqueue_operator.api.resources import path_of
from redisqueue_operator.decide.children.drift import (
    Name,
    Object,
    is_as_wanted,
    name_of,
    owners_to_be,
    selects,
    snapshots_in,
    unused,
)
from redisqueue_operator.decide.children.identity import (
    belongs_to,
    canary_name,
    deployment_name,
    owner_reference,
)
from redisqueue_operator.kubernetes_api import ApiError
from redisqueue_operator.observe.cache import DEPLOYMENTS, MANAGED, REPLICASETS
from redisqueue_operator.observe.compact import compact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from redisqueue_operator.api.model import RedisQueue
    from redisqueue_operator.apply.writer import Writer
    from redisqueue_operator.kubernetes_api import KubernetesApi, Object
    from redisqueue_operator.observe.cache import Store
    from redisqueue_operator.scope import Scope

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
        self.objects[kind, key] = compact(item)
        if kind == "ConfigMap" and queue:
            self.snapshots.setdefault(Key(key.namespace, queue), []).append(item)


async def companion_list(api: KubernetesApi, scope: Scope) -> CompanionList:
    """Read it, but for the namespaces where that is refused, with a line in the log.

    Raises ApiError for an answer that says nothing about a right, OSError or TimeoutError for none.
    """
    found = CompanionList()
    for kind, group, version, plural, selector in _KINDS:
        for namespace in scope.namespaces or (None,):
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


@dataclass(frozen=True, slots=True)
class OthersSeen:
    """What is known of the children beside the Deployments; the fields are those of `ChildrenSeen`."""

    as_wanted: bool
    missed_at: float | None
    unwanted_budget: Object | None
    remark: str


_OWNED = (
    ("Deployment", "apps/v1", "deployments"),
    (BUDGET, "policy/v1", "poddisruptionbudgets"),
    ("ConfigMap", "v1", "configmaps"),
)


class Dependents:
    """Writes them, and knows what the last list and later writes have shown."""

    def __init__(self, api: KubernetesApi, store: Store, writer: Writer, scope: Scope) -> None:
        self._api = api
        self._store = store
        self._writer = writer
        self._scope = scope
        self._known: CompanionList | None = None
        self._listed_at = 0.0
        self._news = 0
        self._seen: dict[Key, tuple[tuple[int, str], OthersSeen]] = {}

    async def read(self) -> None:
        """Read a fresh list. Raises as `companion_list` does."""
        began = time.monotonic()
        self._known = await companion_list(self._api, self._scope)
        self._listed_at = began
        self._news += 1

    def seen(self, rq: RedisQueue, manifests: Sequence[Object], digest: str) -> OthersSeen:
        """What is known of them; `manifests` is all that is wanted, and `digest` changes with it."""
        now, known = (self._news, digest), self._seen.get(rq.key)
        if known is None or known[0] != now:  # asked at every look, and mostly the same
            known = self._seen[rq.key] = now, self._look(rq, manifests)
        return known[1]

    def _look(self, rq: RedisQueue, manifests: Sequence[Object]) -> OthersSeen:
        *others, deployment = manifests
        known, unwanted = self._known, self._unwanted_budget(rq, others)
        remark = self._budget_trouble(rq, deployment)
        if known is None or not known.knows(rq.key.namespace):
            return OthersSeen(False, None, unwanted, remark)
        same = known.are_as_wanted(others)
        return OthersSeen(same and unwanted is None, None if same else self._listed_at, unwanted, remark)

    def forget(self, key: Key) -> None:
        """There is no RedisQueue for them any more."""
        self._seen.pop(key, None)

    async def apply(self, rq: RedisQueue, manifests: Iterable[Object], unwanted_budget: Object | None) -> str:
        """Apply them; what is to be told of one that the workers do without, empty for nothing.

        Raises ApiError where it is one that they need.
        """
        trouble = ""
        for manifest in manifests:
            if manifest["kind"] != BUDGET:
                await self.write(manifest)
                continue
            trouble = await self._apply_budget(rq, manifest)
        if unwanted_budget is not None:
            trouble = await self._delete_budget(rq, unwanted_budget)
        return trouble

    async def write(self, manifest: Object) -> Object:
        """Server-side apply of any child, and its owners exactly as the manifest says; the object."""
        applied = await self._writer.apply(manifest)
        applied = await self._own(applied, manifest["metadata"].get("ownerReferences") or [], manifest)
        if self._known is not None and manifest["kind"] != "Deployment":
            self._known.add(manifest["kind"], applied)
            self._news += 1
        return applied

    async def set_owned(self, rq: RedisQueue, owned: bool) -> None:
        """Have the children that there are go with the RedisQueue, or no longer."""
        owners = [owner_reference(rq)] if owned else []
        for kind, api_version, plural in _OWNED:
            group, _, version = api_version.rpartition("/")
            path = path_of(group, version, plural, rq.key.namespace)
            try:
                children, _ = await self._api.list(path, f"{QUEUE_LABEL}={rq.key.name}")
            except ApiError as error:
                if error.status not in (403, 404):
                    raise
                log.warning(
                    "%s: who its children of kind %s go with is left as it is: %s", rq.key, kind, error
                )
                continue
            for child in children:
                if belongs_to(child, rq):
                    await self._own(child, owners, {"apiVersion": api_version, "kind": kind})

    async def prune(self, key: Key, wanted: Object) -> None:
        """Delete the snapshots of handler files that nothing can come back to; `wanted` is the Deployment."""
        snapshots = self._known.snapshots.get(key, ()) if self._known is not None else ()
        deployment = self._store.get(DEPLOYMENTS, Key(key.namespace, deployment_name(key.name)))
        if deployment is None or not snapshots:
            return  # not looked at yet, or not ours
        specs = [deployment["spec"]["template"]["spec"], wanted["spec"]["template"]["spec"]]
        specs += [each["spec"] for each in self._store.children(REPLICASETS, key)]
        if (trial := self._store.get(DEPLOYMENTS, Key(key.namespace, canary_name(key.name)))) is not None:
            specs.append(trial["spec"]["template"]["spec"])
        used = set().union(*map(snapshots_in, specs))
        for each in unused(snapshots, key.name, used, self._api.now()):
            await self._writer.delete({**each, "apiVersion": "v1", "kind": "ConfigMap"})

    def _budget_trouble(self, rq: RedisQueue, deployment: Object) -> str:
        """What is to be told of other people's budgets for the same pods, as the last list had them."""
        if self._known is None:
            return ""
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        others = self._known.budgets_of_others(rq.key.namespace, labels)
        managed = rq.spec.disruption_budget.mode == "Managed"
        if len(others) + managed < 2:
            return ""
        own = [deployment_name(rq.key.name)] if managed else []
        way_out = "delete it, or set spec.disruptionBudget.mode to None" if managed else "delete all but one"
        return (
            f"The PodDisruptionBudgets {', '.join([*own, *others])} select the same pods, "
            f"and Kubernetes evicts no pod that has two: {way_out}."
        )

    async def _apply_budget(self, rq: RedisQueue, manifest: Object) -> str:
        name = f"PodDisruptionBudget {manifest['metadata']['name']}"
        if not self._is_ours(rq, manifest):
            return f"{name} exists and belongs to somebody else: the workers have none of their own."
        try:
            await self.write(manifest)
        except ApiError as error:
            return f"The workers run without their {name}, which was refused: {error}"
        return ""

    def _is_ours(self, rq: RedisQueue, manifest: Object) -> bool:
        """Whether the name is free, or what has it is this RedisQueue's."""
        if self._known is None:
            return True
        kind, key = name_of(manifest)
        live = self._known.objects.get((kind, key))
        if live is not None:
            return belongs_to(live, rq)
        return key.name not in self._known.strangers.get(key.namespace, {})

    def _unwanted_budget(self, rq: RedisQueue, manifests: Iterable[Object]) -> Object | None:
        """Our own budget where the spec wants none any more."""
        if self._known is None or any(each["kind"] == BUDGET for each in manifests):
            return None
        live = self._known.objects.get((BUDGET, Key(rq.key.namespace, deployment_name(rq.key.name))))
        return live if live is not None and belongs_to(live, rq) else None

    async def _delete_budget(self, rq: RedisQueue, budget: Object) -> str:
        try:
            await self._writer.delete({**budget, "apiVersion": "policy/v1", "kind": BUDGET})
        except ApiError as error:
            return f"PodDisruptionBudget {budget['metadata']['name']} is still there: {error}"
        if self._known is not None:
            self._known.objects.pop((BUDGET, Key(rq.key.namespace, budget["metadata"]["name"])), None)
            self._news += 1
        return ""

    async def _own(self, live: Object, wanted: list[Object], kind: Object) -> Object:
        """Its owners as wanted: an apply takes away none that somebody else, or an older one of us, gave."""
        owners = owners_to_be(live, wanted)
        if owners is None:
            return live
        try:
            return await self._writer.owners(
                {**live, "apiVersion": kind["apiVersion"], "kind": kind["kind"]}, owners
            )
        except ApiError as error:
            if error.status == 404:  # gone meanwhile
                return live
            raise
