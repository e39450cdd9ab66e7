"""A Deployment of workers on the API server: whose it is, and every write to it."""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING

from redisqueue_operator.api.model import Key
from redisqueue_operator.api.objects import QUEUE_LABEL, annotation_of
from redisqueue_operator.decide.children import source_image
from redisqueue_operator.decide.children.drift import dropped_from, outcome_of
from redisqueue_operator.decide.children.identity import (
    OPERATOR,
    belongs_to,
    canary_name,
    deployment_name,
    same_applied,
)
from redisqueue_operator.decide.children.plan import name_conflict
from redisqueue_operator.errors import Conflict
from redisqueue_operator.kubernetes_api import OVERLOADED, ApiError, KubernetesApi, Object
from redisqueue_operator.observe.cache import DEPLOYMENTS, PODS, Store, owns_replicas, version_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redisqueue_operator.api.model import RedisQueue
    from redisqueue_operator.apply.dependents import Dependents
    from redisqueue_operator.apply.writer import Annotations, Writer
    from redisqueue_operator.observe.facts import ApplyOutcome

log = logging.getLogger(__name__)


class Deployments:
    """Writes Deployments, and remembers in the store what a write has shown."""

    def __init__(self, api: KubernetesApi, store: Store, writer: Writer, dependents: Dependents) -> None:
        self._api = api
        self._store = store
        self._writer = writer
        self._dependents = dependents
        self._dropped: dict[Key, list[str]] = {}

    async def name_taken(self, rq: RedisQueue, key: Key) -> ApplyOutcome | None:
        """Before one is made: whether the name is somebody else's. Raises Conflict where it is our own.

        What was seen may be older than the one that the server has.
        """
        if self._store.get(DEPLOYMENTS, key) is not None or (found := await self._read(key)) is None:
            return None
        if not belongs_to(found, rq):
            return name_conflict(found)
        self._store.found(DEPLOYMENTS, found)
        raise Conflict(f"Deployment {key} was not known: its version counts, too")

    async def unsupported(self, *manifests: Object | None) -> ApplyOutcome | None:
        """Before any is written: why the workers of one of them could not run here. A dry run tells."""
        for manifest in manifests:
            if manifest is None or not source_image.is_mounted_by(manifest):
                continue
            if refused := source_image.refusal(manifest, await self._writer.would_be(manifest)):
                return refused
        return None

    def forget(self, owner: Key) -> None:
        """That RedisQueue is gone, and with it what is remembered of its Deployments."""
        for key in _keys_of(owner):
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

    async def apply(self, rq: RedisQueue, key: Key, manifest: Object) -> Object:
        """Create it without workers, or make it what the manifest says: what it is then. Raises Conflict."""
        live = self._store.get(DEPLOYMENTS, key)
        if live is not None and not belongs_to(live, rq):
            raise Conflict(f"Deployment {key} became somebody else's")
        if live is None:
            return self._remember(key, manifest, await self._writer.create_scaled_to_zero(manifest))
        # With its uid the write fails where the Deployment was deleted meanwhile, and does not bring it back.
        metadata = {**manifest["metadata"], "uid": live["metadata"]["uid"]}
        if same_applied(live, manifest) and (author := annotation_of(live, OPERATOR)):
            metadata["annotations"] = {**metadata["annotations"], OPERATOR: author}  # no news, no generation
        pinned = {**manifest, "metadata": metadata}
        try:
            if owns_replicas(live):
                await self._writer.hand_over_replicas(live, manifest)
            return self._remember(key, manifest, await self._dependents.write(pinned))
        except ApiError as error:
            raise await self._conflict(error, key) from error

    def _remember(self, key: Key, manifest: Object, answer: Object) -> Object:
        self._store.put(DEPLOYMENTS, answer)
        self._dropped.pop(key, None)
        if dropped := list(dropped_from(answer["spec"], manifest["spec"], "spec")):
            self._dropped[key] = dropped
        return answer

    def outcome(self, rq: RedisQueue, message: str) -> ApplyOutcome:
        """How the last applies for this RedisQueue ended, if none was refused."""
        lost = [self._dropped.get(key, ()) for key in _keys_of(rq.key)]
        return outcome_of(list(dict.fromkeys(itertools.chain(*lost))), message)

    async def mark(self, victims: Mapping[Key, str], besides: Mapping[str, Annotations]) -> None:
        """Have ReplicaSets take these pods, by their uid, first; with these annotations besides, by uid.

        It is a help and no condition: without it other workers may be taken, and those drain.
        """
        for pod, uid in victims.items():
            try:
                await self._writer.first_to_go(pod, uid, annotations=besides.get(uid))
            except ApiError as error:
                if error.status in OVERLOADED:
                    raise
                if error.status not in (404, 409, 422):  # the pod is gone, or another one has its name
                    log.warning("pod %s cannot be marked as the first to go: %s", pod, error)

    async def spare(self, pods: Mapping[Key, str]) -> None:
        """Take marks back; what fails is tried again before the next shrink."""
        for pod, uid in pods.items():
            try:
                await self._writer.first_to_go(pod, uid, first=False)
            except (ApiError, OSError, TimeoutError) as error:
                log.debug("pod %s is still marked as the first to go: %s", pod, error)

    async def annotate(self, pods: Mapping[Key, str], annotations: Annotations) -> None:
        """Write these annotations of pods, by their uid, while there is room; the next look does the rest."""
        for pod, uid in pods.items():
            try:
                written = await self._writer.protect(pod, uid, annotations)
            except ApiError as error:
                if error.status in (404, 409):  # the pod is gone, or another one has its name
                    continue
                raise
            if written is None:
                return
            self._store.put(PODS, written)

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
