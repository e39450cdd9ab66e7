"""A Deployment of workers on the API server: whose it is, and every write to it."""

from __future__ import annotations

import contextlib
import itertools
import logging
from typing import TYPE_CHECKING

from redisqueue_operator.api.model import Key
from redisqueue_operator.api.objects import QUEUE_LABEL, annotation_of
from redisqueue_operator.decide.children.drift import dropped_from, outcome_of
from redisqueue_operator.decide.children.identity import (
    APPLIED_HASH,
    OPERATOR,
    OPERATOR_VERSION,
    OWNER_UID,
    canary_name,
    deployment_name,
)
from redisqueue_operator.decide.upgrade_budget import operator_version_of
from redisqueue_operator.decide.version_skew import FOREIGN, NEWER
from redisqueue_operator.kubernetes_api import OVERLOADED, ApiError, KubernetesApi, Object
from redisqueue_operator.observe.cache import DEPLOYMENTS, Store, marked_pods, version_of
from redisqueue_operator.observe.facts import ApplyOutcome
from redisqueue_operator.platform import Conflict, PlatformError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from redisqueue_operator.api.model import RedisQueue
    from redisqueue_operator.apply.dependents import Dependents
    from redisqueue_operator.apply.writer import Writer

log = logging.getLogger(__name__)


class Deployments:
    """Writes Deployments, and remembers in the store what a write has shown.

    Args:
        version: the operator's own.
        operator: its name beside others, as on children; empty where there are no others.
    """

    def __init__(
        self,
        api: KubernetesApi,
        store: Store,
        writer: Writer,
        dependents: Dependents,
        *,
        version: str,
        operator: str,
    ) -> None:
        self._api = api
        self._store = store
        self._writer = writer
        self._dependents = dependents
        self._version = version
        self._dropped: dict[Key, list[str]] = {}
        self._operator = operator
        self._gone: dict[Key, str] = {}

    def own(self, rq: RedisQueue, key: Key) -> Object | None:
        """The Deployment, as the watches have it, if it is this RedisQueue's."""
        deployment = self._store.get(DEPLOYMENTS, key)
        return deployment if deployment is not None and belongs_to(deployment, rq) else None

    async def refusal(self, rq: RedisQueue, key: Key, manifest: Object) -> ApplyOutcome | None:
        """Why the Deployment is not ours to make what the manifest says; None when it is, or is not there."""
        known = self._store.get(DEPLOYMENTS, key)
        deployment = known or await self._read(key)
        if deployment is None:
            return None
        if not belongs_to(deployment, rq):
            text = f"Deployment {key} exists and belongs to somebody else: rename or delete one of the two"
            return ApplyOutcome(ok=False, reason="NameConflict", message=text)
        if known is None:
            self._store.found(DEPLOYMENTS, deployment)
        theirs = operator_version_of(deployment)
        if _release(theirs) > _release(self._version):
            text = (
                f"Deployment {key} was written by operator {theirs}, this one is {self._version}: it scales "
                "the workers and changes nothing else. Upgrade it, or have it write its own template: "
                f"kubectl annotate deployment -n {key.namespace} {key.name} {OPERATOR_VERSION}-"
            )
            return ApplyOutcome(ok=False, reason=NEWER, message=text)
        author = annotation_of(deployment, OPERATOR)
        if not self._operator or author in ("", self._operator, self._gone.get(key)):
            return None
        if _same(deployment, manifest) or _release(theirs) < _release(self._version):
            return None
        text = (
            f"Deployment {key} was written by the operator with the Lease {author}, this one has "
            f"{self._operator}: have one of the two watch other namespaces or labels"
        )
        return ApplyOutcome(ok=False, reason=FOREIGN, message=text)

    def take_over(self, key: Key) -> None:
        """Who wrote the Deployment is not at work any more."""
        deployment = self._store.get(DEPLOYMENTS, key)
        if deployment is not None:
            self._gone[key] = annotation_of(deployment, OPERATOR)

    def forget(self, owner: Key) -> None:
        """That RedisQueue is gone, and with it what is remembered of its Deployments."""
        for key in _keys_of(owner):
            self._gone.pop(key, None)
            self._dropped.pop(key, None)

    async def look_again(self, key: Key) -> None:
        """Ask the server for one that no watch tells of: somebody may have taken off its label."""
        known = self._store.get(DEPLOYMENTS, key)
        if known is not None and QUEUE_LABEL in (known["metadata"].get("labels") or {}):
            return
        now = await self._read(key)
        if now is not None:
            self._store.found(DEPLOYMENTS, now)
        elif known is not None:
            self._store.drop(DEPLOYMENTS, key, version_of(known))

    async def _read(self, key: Key) -> Object | None:
        return await self._api.get(DEPLOYMENTS.path_to(key))

    async def apply(self, key: Key, manifest: Object) -> None:
        """Create it without workers, or make it what the manifest says. Raises Conflict."""
        live = self._store.get(DEPLOYMENTS, key)
        if live is None:
            self._remember(key, manifest, await self._writer.create_scaled_to_zero(manifest))
            return
        # With its uid the write fails where the Deployment was deleted meanwhile, and does not bring it back.
        metadata = {**manifest["metadata"], "uid": live["metadata"]["uid"]}
        if _same(live, manifest) and (author := annotation_of(live, OPERATOR)):
            metadata["annotations"] = {**metadata["annotations"], OPERATOR: author}  # no news, no generation
        pinned = {**manifest, "metadata": metadata}
        try:
            self._remember(key, manifest, await self._dependents.write(pinned))
        except ApiError as error:
            raise await self._conflict(error, key) from error

    def _remember(self, key: Key, manifest: Object, answer: Object) -> None:
        self._store.put(DEPLOYMENTS, answer)
        self._dropped.pop(key, None)
        if dropped := list(dropped_from(answer["spec"], manifest["spec"], "spec")):
            self._dropped[key] = dropped

    def outcome(self, rq: RedisQueue, message: str) -> ApplyOutcome:
        """How the last applies for this RedisQueue ended, if none was refused."""
        lost = [self._dropped.get(key, ()) for key in _keys_of(rq.key)]
        return outcome_of(list(dict.fromkeys(itertools.chain(*lost))), message)

    @contextlib.asynccontextmanager
    async def marked(self, owner: Key, victims: Mapping[Key, str]) -> AsyncIterator[None]:
        """Have the shrink that is written inside take these pods, by their uid, and no other one later.

        Marks that an earlier shrink has left go first, and these where this one is refused. Where no answer
        comes they stay: the number may have changed.
        """
        others = marked_pods(self._store, owner)
        await self._spare({pod: uid for pod, uid in others.items() if pod not in victims})
        try:
            await self._mark(victims)
            yield
        except PlatformError:
            await self._spare(victims)
            raise

    async def _mark(self, victims: Mapping[Key, str]) -> None:
        """Have ReplicaSets take these pods, by their uid, first.

        It is a help and no condition: without it other workers may be taken, and those drain.
        """
        for pod, uid in victims.items():
            try:
                await self._writer.first_to_go(pod, uid)
            except ApiError as error:
                if error.status in OVERLOADED:
                    raise
                if error.status not in (404, 409, 422):  # the pod is gone, or another one has its name
                    log.warning("pod %s cannot be marked as the first to go: %s", pod, error)

    async def _spare(self, pods: Mapping[Key, str]) -> None:
        """Take marks back; what fails is tried again before the next shrink."""
        for pod, uid in pods.items():
            try:
                await self._writer.first_to_go(pod, uid, first=False)
            except (ApiError, OSError, TimeoutError) as error:
                log.debug("pod %s is still marked as the first to go: %s", pod, error)

    async def scale(self, key: Key, replicas: int, seen_version: str) -> None:
        """One write to /scale. Raises Conflict when it is no longer at that resourceVersion."""
        try:
            scale = await self._writer.scale(key, replicas, seen_version)
        except ApiError as error:
            raise await self._conflict(error, key) from error
        deployment = self._store.get(DEPLOYMENTS, key)
        if deployment is not None:
            version = scale["metadata"]["resourceVersion"]
            self._store.put(
                DEPLOYMENTS,
                {
                    **deployment,
                    "metadata": {**deployment["metadata"], "resourceVersion": version},
                    "spec": {**deployment["spec"], "replicas": replicas},
                },
            )

    async def delete(self, key: Key, deployment: Object) -> None:
        """Delete this very one, and in the background its pods."""
        metadata = {"namespace": key.namespace, "name": key.name, "uid": deployment["metadata"]["uid"]}
        await self._writer.delete({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata})
        self._store.drop(DEPLOYMENTS, key, version_of(deployment))
        self._dropped.pop(key, None)

    async def _conflict(self, error: ApiError, key: Key) -> Exception:
        """The error as Conflict where another look helps: at what the server has, whatever watches told."""
        if error.status not in (404, 409):
            return error
        live, now = self._store.get(DEPLOYMENTS, key), await self._read(key)
        if now is not None:
            self._store.found(DEPLOYMENTS, now)
        elif live is not None:
            self._store.drop(DEPLOYMENTS, key, version_of(live))
        return Conflict(str(error))


def _keys_of(owner: Key) -> tuple[Key, ...]:
    """Those of the Deployments that a RedisQueue may have."""
    return tuple(Key(owner.namespace, name(owner.name)) for name in (deployment_name, canary_name))


def belongs_to(deployment: Object, rq: RedisQueue) -> bool:
    """Whether a child is this RedisQueue's: its own, or what another one of its name left behind (Orphan)."""
    metadata = deployment["metadata"]
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller"):
            return bool(owner["uid"] == rq.uid)
    labels, author = metadata.get("labels") or {}, annotation_of(deployment, OWNER_UID)
    return author != "" and (author == rq.uid or labels.get(QUEUE_LABEL) == rq.key.name)


def _same(live: Object, manifest: Object) -> bool:
    """Whether the Deployment was applied with the same manifest, whoever did it."""
    return annotation_of(live, APPLIED_HASH) == annotation_of(manifest, APPLIED_HASH)


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in version.split(".")[:3])
