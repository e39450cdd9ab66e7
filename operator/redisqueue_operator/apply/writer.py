"""The only writer to the API server: one method per kind of write, each called only for a change."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from redisqueue_operator.api.resources import path_of
from redisqueue_operator.kubernetes_api import ApiError, KubernetesApi, Object
from redisqueue_operator.observe.cache import (
    DELETION_COST,
    DEPLOYMENTS,
    FIRST_TO_GO,
    MANAGER,
    PODS,
    REDISQUEUES,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from redisqueue_operator.api.model import Key, RedisQueue
    from redisqueue_operator.api.resources import Resource
    from redisqueue_operator.decide.status import EventRecord

    Annotations = Mapping[str, str | None]  # None takes one off

SCALE_MANAGER = "redisqueue-operator-scale"
WRITES_PER_SECOND, BURST = 400.0, 800
# /scale is what people wait for: it never queues up behind status and Events.
SCALES_PER_SECOND, SCALE_BURST = 200.0, 400
# A help, which takes nothing from those two: whoever finds no room here comes back.
PROTECTIONS_PER_SECOND, PROTECTION_BURST = 20.0, 20
LONGEST_PAUSE_SECONDS = 30.0
LONGEST_NOTE_BYTES = 1024
"""Of an Event: an API server counts bytes there, and refuses one with more."""
# Kinds whose plural is not their name in lower case and an s.
_PLURALS = {"NetworkPolicy": "networkpolicies"}


class TokenBucket:
    """At most `burst` at once and `per_second` on average; waiters are served in order."""

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._at = clock()

    def pause(self, seconds: float) -> None:
        """Give out nothing for that long, and no burst right after it: the server asked for a rest."""
        seconds = min(seconds, LONGEST_PAUSE_SECONDS)
        if seconds > 0:
            self._tokens, self._at = min(self._tokens, -seconds * self._per_second), self._clock()

    def take_now(self) -> bool:
        """A token, if there is one: nobody waits."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    async def take(self) -> None:
        """Wait for a token. The debt of those who wait is kept, so everybody waits for its own turn."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_second) - 1
        self._at = now
        if self._tokens < 0:
            await asyncio.sleep(-self._tokens / self._per_second)


class Writer:
    """Writes behind one token bucket; the Lease is written elsewhere and never waits here."""

    def __init__(self, api: KubernetesApi, *, instance: str) -> None:
        self._api = api
        self._instance = instance
        self._bucket = TokenBucket(WRITES_PER_SECOND, BURST)
        self._scale_bucket = TokenBucket(SCALES_PER_SECOND, SCALE_BURST)
        self._protection_bucket = TokenBucket(PROTECTIONS_PER_SECOND, PROTECTION_BURST)

    @contextlib.asynccontextmanager
    async def _turn(self, bucket: TokenBucket) -> AsyncIterator[None]:
        """One write. Where the server has too much to do, the others of its lane wait as long as it asks."""
        await bucket.take()
        try:
            yield
        except ApiError as error:
            bucket.pause(error.retry_after_seconds)
            raise

    async def apply(self, manifest: Object) -> Object:
        """Server-side apply of a child."""
        async with self._turn(self._bucket):
            return await self._api.apply(path_of_manifest(manifest), manifest, MANAGER)

    async def would_be(self, manifest: Object) -> Object:
        """What an apply of the child would make of it; nothing is changed."""
        async with self._turn(self._bucket):
            return await self._api.apply(path_of_manifest(manifest), manifest, MANAGER, dry_run=True)

    async def owners(self, obj: Object, owners: list[Object]) -> Object:
        """Replace the owners of a child if it is still at that resourceVersion; the new object."""
        version = obj["metadata"]["resourceVersion"]
        patch = {"metadata": {"resourceVersion": version, "ownerReferences": owners}}
        async with self._turn(self._bucket):
            return await self._api.merge(path_of_manifest(obj), patch, MANAGER)

    async def create_scaled_to_zero(self, manifest: Object) -> Object:
        """A new Deployment with 0 replicas. An apply without them needs `hand_over_replicas` before it."""
        return await self.apply({**manifest, "spec": {**manifest["spec"], "replicas": 0}})

    async def hand_over_replicas(self, live: Object, manifest: Object) -> None:
        """Have the scale manager own the number that a Deployment was created with, if it is as it was read.

        Who applied `replicas` once and leaves it out later resets it, unless somebody else owns it too.
        """
        identity = {name: manifest[name] for name in ("apiVersion", "kind")}
        names = ("name", "namespace", "uid", "resourceVersion")
        metadata = {name: live["metadata"][name] for name in names}
        taken_over = {**identity, "metadata": metadata, "spec": {"replicas": live["spec"]["replicas"]}}
        async with self._turn(self._bucket):
            await self._api.apply(path_of_manifest(manifest), taken_over, SCALE_MANAGER)

    async def delete(self, manifest: Object) -> None:
        """Delete an object, where its uid is given only that very one. That it is gone already is as good."""
        uid = manifest["metadata"].get("uid")
        body = {"preconditions": {"uid": uid}} if uid else None
        async with self._turn(self._bucket):
            try:
                await self._api.request("DELETE", path_of_manifest(manifest), body=body)
            except ApiError as error:
                if error.status not in (404, 409):  # or another one has its name
                    raise

    async def scale(self, deployment: Key, replicas: int, version: str) -> Object:
        """Set /scale if the Deployment is still at that resourceVersion; the Scale object."""
        path = DEPLOYMENTS.path_to(deployment, "scale")
        patch = {"metadata": {"resourceVersion": version}, "spec": {"replicas": replicas}}
        async with self._turn(self._scale_bucket):
            return await self._api.merge(path, patch, SCALE_MANAGER)

    async def first_to_go(
        self, pod: Key, uid: str, *, first: bool = True, annotations: Annotations | None = None
    ) -> None:
        """Have the ReplicaSet prefer this very pod when it shrinks, or take that back; and annotate it."""
        marks = {**(annotations or {}), DELETION_COST: FIRST_TO_GO if first else None}
        async with self._turn(self._scale_bucket):
            await self._annotate(pod, uid, marks)

    async def protect(self, pod: Key, uid: str, annotations: Annotations) -> Object | None:
        """Write these annotations of this very pod: the new object, None while too many are written."""
        if not self._protection_bucket.take_now():
            return None
        try:
            return await self._annotate(pod, uid, annotations)
        except ApiError as error:
            self._protection_bucket.pause(error.retry_after_seconds)
            raise

    async def _annotate(self, pod: Key, uid: str, annotations: Annotations) -> Object:
        patch = {"metadata": {"uid": uid, "annotations": dict(annotations)}}
        return await self._api.merge(PODS.path_to(pod), patch, SCALE_MANAGER)

    async def status(self, rq: RedisQueue, status: Object) -> Object:
        """Replace .status if the object is still the one that was read; the new object."""
        return await self.status_of(REDISQUEUES, rq.key, rq.raw, status)

    async def status_of(self, resource: Resource, key: Key, raw: Object, status: Object) -> Object:
        """The same for an object of any kind."""
        patch = {
            "metadata": {"resourceVersion": raw["metadata"]["resourceVersion"]},
            "status": merge_patch(raw.get("status") or {}, status),
        }
        async with self._turn(self._bucket):
            return await self._api.merge(resource.path_to(key, "status"), patch, MANAGER)

    async def finalizers(self, rq: RedisQueue, names: list[str]) -> Object:
        """Replace the finalizers if the object is still the one that was read; the new object."""
        version = rq.raw["metadata"]["resourceVersion"]
        patch = {"metadata": {"resourceVersion": version, "finalizers": names}}
        async with self._turn(self._bucket):
            return await self._api.merge(REDISQUEUES.path_to(rq.key), patch, MANAGER)

    async def event(self, obj: Object, event: EventRecord) -> None:
        """Tell people something of the object. `kubectl describe` shows it."""
        metadata = obj["metadata"]
        about = {name: metadata[name] for name in ("namespace", "name", "uid", "resourceVersion")}
        body = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {
                "generateName": f"{metadata['name'][:50].rstrip('.-')}-",
                "namespace": metadata["namespace"],
            },
            "eventTime": datetime.fromtimestamp(self._api.now(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": "redisqueue.dev/operator",
            "reportingInstance": self._instance[:128],
            "action": event.action,
            "reason": event.reason,
            "type": event.type,
            "note": _in_bytes(event.message, LONGEST_NOTE_BYTES),
            "regarding": {"apiVersion": obj["apiVersion"], "kind": obj["kind"], **about},
        }
        path = path_of("events.k8s.io", "v1", "events", metadata["namespace"])
        async with self._turn(self._bucket):
            await self._api.request("POST", path, query={"fieldManager": MANAGER}, body=body)


def merge_patch(old: Object, new: Object) -> Object:
    """The JSON merge-patch that turns `old` into `new`: what is gone is null, what is equal is left out."""
    patch: dict[str, Any] = {name: None for name in old if name not in new}
    for name, value in new.items():
        before = old.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            if inner := merge_patch(before, value):
                patch[name] = inner
        elif value != before:
            patch[name] = value
    return patch


def _in_bytes(text: str, most: int) -> str:
    """The text as far as it has room in so many bytes of UTF-8."""
    return text.encode(errors="replace")[:most].decode(errors="ignore")


def path_of_manifest(manifest: Object) -> str:
    """The URL path of a child, from its manifest."""
    group, _, version = manifest["apiVersion"].rpartition("/")
    kind = manifest["kind"]
    plural = _PLURALS.get(kind, f"{kind.lower()}s")
    return path_of(group, version, plural, manifest["metadata"]["namespace"], manifest["metadata"]["name"])
