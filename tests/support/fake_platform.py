"""A Platform in memory: objects, workers that are ready at once, and a record of every write."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from redis_message_queue.connection import ConnectionSettings
from redisqueue_operator.api.model import Key
from redisqueue_operator.decide.children.identity import OWNER_UID
from redisqueue_operator.decide.children.plan import Children
from redisqueue_operator.decide.finalizer import finalizers
from redisqueue_operator.decide.status import EventRecord
from redisqueue_operator.errors import Conflict
from redisqueue_operator.observe.facts import ApplyOutcome, ChildrenSeen, Fleet, PodObservation
from redisqueue_operator.platform import Mark, Protect, SetFinalizer, SetNumber, World, WriteStatus, Written

if TYPE_CHECKING:
    from collections.abc import Callable

    from redisqueue_operator.api.model import RedisQueue
    from redisqueue_operator.platform import Step


class FakePlatform:
    """Implements `platform.Platform`; `writes` holds ("scale", name, number, victims), ("status", name) ….

    `ended` are instances of dead workers.

    `refuse` are errors for the next attempts to scale; `before_scale` is called at each. `settings_asked`
    counts the questions for connection settings, `settings_age_seconds` is how old those are.
    """

    def __init__(self, redis_url: str) -> None:
        self.redis_url = redis_url
        self.objects: dict[Key, dict[str, Any]] = {}
        self.fleets: dict[Key, Fleet] = {}
        self.writes: list[tuple[Any, ...]] = []
        self.refuse: list[Exception] = []
        self.before_scale: Callable[[], None] = lambda: None
        self.ended: tuple[str, ...] = ()
        self.settings_asked = 0
        self.settings_age_seconds = 0.0
        self._numbers = itertools.count(1)

    def put(self, name: str, **spec: Any) -> Key:
        """Create or change a RedisQueue, as `kubectl apply` would."""
        key = Key("default", name)
        number = str(next(self._numbers))
        old = self.objects.get(key)
        uid = old["metadata"]["uid"] if old else f"uid-{number}"
        down = {"idleSeconds": 0, "stabilizationSeconds": 0, "minRunSeconds": 0}
        base = {
            "redis": {"url": self.redis_url},
            "worker": {"handler": "app:handle"},
            "scaling": {"maxReplicas": 10, "backlogPerSlot": 5, "scaleDown": down},
        }
        kept: dict[str, Any] = {"creationTimestamp": f"2026-01-01T00:00:{int(uid[4:]) % 60:02}Z"}
        if old and "finalizers" in old["metadata"]:
            kept["finalizers"] = old["metadata"]["finalizers"]
        self.objects[key] = {
            "apiVersion": "redisqueue.dev/v1alpha1",
            "kind": "RedisQueue",
            "metadata": {"name": name, "namespace": "default", "uid": uid, "generation": int(number), **kept},
            "spec": {**base, **spec},
            "status": old.get("status", {}) if old else {},
        }
        return key

    def scales(self, key: Key) -> list[int]:
        """The numbers of workers that were written, in order."""
        return [write[2] for write in self.writes if write[0] == "scale" and write[1] == key.name]

    def writes_of(self, key: Key) -> list[tuple[int, tuple[str, ...]]]:
        """The scale writes with their victims."""
        return [write[2:] for write in self.writes if write[:2] == ("scale", key.name)]

    def status(self, key: Key) -> dict[str, Any]:
        found: dict[str, Any] = self.objects[key].get("status") or {}
        return found

    def condition(self, key: Key, kind: str) -> dict[str, Any]:
        conditions = self.status(key).get("conditions") or []
        return next((each for each in conditions if each["type"] == kind), {})

    def have_pods(self, key: Key, *names: str) -> None:
        """These ready workers, as many as are asked for."""
        pods = tuple(
            PodObservation(
                name=name,
                uid=name,
                ready=True,
                terminating=False,
                age_seconds=100.0,
                unschedulable=False,
                failing="",
            )
            for name in names
        )
        self.fleets[key] = Fleet(
            replicas=len(names), ready_replicas=len(names), active_replica_sets=1, pods=pods, version="0"
        )

    async def keys(self) -> list[Key]:
        return list(self.objects)

    async def fill_gaps(self) -> bool:
        """Everything is always seen."""
        return False

    async def get(self, key: Key) -> dict[str, Any] | None:
        return self.objects.get(key)

    async def observe(self, rq: RedisQueue) -> World:
        fleet = self.fleets.get(rq.key)
        present = None if fleet is None else workers_of(rq)
        children = ChildrenSeen("1.0.0", manifests=(workers_of(rq),), digest="wanted", workers=present)
        children = replace(children, live="" if fleet is None else "there")
        return World(replace(fleet or Fleet(), ended=self.ended), children)

    async def settings(self, rq: RedisQueue, *, fresh: bool = False) -> tuple[ConnectionSettings, float]:
        self.settings_asked += 1
        settings = ConnectionSettings(url=rq.spec.redis.url or "", client_name="engine")
        return settings, self.settings_age_seconds

    async def execute(self, rq: RedisQueue, step: Step) -> Written | None:
        name = rq.key.name
        match step:
            case Children():
                self.writes.append(("apply", name))
                self.fleets.setdefault(rq.key, Fleet(replicas=0, version="0"))
                return Written(ApplyOutcome(ok=True, reason="Applied", message=""), "there")
            case Mark():
                self.writes.append(("mark" if step.first else "spare", name, step.pods))
            case Protect():
                self.writes.append(("protect" if step.protect else "release", name, step.pods))
                self.protects(rq.key, step)
            case SetNumber():
                self.set_number(rq, step)
            case WriteStatus():
                await self.write_status(rq, step.status)
            case EventRecord():
                self.writes.append(("event", name, step.reason))
            case SetFinalizer():
                self.hold(rq, step.held)
        return None

    def protects(self, key: Key, step: Protect) -> None:
        names = {name for name, _ in step.pods}
        fleet = self.fleets[key]
        pods = (replace(pod, protected=step.protect) if pod.name in names else pod for pod in fleet.pods)
        self.fleets[key] = replace(fleet, pods=tuple(pods))

    def set_number(self, rq: RedisQueue, step: SetNumber) -> None:
        replicas = sum(step.split)
        self.before_scale()
        if self.refuse:
            raise self.refuse.pop(0)
        if self.fleets[rq.key].version != step.fleet.version:
            raise Conflict("scaled meanwhile")
        self.writes.append(("scale", rq.key.name, replicas, step.victims))
        kept = [pod for pod in step.fleet.pods if pod.name not in step.victims][:replicas]
        names = [pod.name for pod in kept]
        names += [f"{rq.key.name}-{next(self._numbers)}" for _ in range(replicas - len(names))]
        self.have_pods(rq.key, *names)

    async def write_status(self, rq: RedisQueue, status: dict[str, Any]) -> None:
        self.writes.append(("status", rq.key.name))
        self.objects[rq.key] = {**self.objects[rq.key], "status": status}

    def hold(self, rq: RedisQueue, held: bool) -> None:
        self.writes.append(("hold", rq.key.name, held))
        item = self.objects[rq.key]
        if rq.deletion and not held:
            del self.objects[rq.key]
            return
        self.objects[rq.key] = {**item, "metadata": {**item["metadata"], "finalizers": finalizers(rq, held)}}

    def delete(self, key: Key) -> None:
        """As `kubectl delete` would: at once, or marked when something holds it."""
        item = self.objects[key]
        if not item["metadata"].get("finalizers"):
            del self.objects[key]
            return
        metadata = {**item["metadata"], "deletionTimestamp": datetime.now(UTC).isoformat()}
        self.objects[key] = {**item, "metadata": metadata}

    async def forget(self, key: Key) -> None:
        self.fleets.pop(key, None)


def workers_of(rq: RedisQueue) -> dict[str, Any]:
    """What is a Deployment elsewhere."""
    metadata = {"namespace": rq.key.namespace, "name": rq.key.name, "labels": {}}
    return {"metadata": {**metadata, "annotations": {OWNER_UID: rq.uid}}, "spec": {"template": {}}}
