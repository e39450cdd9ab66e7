"""What the watches told, by object, and how it reads as a Fleet."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from redisqueue_operator.api.model import Key
from redisqueue_operator.api.objects import OVERDUE, QUEUE_LABEL, annotation_of, conditions_of
from redisqueue_operator.api.resources import Resource
from redisqueue_operator.decide.children.deployment import config_hash
from redisqueue_operator.decide.children.identity import (
    canary_name,
    deployment_name,
)
from redisqueue_operator.observe.compact import compact, shared
from redisqueue_operator.observe.ends import Ends, ended_in
from redisqueue_operator.observe.facts import Canary, Fleet
from redisqueue_operator.observe.pods import is_canary, pod_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from redisqueue_operator.observe.facts import PodObservation

Object = dict[str, Any]

MANAGER = "redisqueue-operator"
"""Who applies children, as the API server notes it of each field."""
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
FIRST_TO_GO = "-1000"
MANAGED = QUEUE_LABEL
"""The label selector of children: nobody else writes a label of our domain."""
MOST_ENDED = 10_000
"""Deleted objects whose last version is still known: late answers are late by seconds, not by as many."""
REPLICA_FAILURE = "ReplicaFailure"
"""The condition of Deployments and ReplicaSets whose pods the API server refuses."""
_OWNS_REPLICAS = "redisqueue.dev/owns-replicas"


REDISQUEUES = Resource("redisqueue.dev", "v1alpha1", "redisqueues")
DEPLOYMENTS = Resource("apps", "v1", "deployments", MANAGED)
REPLICASETS = Resource("apps", "v1", "replicasets", MANAGED)
PODS = Resource("", "v1", "pods", MANAGED)
WATCHED = (REDISQUEUES, DEPLOYMENTS, REPLICASETS, PODS)


class Store:
    """The newest version seen of every watched object. Older news never replaces newer."""

    def __init__(self) -> None:
        self._objects: dict[Resource, dict[Key, Object]] = {resource: {} for resource in WATCHED}
        self._children: dict[tuple[Resource, Key], dict[Key, Object]] = {}
        self._ended: dict[tuple[Resource, Key], int] = {}
        self._ends = Ends()

    def get(self, resource: Resource, key: Key) -> Object | None:
        return self._objects[resource].get(key)

    def keys(self, resource: Resource) -> list[Key]:
        return list(self._objects[resource])

    def children(self, resource: Resource, owner: Key) -> Iterable[Object]:
        """The objects of that kind that carry the RedisQueue's label."""
        return self._children.get((resource, owner), {}).values()

    def all(self, resource: Resource) -> Iterable[Object]:
        """The objects of that kind."""
        return self._objects[resource].values()

    def put(self, resource: Resource, obj: Object) -> tuple[Key, ...]:
        """Remember the object; the RedisQueues it is about, the one that it left included. None for old news.

        The answer to a write may arrive after the news that the object has ended: it does not come back so.
        """
        key, version = key_of(obj), version_of(obj)
        known = self._objects[resource].get(key)
        newest = version_of(known) if known is not None else self._ended.get((resource, key), 0)
        if newest >= version:
            return ()
        self._ended.pop((resource, key), None)
        left = self._take_out(resource, key)
        slim = _slim(resource, obj, known)
        self._objects[resource][key] = slim
        owner = owner_of(resource, obj)
        self._note_ends(owner, slim)
        if resource is not REDISQUEUES and owner is not None:
            self._children.setdefault((resource, owner), {})[key] = slim
        return tuple(dict.fromkeys(each for each in (owner, left) if each is not None))

    def found(self, resource: Resource, obj: Object) -> None:
        """Remember what the server has just been asked for: it is there, although a watch told of its end.

        To a watch, what lost the label of its selector has ended, with the version that it still has.
        """
        self._ended.pop((resource, key_of(obj)), None)
        self.put(resource, obj)

    def deleted(self, resource: Resource, obj: Object) -> tuple[Key, ...]:
        """As `drop`, with the object as it was at the end: a pod shows there how its containers ended."""
        self._note_ends(owner_of(resource, obj), _slim(resource, obj))
        return self.drop(resource, key_of(obj), version_of(obj))

    def _note_ends(self, owner: Key | None, slim: Object) -> None:
        if owner in self._objects[REDISQUEUES]:  # else nobody would ever forget them
            self._ends.note(owner, slim.get("ended", ()))

    def ended(self, owner: Key) -> tuple[str, ...]:
        """The instances of a RedisQueue's workers that were seen to be dead, also in pods that are gone."""
        shown = (each for pod in self.children(PODS, owner) for each in pod.get("ended", ()))
        return tuple(dict.fromkeys((*self._ends.of(owner), *shown)))

    def drop(self, resource: Resource, key: Key, version: int) -> tuple[Key, ...]:
        """Forget the object unless something newer is known; the RedisQueues it was about."""
        known = self._objects[resource].get(key)
        if known is None or version_of(known) > version:
            return ()
        self._ended[resource, key] = version
        if len(self._ended) > MOST_ENDED:
            del self._ended[next(iter(self._ended))]
        if resource is REDISQUEUES:
            self._ends.forget(key)
        owner = self._take_out(resource, key)
        return () if owner is None else (owner,)

    def _take_out(self, resource: Resource, key: Key) -> Key | None:
        """Remove it wherever it is; the RedisQueue it was about."""
        known = self._objects[resource].pop(key, None)
        owner = owner_of(resource, known) if known is not None else None
        siblings = self._children.get((resource, owner)) if owner is not None else None
        if owner is not None and siblings is not None:
            siblings.pop(key, None)
            if not siblings:
                del self._children[resource, owner]
        return owner

    def keep(
        self, resource: Resource, present: set[Key], version: int, namespace: str | None
    ) -> tuple[Key, ...]:
        """Drop what a whole list does not have; the RedisQueues it was about.

        What was deleted while a watch was broken is told by none.
        """
        missing = (key for key in self.keys(resource) if key not in present)
        gone = [key for key in missing if namespace in (None, key.namespace)]
        return tuple(owner for key in gone for owner in self.drop(resource, key, version))


def tell(store: Store, resource: Resource, about: Iterable[Key], notify: Callable[[Key], None]) -> None:
    """Pass on about which RedisQueues there was news, by an object of that kind.

    The workers of those that another operator serves are seen, too: of them nobody wants to hear.
    """
    for key in about:
        if resource is REDISQUEUES or store.get(REDISQUEUES, key) is not None:
            notify(key)


def key_of(obj: Object) -> Key:
    return Key(obj["metadata"]["namespace"], obj["metadata"]["name"])


def version_of(obj: Object) -> int:
    """resourceVersion as a number: they are comparable within one API server."""
    return int(obj["metadata"]["resourceVersion"])


def owner_of(resource: Resource, obj: Object) -> Key | None:
    """The RedisQueue that an object is about: by its label, unless its controller is somebody else's."""
    if resource is REDISQUEUES:
        return key_of(obj)
    name = (obj["metadata"].get("labels") or {}).get(QUEUE_LABEL)
    return Key(obj["metadata"]["namespace"], name) if name and not _is_foreign(resource, obj, name) else None


def _is_foreign(resource: Resource, obj: Object, queue: str) -> bool:
    """Whether a pod or ReplicaSet with our label is somebody else's.

    One without a controller is up for adoption. A ReplicaSet has the name of its Deployment, and a hash.
    """
    owners = obj["metadata"].get("ownerReferences") or ()
    controller = next((each for each in owners if each.get("controller")), None)
    if controller is None or resource not in (PODS, REPLICASETS):
        return False
    kind, name = controller["kind"], controller["name"]
    if resource is PODS:
        kind, name = {"ReplicaSet": "Deployment"}.get(kind, ""), name.rpartition("-")[0]
    return kind != "Deployment" or name not in (deployment_name(queue), canary_name(queue))


def _slim(resource: Resource, obj: Object, known: Object | None = None) -> Object:
    """Without what nobody reads. Of a pod, and there may be many, what is left is read once.

    `known` is the version before.
    """
    if resource is PODS:
        owner = owner_of(PODS, obj)
        slim = {"metadata": _bare(obj["metadata"], owner.name if owner else None), "seen": pod_of(obj)}
        return {**slim, "ended": ended} if (ended := tuple(ended_in(obj))) else slim
    if resource is DEPLOYMENTS:
        return {**compact(obj, known or {}), _OWNS_REPLICAS: _applied_replicas(obj)}
    # Where a spec is free, as a template in it, 1 and true are two things, and equal here.
    same = known is not None and known["metadata"].get("generation") == obj["metadata"].get("generation")
    obj = compact(obj, known if known is not None and same else {})
    if resource is REPLICASETS:
        spec = obj.get("spec") or {}
        volumes = ((spec.get("template") or {}).get("spec") or {}).get("volumes") or ()
        kept_volumes = [{"configMap": each["configMap"]} for each in volumes if "configMap" in each]
        kept_spec = {"replicas": spec.get("replicas", 0), "volumes": kept_volumes}
        slim = {"metadata": obj["metadata"], "spec": kept_spec}
        refused = conditions_of(obj.get("status")).get(REPLICA_FAILURE)
        return {**slim, "status": {"conditions": [refused]}} if refused else slim
    return obj


def owns_replicas(deployment: Object) -> bool:
    """Whether the number of a stored Deployment is still the one that it was created with."""
    return bool(deployment.get(_OWNS_REPLICAS))


def _applied_replicas(deployment: Object) -> bool:
    """Whether `replicas` is a field that we applied, and nobody has set since."""
    return any(
        entry["manager"] == MANAGER
        and entry["operation"] == "Apply"
        and "f:replicas" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
        for entry in deployment["metadata"].get("managedFields") or ()
    )


def _bare(metadata: Object, queue: str | None) -> Object:
    """What the store itself needs."""
    bare = {name: metadata[name] for name in ("namespace", "name", "resourceVersion")}
    if is_first_to_go(metadata):
        bare["annotations"] = {DELETION_COST: FIRST_TO_GO}
    return bare if queue is None else {**bare, "labels": {QUEUE_LABEL: shared(queue)}}


def is_first_to_go(metadata: Object) -> bool:
    """Whether a shrink of ours has marked this pod."""
    return annotation_of({"metadata": metadata}, DELETION_COST) == FIRST_TO_GO


def _marked_pods(store: Store, owner: Key) -> tuple[str, ...]:
    """Names of the pods of a RedisQueue that are marked so and still run."""
    pods = [each for each in store.children(PODS, owner) if is_first_to_go(each["metadata"])]
    seen = [each["seen"][1] for each in pods]
    return tuple(pod.name for pod in seen if pod is not None and not pod.terminating)


def fleet_of(
    store: Store, owner: Key, deployment: Object | None, now: float, *, trial: Object | None = None
) -> Fleet:
    """The workers of one RedisQueue, whose own `deployment` and `trial` are; `now` is the API server's time.

    `trial` is the Deployment of canaries.
    """
    found: list[tuple[float, PodObservation | None]] = [each["seen"] for each in store.children(PODS, owner)]
    pods = tuple(
        replace(pod, age_seconds=max(0.0, now - created)) for created, pod in found if pod is not None
    )
    newest = {False: config_hash(deployment), True: config_hash(trial)}
    pods = tuple(replace(pod, outdated=pod.template != newest[pod.canary]) for pod in pods)
    if trial is None:  # what is left of canaries is about to go
        pods = tuple(replace(pod, terminating=True) if pod.canary else pod for pod in pods)
    marked = _marked_pods(store, owner)
    if deployment is None:
        return Fleet(pods=pods, marked=marked, ended=store.ended(owner))
    sets = [each for each in store.children(REPLICASETS, owner) if each["spec"]["replicas"] > 0]
    fleet = Fleet(
        replicas=int(deployment["spec"].get("replicas", 1)),
        ready_replicas=_ready(deployment),
        active_replica_sets=sum(not is_canary(each) for each in sets),
        pods=pods,
        version=deployment["metadata"]["resourceVersion"],
        replica_failure=_replica_failure(deployment, trial, *sets),
        overdue=_overdue(deployment, trial),
        marked=marked,
        ended=store.ended(owner),
    )
    if trial is None:
        return fleet
    canary = Canary(int(trial["spec"].get("replicas", 1)), trial["metadata"]["resourceVersion"])
    return replace(
        fleet,
        replicas=(fleet.replicas or 0) + canary.replicas,
        ready_replicas=fleet.ready_replicas + _ready(trial),
        canary=canary,
    )


def has_rolled(deployment: Object) -> bool:
    """Whether all workers have the Deployment's present template, and are available."""
    status, wanted = deployment.get("status") or {}, int(deployment["spec"].get("replicas", 1))
    seen = int(status.get("observedGeneration") or 0) >= int(deployment["metadata"].get("generation") or 0)
    updated = int(status.get("updatedReplicas") or 0)
    available = int(status.get("availableReplicas") or 0)
    return seen and updated == int(status.get("replicas") or 0) and min(updated, available) >= wanted


def _replica_failure(*objects: Object | None) -> str:
    """The words of the first one of whose pods cannot be created or deleted: quota, policy, a webhook."""
    for each in objects:
        condition = conditions_of((each or {}).get("status")).get(REPLICA_FAILURE, {})
        if condition.get("status") == "True":
            return str(condition.get("message") or condition.get("reason") or REPLICA_FAILURE)
    return ""


def _overdue(*deployments: Object | None) -> str:
    """The words of the first one whose pods have passed `progressDeadlineSeconds` without getting ready."""
    for each in deployments:
        condition = conditions_of((each or {}).get("status")).get("Progressing", {})
        if condition.get("reason") == OVERDUE:
            return str(condition.get("message") or OVERDUE)
    return ""


def _ready(deployment: Object) -> int:
    return int((deployment.get("status") or {}).get("readyReplicas") or 0)
