"""The children beside the Deployments on the API server, and who all children go with."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from redisqueue_operator.api.model import Key
from redisqueue_operator.apply.companion_list import BUDGET, CompanionList, companion_list
from redisqueue_operator.apply.deployments import belongs_to
from redisqueue_operator.decide.children.companions import name_of, owners_to_be, snapshots_in, unused
from redisqueue_operator.decide.children.identity import canary_name, deployment_name, owner_reference
from redisqueue_operator.kubernetes_api import ApiError, path_of
from redisqueue_operator.observe.cache import DEPLOYMENTS, QUEUE_LABEL, REPLICASETS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redisqueue_operator.api.model import RedisQueue
    from redisqueue_operator.apply.writer import Writer
    from redisqueue_operator.kubernetes_api import KubernetesApi, Object
    from redisqueue_operator.observe.cache import Store
    from redisqueue_operator.scope import Share

log = logging.getLogger(__name__)

_OWNED = (
    ("Deployment", "apps/v1", "deployments"),
    (BUDGET, "policy/v1", "poddisruptionbudgets"),
    ("ConfigMap", "v1", "configmaps"),
)


class Dependents:
    """Writes them, and knows what the last list and later writes have shown."""

    def __init__(self, api: KubernetesApi, store: Store, writer: Writer, share: Share) -> None:
        self._api = api
        self._store = store
        self._writer = writer
        self._share = share
        self._known: CompanionList | None = None

    async def read(self) -> CompanionList:
        """A fresh list. Raises as `companion_list` does."""
        self._known = await companion_list(self._api, self._share)
        return self._known

    def are_as_wanted(self, rq: RedisQueue, manifests: list[Object]) -> bool:
        """Whether nothing is to be written; False while that is not known."""
        known = self._known
        if known is None or not known.knows(rq.key.namespace):
            return False
        return self._unwanted_budget(rq, manifests) is None and known.are_as_wanted(manifests)

    async def apply(self, rq: RedisQueue, manifests: list[Object]) -> str:
        """Apply them; what is to be told of one that the workers do without, empty for nothing.

        Raises ApiError where it is one that they need.
        """
        trouble = ""
        for manifest in manifests:
            if manifest["kind"] != BUDGET:
                await self.write(manifest)
                continue
            trouble = await self._apply_budget(rq, manifest)
        if (budget := self._unwanted_budget(rq, manifests)) is not None:
            trouble = await self._delete_budget(rq, budget)
        return trouble

    async def write(self, manifest: Object) -> Object:
        """Server-side apply of any child, and its owners exactly as the manifest says; the object."""
        applied = await self._writer.apply(manifest)
        applied = await self._own(applied, manifest["metadata"].get("ownerReferences") or [], manifest)
        if self._known is not None and manifest["kind"] != "Deployment":
            self._known.add(manifest["kind"], applied)
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
            await self._delete({**each, "apiVersion": "v1", "kind": "ConfigMap"})

    def budget_trouble(self, rq: RedisQueue, deployment: Object) -> str:
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
            await self._delete({**budget, "apiVersion": "policy/v1", "kind": BUDGET})
        except ApiError as error:
            return f"PodDisruptionBudget {budget['metadata']['name']} is still there: {error}"
        if self._known is not None:
            self._known.objects.pop((BUDGET, Key(rq.key.namespace, budget["metadata"]["name"])), None)
        return ""

    async def _delete(self, obj: Object) -> None:
        """This very object, if it is still there."""
        try:
            await self._writer.delete(obj)
        except ApiError as error:
            if error.status not in (404, 409):  # it is gone, or another one has its name
                raise

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
