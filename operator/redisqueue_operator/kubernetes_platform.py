"""The Platform that is a cluster: reads from watch-fed stores, writes through `apply.Writer`."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from redisqueue_operator.api.model import Key
from redisqueue_operator.apply.dependents import Dependents
from redisqueue_operator.apply.deployments import Deployments
from redisqueue_operator.apply.own_object import OwnObject
from redisqueue_operator.apply.stable_template import StableTemplates
from redisqueue_operator.decide.children import SourceMissingError, children
from redisqueue_operator.decide.children.identity import MANAGED_BY, canary_name, deployment_name, is_owned
from redisqueue_operator.decide.children.plan import Children, budget_refused, own
from redisqueue_operator.decide.protection import annotations_of
from redisqueue_operator.decide.status import EventRecord
from redisqueue_operator.decide.upgrade_budget import operator_version_of
from redisqueue_operator.errors import Conflict, PlatformError, SettingsUnavailable
from redisqueue_operator.kubernetes_api import ApiError, KubernetesApi, Object
from redisqueue_operator.observe.cache import DEPLOYMENTS, REDISQUEUES, Store, fleet_of, has_rolled
from redisqueue_operator.observe.compact import compact
from redisqueue_operator.observe.coverage import Coverage, Listing
from redisqueue_operator.observe.facts import ApplyOutcome, ChildrenSeen, Fleet
from redisqueue_operator.observe.references import References, identity_of
from redisqueue_operator.observe.upgrades import Upgrades
from redisqueue_operator.platform import Mark, Protect, SetFinalizer, SetNumber, World, WriteStatus, Written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from redis_message_queue.connection import ConnectionSettings
    from redisqueue_operator.api.model import RedisQueue
    from redisqueue_operator.apply.writer import Writer
    from redisqueue_operator.observe.redis.settings import Connections
    from redisqueue_operator.platform import Step
    from redisqueue_operator.scope import Scope

_FINGERPRINT = "redisqueue.dev/fingerprint"
# 400 and 422: the template is wrong; 403: not allowed. The same request would get the same answer.
REFUSALS = (400, 403, 422)


class KubernetesPlatform:
    """Implements `platform.Platform`.

    Args:
        scope: what is watched.
        coverage: what of it can be seen.
        worker_image: the image where a spec names none.
        worker_pull_secrets: names of the Secrets by which that one is pulled.
        version: the operator's own, written on children.
        operator: what tells this operator from others beside it, written on children; its replicas share it.
        notify: told of each RedisQueue about which a list had news.
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
        worker_pull_secrets: Sequence[str] = (),
        version: str,
        operator: str = "",
        scope: Scope,
        coverage: Coverage | None = None,
        notify: Callable[[Key], None] = lambda _: None,
    ) -> None:
        self._api = api
        self._store = store
        self._writer = writer
        self._references = references
        self._connections = connections
        self._worker_image = worker_image
        self._worker_pull_secrets = tuple(worker_pull_secrets)
        self._version = version
        self._operator = operator
        self._coverage = coverage or Coverage(scope)
        self._listing = Listing(api, store, scope, self._coverage, notify)
        self._manifests: dict[Key, tuple[tuple[object, ...], tuple[Object, ...], str]] = {}
        self._upgrades = Upgrades(version, lambda: store.all(DEPLOYMENTS) if self._listed else None)
        self._listed = False
        self._dependents = Dependents(api, store, writer, scope)
        self._deployments = Deployments(api, store, writer, self._dependents)
        self._own = OwnObject(api, store, writer)
        self._stable = StableTemplates(api, writer)

    async def keys(self) -> list[Key]:
        """A fresh list of all watched kinds, which also heals what the watches missed.

        The other children are listed first: a snapshot that no ReplicaSet of a later list mounts is unused.
        """
        await self._dependents.read()
        await self._listing.everything()
        self._listed = True
        for key, (_, manifests, _) in tuple(self._manifests.items()):
            await self._dependents.prune(key, manifests[-1])
        return self._store.keys(REDISQUEUES)

    async def fill_gaps(self) -> bool:
        """Read again what could not be read the last time; whether more, or less, can be seen now."""
        blind = self._coverage.blind
        await self._listing.gaps()
        return self._coverage.blind != blind

    async def get(self, key: Key) -> Object | None:
        """The newest version that a watch, a list or a write of ours has shown."""
        return self._store.get(REDISQUEUES, key)

    async def settings(self, rq: RedisQueue, *, fresh: bool = False) -> tuple[ConnectionSettings, float]:
        """From `spec.redis` and its Secrets. Raises SettingsUnavailable or ValueError."""
        settings = await self._connections.settings(rq, fresh=fresh)
        return settings, self._references.age_seconds(rq.key.namespace, rq.spec.redis.secret_names)

    async def forget(self, key: Key) -> None:
        """Garbage collection deletes the children; only our memory is left to drop."""
        self._manifests.pop(key, None)
        self._stable.forget(key)
        self._dependents.forget(key)
        self._deployments.forget(key)

    async def observe(self, rq: RedisQueue) -> World:
        """The Deployments, the pods, and the other children.

        Nothing is waited for after the rollouts were counted: who takes a turn counts before the next looks.
        """
        if problem := self._coverage.blind_spot(rq.key.namespace):
            if rq.deletion:  # workers that are not seen are not gone
                raise PlatformError(problem)
            # Who is busy is not known, and nobody shall be taken for idle.
            return World(Fleet(unseen=True), self._unknown(ApplyOutcome(False, "Unreadable", problem)))
        if rq.deletion:
            await self._deployments.look_again(_deployment_key(rq))
            seen = ChildrenSeen(self._version, self._operator)
        else:
            seen = await self._children(rq)
        workers, trial = (self._store.get(DEPLOYMENTS, key) for key in (_deployment_key(rq), _canary_key(rq)))
        fleet = fleet_of(self._store, rq.key, own(rq, workers), self._api.now(), trial=own(rq, trial))
        return World(fleet, seen)

    async def _children(self, rq: RedisQueue) -> ChildrenSeen:
        """What the spec wants of them, and what there is."""
        try:
            inputs, manifests, digest = await self._wanted(rq)
        except (SourceMissingError, SettingsUnavailable) as error:
            reason = error.reason if isinstance(error, SettingsUnavailable) else "SourceMissing"
            return self._unknown(ApplyOutcome(ok=False, reason=reason, message=str(error)))
        await self._stable.look_up(rq)
        workers = self._store.get(DEPLOYMENTS, _deployment_key(rq))
        others = self._dependents.seen(rq, manifests, digest)
        # All Deployments are counted for that: only where it may be asked.
        others_version = workers is not None and operator_version_of(workers) != self._version
        return ChildrenSeen(
            self._version,
            self._operator,
            manifests=manifests,
            digest=digest,
            inputs=inputs,
            workers=workers,
            trial=self._store.get(DEPLOYMENTS, _canary_key(rq)),
            live=_fingerprints(self._seen(rq)),
            rolled=workers is not None and has_rolled(workers),
            copy=self._stable.of(rq),
            keeps_copy=self._stable.keeps(rq),
            others_as_wanted=others.as_wanted,
            others_missed_at=others.missed_at,
            unwanted_budget=others.unwanted_budget,
            remark=others.remark,
            rolling=self._upgrades.rolling() if others_version else 0,
            starting=len(self._upgrades.starting),
        )

    def _unknown(self, problem: ApplyOutcome) -> ChildrenSeen:
        return ChildrenSeen(self._version, self._operator, problem=problem)

    def _seen(self, rq: RedisQueue) -> dict[Key, Object | None]:
        """What the Deployments are as far as was told."""
        return {key: self._store.get(DEPLOYMENTS, key) for key in (_deployment_key(rq), _canary_key(rq))}

    async def _wanted(self, rq: RedisQueue) -> tuple[tuple[object, ...], tuple[Object, ...], str]:
        """What the children are made of, their manifests and the digest of these; new for new inputs."""
        versions = {}
        for name in rq.spec.redis.secret_names:
            versions[name] = identity_of(await self._references.secret(Key(rq.key.namespace, name)))
        source = None
        if (named := rq.spec.worker.config_map_name) is not None:
            source = await self._references.config_map(Key(rq.key.namespace, named))
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
                default_pull_secrets=self._worker_pull_secrets,
                operator_version=self._version,
                operator=self._operator,
                secret_versions=versions,
                source=(source or {}).get("data"),
                binary_source=(source or {}).get("binaryData"),
            )
            known = self._manifests[rq.key] = (inputs, tuple(map(compact, manifests)), _digest(manifests))
        return known

    async def execute(self, rq: RedisQueue, step: Step) -> Written | None:
        """One step, each behind the rate limiter of its kind. Raises Conflict."""
        match step:
            case Children():
                made = self._seen(rq)
                outcome = await self._write_children(rq, step, made)
                return Written(outcome, _fingerprints(made))
            case Mark():
                pods, plain = _by_key(rq, step.pods), annotations_of(rq, protect=False)
                besides = {uid: plain for _, uid in step.released}
                await (self._deployments.mark(pods, besides) if step.first else self._deployments.spare(pods))
            case Protect():
                annotations = annotations_of(rq, protect=step.protect)
                await self._deployments.annotate(_by_key(rq, step.pods), annotations)
            case SetNumber():
                await self._set_number(rq, step)
            case WriteStatus():
                await self._own.status(rq, step.status)
            case EventRecord():
                await self._writer.event(rq.raw, step)
            case SetFinalizer():
                await self._hold(rq, step.held)
        return None

    async def _write_children(
        self, rq: RedisQueue, step: Children, made: dict[Key, Object | None]
    ) -> ApplyOutcome:
        """How it ended; `made` gets what the server answered: what others do meanwhile is not our work."""
        if step.upgrade:
            self._upgrades.starting.add(rq.key)
        try:
            refused = await self._name_taken(rq, step)
            refused = refused or await self._deployments.unsupported(step.workers, step.canaries)
            return refused or await self._write_each(rq, step, made)
        except ApiError as error:
            if error.status == 409:
                raise Conflict(str(error)) from error
            if not is_refusal(error):
                raise
            return ApplyOutcome(ok=False, reason="ApplyRefused", message=str(error))
        finally:
            self._upgrades.started(rq.key)

    async def _name_taken(self, rq: RedisQueue, step: Children) -> ApplyOutcome | None:
        """Before creating anything, look at the server itself: what was seen may be older than a deletion."""
        if self._store.get(DEPLOYMENTS, _deployment_key(rq)) is None:
            live = await self._api.get(REDISQUEUES.path_to(rq.key))
            if live is None or live["metadata"]["uid"] != rq.uid:
                self._store.drop(REDISQUEUES, rq.key, int(rq.raw["metadata"]["resourceVersion"]))
                raise Conflict(f"RedisQueue {rq.key} is gone")
        taken = await self._deployments.name_taken(rq, _deployment_key(rq))
        if taken is None and step.canaries is not None:
            return await self._deployments.name_taken(rq, _canary_key(rq))
        return taken

    async def _write_each(
        self, rq: RedisQueue, step: Children, made: dict[Key, Object | None]
    ) -> ApplyOutcome:
        workers, canary = _deployment_key(rq), _canary_key(rq)
        trouble = await self._dependents.apply(rq, step.others, step.unwanted_budget)
        made[workers] = await self._deployments.apply(rq, workers, step.workers)
        if step.copied:
            await self._stable.keep(rq, step.workers)
        if step.canaries is not None:
            made[canary] = await self._deployments.apply(rq, canary, step.canaries)
        if step.ended is not None:
            await self._deployments.delete(canary, step.ended)
            made[canary] = None
        if trouble:
            return budget_refused(trouble)
        return self._deployments.outcome(rq, step.message)

    async def _set_number(self, rq: RedisQueue, step: SetNumber) -> None:
        """One write to the /scale of each Deployment that changes."""
        fleet, split = step.fleet, step.split
        if fleet.canary is not None and split.canary != fleet.canary.replicas:
            await self._deployments.scale(_canary_key(rq), split.canary, fleet.canary.version)
        if split.stable != fleet.split.stable:
            await self._deployments.scale(_deployment_key(rq), split.stable, fleet.version)

    async def _hold(self, rq: RedisQueue, held: bool) -> None:
        """Put our finalizer on, or take it off.

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


def is_refusal(error: ApiError) -> bool:
    """Whether the same request would get the same answer, so that people are told instead of trying again."""
    return error.status in REFUSALS or (error.status == 500 and not error.passing)


def _fingerprints(deployments: Mapping[Key, Object | None]) -> str:
    return " ".join(map(fingerprint, deployments.values()))


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


def _by_key(rq: RedisQueue, pods: Iterable[tuple[str, str]]) -> dict[Key, str]:
    return {Key(rq.key.namespace, name): uid for name, uid in pods}


def _deployment_key(rq: RedisQueue) -> Key:
    return Key(rq.key.namespace, deployment_name(rq.key.name))


def _canary_key(rq: RedisQueue) -> Key:
    return Key(rq.key.namespace, canary_name(rq.key.name))
