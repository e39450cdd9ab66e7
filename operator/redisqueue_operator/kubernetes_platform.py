"""The Platform that is a Kubernetes cluster: reads from watch-fed stores, writes through `apply.Writer`."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from redisqueue_operator.api.model import Key
from redisqueue_operator.apply.dependents import Dependents
from redisqueue_operator.apply.deployments import Deployments
from redisqueue_operator.apply.own_object import OwnObject
from redisqueue_operator.apply.stable_template import StableTemplates
from redisqueue_operator.decide.canary import Split, Stage
from redisqueue_operator.decide.canary.rollout import NUMBER_IS_FIXED
from redisqueue_operator.decide.children import SourceMissingError, children
from redisqueue_operator.decide.children.deployment import canary_of
from redisqueue_operator.decide.children.drift import is_as_wanted
from redisqueue_operator.decide.children.identity import MANAGED_BY, canary_name, deployment_name, is_owned
from redisqueue_operator.decide.upgrade_budget import MOST_AT_ONCE, UpgradeBudget, operator_version_of
from redisqueue_operator.kubernetes_api import ApiError, KubernetesApi, Object
from redisqueue_operator.observe.cache import (
    DEPLOYMENTS,
    REDISQUEUES,
    Store,
    fleet_of,
)
from redisqueue_operator.observe.coverage import Coverage, Listing
from redisqueue_operator.observe.facts import BUDGET_REFUSED, TWO_BUDGETS, ApplyOutcome
from redisqueue_operator.observe.references import References, identity_of
from redisqueue_operator.platform import Conflict, Fleet, PlatformError, SettingsUnavailable, always_roll

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis_message_queue.connection import ConnectionSettings
    from redisqueue_operator.api.model import RedisQueue
    from redisqueue_operator.apply.writer import Writer
    from redisqueue_operator.decide.canary import Versions
    from redisqueue_operator.decide.status import EventRecord
    from redisqueue_operator.observe.redis.settings import Connections
    from redisqueue_operator.scope import Scope

RETRY_REFUSED_SECONDS = 30.0
_FINGERPRINT = "redisqueue.dev/fingerprint"
TURN_SECONDS = 10.0
APPLIED = ApplyOutcome(ok=True, reason="Applied", message="")
WAITS_FOR_TURN = ApplyOutcome(
    ok=True,
    reason="RolloutQueued",
    message="A newer operator makes another template: it is rolled out when fewer than "
    f"{MOST_AT_ONCE} Deployments roll.",
    again_after_seconds=TURN_SECONDS,
)
# 400 and 422: the template is wrong; 403: not allowed. The same request would get the same answer.
REFUSALS = (400, 403, 422)
_PARTLY = {
    Stage.CANARY: "Some workers are as the spec says: its template is on trial.",
    Stage.STAY: "The workers keep the template before: that of the spec was rolled back.",
    Stage.WAIT: f"The workers keep the template before: {NUMBER_IS_FIXED}.",
}


@dataclass(frozen=True, slots=True)
class _Applied:
    """What the last apply was made from, and how it ended."""

    wanted: str
    live: str
    outcome: ApplyOutcome
    at: float

    def still_holds(self, wanted: str, live: str) -> bool:
        """Whether another apply would change nothing; what was refused is tried again after a while."""
        same = (self.wanted, self.live) == (wanted, live)
        whole = self.outcome.ok and self.outcome.reason != BUDGET_REFUSED
        return same and (whole or time.monotonic() - self.at < RETRY_REFUSED_SECONDS)


class KubernetesPlatform:
    """Implements `platform.Platform`.

    Args:
        scope: what is watched.
        coverage: what of it can be seen.
        worker_image: the image where a spec names none.
        version: the operator's own, written on children.
        operator: what tells this operator from others beside it, written on children; its replicas share it.
    """

    def __init__(
        self,
        api: KubernetesApi,
        store: Store,
        writer: Writer,
        references: References,
        connections: Connections,
        *,
        worker_image: str,
        version: str,
        operator: str = "",
        scope: Scope,
        coverage: Coverage | None = None,
    ) -> None:
        self._api = api
        self._store = store
        self._writer = writer
        self._references = references
        self._connections = connections
        self._worker_image = worker_image
        self._version = version
        self._operator = operator
        self._coverage = coverage or Coverage(scope)
        self._listing = Listing(api, store, scope, self._coverage)
        self._applied: dict[Key, _Applied] = {}
        self._manifests: dict[Key, tuple[tuple[object, ...], list[Object], str]] = {}
        self._budget = UpgradeBudget(version, lambda: store.all(DEPLOYMENTS) if self._listed else None)
        self._listed = False
        self._dependents = Dependents(api, store, writer, scope)
        self._deployments = Deployments(
            api, store, writer, self._dependents, version=version, operator=operator
        )
        self._own = OwnObject(api, store, writer)
        self._stable = StableTemplates(api, writer)

    async def keys(self) -> list[Key]:
        """A fresh list of all watched kinds, which also heals what the watches missed.

        The other children are listed first: a snapshot that no ReplicaSet of a later list mounts is unused.
        """
        began = time.monotonic()
        others = await self._dependents.read()
        await self._listing.everything()
        self._listed = True
        for key, (_, manifests, _) in tuple(self._manifests.items()):
            applied = self._applied.get(key)
            sure = applied is not None and applied.at < began and others.knows(key.namespace)
            if sure and not others.are_as_wanted(manifests[:-1]):
                del self._applied[key]  # they are applied again
            await self._dependents.prune(key, manifests[-1])
        return self._store.keys(REDISQUEUES)

    async def fill_gaps(self) -> bool:
        """Read again what could not be read the last time; whether something could."""
        gaps = self._coverage.unlisted
        if gaps:
            await self._listing.gaps()
        return len(self._coverage.unlisted) < len(gaps)

    async def get(self, key: Key) -> Object | None:
        """The newest version that a watch, a list or a write of ours has shown."""
        return self._store.get(REDISQUEUES, key)

    async def observe(self, rq: RedisQueue) -> Fleet:
        """The Deployments, if they are this RedisQueue's own, and the pods."""
        if problem := self._coverage.blind_spot(rq.key.namespace):
            if rq.deletion:  # workers that are not seen are not gone
                raise PlatformError(problem)
            return Fleet()  # who is busy is not known, and nobody shall be taken for idle
        if rq.deletion:
            await self._deployments.look_again(_deployment_key(rq))
        deployment = self._deployments.own(rq, _deployment_key(rq))
        trial = self._deployments.own(rq, _canary_key(rq))
        return fleet_of(self._store, rq.key, deployment, self._api.now(), trial=trial)

    async def apply(self, rq: RedisQueue, choose: Callable[[Versions], Stage] = always_roll) -> ApplyOutcome:
        """Apply all children when what they shall be, or what a Deployment is, has changed."""
        if problem := self._coverage.blind_spot(rq.key.namespace):
            return ApplyOutcome(ok=False, reason="Unreadable", message=problem)
        try:
            manifests, wanted = await self._wanted(rq)
        except (SourceMissingError, SettingsUnavailable) as error:
            reason = error.reason if isinstance(error, SettingsUnavailable) else "SourceMissing"
            return ApplyOutcome(ok=False, reason=reason, message=str(error))
        await self._stable.look_up(rq)
        stage = choose(self._versions(rq, manifests))
        of_all = self._of_all(rq, manifests[-1], stage)
        kept = self._stable.has(rq, of_all)
        wanted = f"{stage} {wanted}"
        last = self._applied.get(rq.key)
        if last is not None and kept and last.still_holds(wanted, self._live(rq)):
            return self._remarked(rq, last.outcome, manifests)
        if last is None and kept and self._as_wanted(rq, manifests, of_all, stage):
            outcome = APPLIED
        elif stage in (Stage.ROLL, Stage.PROMOTE) and self._budget.must_wait(
            rq.key,
            self._store.get(DEPLOYMENTS, _deployment_key(rq)),
            manifests[-1],
            self._manifests[rq.key][0],
        ):
            return await self._refusal(rq, stage) or WAITS_FOR_TURN
        else:
            try:
                outcome = await self._apply_all(rq, manifests, stage)
            finally:
                self._budget.started(rq.key)
        self._applied[rq.key] = _Applied(wanted, self._live(rq), outcome, time.monotonic())
        return self._remarked(rq, outcome, manifests)

    def _remarked(self, rq: RedisQueue, outcome: ApplyOutcome, manifests: list[Object]) -> ApplyOutcome:
        """The outcome, and what is not right although all was applied."""
        trouble = self._dependents.budget_trouble(rq, manifests[-1])
        if not trouble or not outcome.ok or outcome.reason != APPLIED.reason:
            return outcome
        return replace(outcome, reason=TWO_BUDGETS, message=f"{outcome.message} {trouble}".strip())

    def _as_wanted(self, rq: RedisQueue, manifests: list[Object], of_all: Object, stage: Stage) -> bool:
        """Whether all is as wanted: a new leader has nothing to write then."""
        live = self._deployments.own(rq, _deployment_key(rq))
        trial = self._deployments.own(rq, _canary_key(rq))
        if stage is Stage.CANARY:
            tried = is_as_wanted(trial, canary_of(manifests[-1], rq.key.name), "metadata", "spec")
        else:
            tried = trial is None and stage is not Stage.PROMOTE
        same = tried and is_as_wanted(live, of_all, "metadata", "spec")
        return same and self._dependents.are_as_wanted(rq, manifests[:-1])

    def _versions(self, rq: RedisQueue, manifests: list[Object]) -> Versions:
        live = self._deployments.own(rq, _deployment_key(rq))
        trial = self._deployments.own(rq, _canary_key(rq))
        return self._stable.versions(rq, manifests[-1], live, trial)

    def _of_all(self, rq: RedisQueue, deployment: Object, stage: Stage) -> Object:
        """The manifest of the workers that are no canaries."""
        live = self._deployments.own(rq, _deployment_key(rq))
        return self._stable.manifest(rq, deployment, stage, live)

    def _live(self, rq: RedisQueue) -> str:
        """What the Deployments are now."""
        keys = (_deployment_key(rq), _canary_key(rq))
        return " ".join(fingerprint(self._store.get(DEPLOYMENTS, key)) for key in keys)

    async def scale(self, rq: RedisQueue, fleet: Fleet, split: Split, victims: tuple[str, ...]) -> None:
        """Mark the victims, then one write to the /scale of each Deployment that changes. Raises Conflict."""
        uids = {pod.name: pod.uid for pod in fleet.pods}
        pods = {Key(rq.key.namespace, name): uids[name] for name in victims}
        async with self._deployments.marked(rq.key, pods):
            if fleet.canary is not None and split.canary != fleet.canary.replicas:
                await self._deployments.scale(_canary_key(rq), split.canary, fleet.canary.version)
            if split.stable != fleet.split.stable:
                await self._deployments.scale(_deployment_key(rq), split.stable, fleet.version)

    async def connection_settings(
        self, rq: RedisQueue, *, fresh: bool = False
    ) -> tuple[ConnectionSettings, float]:
        """From `spec.redis` and its Secrets. Raises SettingsUnavailable or ValueError."""
        settings = await self._connections.settings(rq, fresh=fresh)
        return settings, self._references.age_seconds(rq.key.namespace, rq.spec.redis.secret_names)

    async def write_status(self, rq: RedisQueue, status: dict[str, Any]) -> None:
        """Merge-patch of /status. Raises Conflict."""
        await self._own.status(rq, status)

    async def hold(self, rq: RedisQueue, held: bool) -> None:
        """Put our finalizer on, or take it off. Raises Conflict.

        Before it is off the children belong to the object again: they go when it goes, not earlier.
        """
        known = self._store.get(DEPLOYMENTS, _deployment_key(rq)) is not None
        try:
            if not held and rq.spec.deletion_policy != "Orphan":
                await self._dependents.set_owned(rq, True)
            await self._own.finalizer(rq, held)
            if held and known:
                await self._dependents.set_owned(rq, False)
        except ApiError as error:
            if error.status == 409:
                raise Conflict(str(error)) from error
            if error.status != 404:  # gone already
                raise

    async def emit(self, rq: RedisQueue, event: EventRecord) -> None:
        """An events.k8s.io Event."""
        await self._writer.event(rq, event)

    async def take_over(self, rq: RedisQueue) -> None:
        """The operator that wrote the children is not at work any more: they are ours to write."""
        self._deployments.take_over(_deployment_key(rq))
        self._applied.pop(rq.key, None)

    async def forget(self, key: Key) -> None:
        """Garbage collection deletes the children; only our memory is left to drop."""
        self._applied.pop(key, None)
        self._manifests.pop(key, None)
        self._budget.forget(key)
        self._stable.forget(key)
        self._deployments.forget(key)

    async def _wanted(self, rq: RedisQueue) -> tuple[list[Object], str]:
        """The children's manifests and their fingerprint, built anew only from new inputs."""
        versions = {}
        for name in rq.spec.redis.secret_names:
            versions[name] = identity_of(await self._references.secret(Key(rq.key.namespace, name)))
        source = None
        if rq.spec.worker.source is not None:
            source = await self._references.config_map(
                Key(rq.key.namespace, rq.spec.worker.source.config_map_ref.name)
            )
        inputs = (
            rq.uid,
            rq.generation,
            is_owned(rq),
            tuple(versions.items()),
            source and identity_of(source),
        )
        known = self._manifests.get(rq.key)
        if known is None or known[0] != inputs:
            manifests = children(
                rq,
                default_image=self._worker_image,
                operator_version=self._version,
                operator=self._operator,
                secret_versions=versions,
                source=(source or {}).get("data"),
                binary_source=(source or {}).get("binaryData"),
            )
            known = self._manifests[rq.key] = (inputs, manifests, _digest(manifests))
        return known[1], known[2]

    async def _apply_all(self, rq: RedisQueue, manifests: list[Object], stage: Stage) -> ApplyOutcome:
        """How it ended."""
        known = self._store.get(DEPLOYMENTS, _deployment_key(rq))
        refusal = await self._refusal(rq, stage)
        if refusal is not None:
            return refusal
        if known is None and self._store.get(DEPLOYMENTS, _deployment_key(rq)) is not None:
            raise Conflict(f"Deployment {_deployment_key(rq)} was not known: its version counts, too")
        *others, deployment = manifests
        try:
            trouble = await self._dependents.apply(rq, others)
            await self._apply_stage(rq, deployment, stage)
        except ApiError as error:
            if error.status == 409:
                raise Conflict(str(error)) from error
            if not is_refusal(error):
                raise
            return ApplyOutcome(ok=False, reason="ApplyRefused", message=str(error))
        if trouble:
            return ApplyOutcome(True, BUDGET_REFUSED, trouble, RETRY_REFUSED_SECONDS)
        return self._deployments.outcome(rq, _PARTLY.get(stage, ""))

    async def _apply_stage(self, rq: RedisQueue, deployment: Object, stage: Stage) -> None:
        """Give the workers of the stage the template, and end a trial that is over."""
        of_all = self._of_all(rq, deployment, stage)
        await self._deployments.apply(_deployment_key(rq), of_all)
        await self._stable.keep(rq, of_all)
        if stage is Stage.CANARY:
            await self._deployments.apply(_canary_key(rq), canary_of(deployment, rq.key.name))
        trial = self._deployments.own(rq, _canary_key(rq))
        if stage in (Stage.ROLL, Stage.STAY, Stage.WAIT) and trial is not None:
            await self._deployments.delete(_canary_key(rq), trial)

    async def _refusal(self, rq: RedisQueue, stage: Stage) -> ApplyOutcome | None:
        """Why the children are not ours to write: a foreign Deployment, or a newer operator."""
        if self._store.get(DEPLOYMENTS, _deployment_key(rq)) is None:
            # Before creating anything, look at the server itself: what we know may be older than a deletion.
            live = await self._api.get(REDISQUEUES.path_to(rq.key))
            if live is None or live["metadata"]["uid"] != rq.uid:
                self._store.drop(REDISQUEUES, rq.key, int(rq.raw["metadata"]["resourceVersion"]))
                raise Conflict(f"RedisQueue {rq.key} is gone")
        deployment = self._manifests[rq.key][1][-1]
        refusal = await self._deployments.refusal(rq, _deployment_key(rq), deployment)
        if refusal is None and stage is Stage.CANARY:
            canary = canary_of(deployment, rq.key.name)
            return await self._deployments.refusal(rq, _canary_key(rq), canary)
        return refusal


def is_refusal(error: ApiError) -> bool:
    """Whether the same request would get the same answer, so that people are told instead of trying again."""
    return error.status in REFUSALS or (error.status == 500 and not error.passing)


def fingerprint(deployment: Object | None) -> str:
    """Changes when somebody changes or removes what we applied; scaling and status do not count."""
    if deployment is None:
        return ""
    if _FINGERPRINT not in deployment:  # asked at every look, and the same as long as the object is
        metadata = deployment["metadata"]
        spec = {name: value for name, value in deployment["spec"].items() if name != "replicas"}
        labels = {name: value for name, value in (metadata.get("labels") or {}).items() if name != MANAGED_BY}
        parts = [
            metadata["uid"],
            labels,
            metadata.get("ownerReferences"),
            operator_version_of(deployment),
            spec,
        ]
        deployment[_FINGERPRINT] = _digest(parts)
    return str(deployment[_FINGERPRINT])


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _deployment_key(rq: RedisQueue) -> Key:
    return Key(rq.key.namespace, deployment_name(rq.key.name))


def _canary_key(rq: RedisQueue) -> Key:
    return Key(rq.key.namespace, canary_name(rq.key.name))
