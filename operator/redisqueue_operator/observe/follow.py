"""A kind of which there are few, listed and watched by itself, and the RedisQueues that its objects name.

Where the definition or a right is missing, the control loop goes on without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from redisqueue_operator.api import parse
from redisqueue_operator.api.objects import conditions_of
from redisqueue_operator.errors import QueueUnusable
from redisqueue_operator.kubernetes_api import ApiError, KubernetesApi, Object
from redisqueue_operator.observe.cache import REDISQUEUES, Store, key_of, version_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from redisqueue_operator.api.model import Key, RedisQueue
    from redisqueue_operator.api.resources import Resource
    from redisqueue_operator.scope import Scope

log = logging.getLogger(__name__)

REST_SECONDS, LONGEST_REST_SECONDS, AGAIN_SECONDS = 0.5, 60.0, 5.0
ASK_SECONDS = 300.0
MISSING = (403, 404)
"""The definition is not there, or the right to read its objects is not."""


class Follower:
    """The objects of a kind, kept up to date while `run` runs.

    Args:
        resource, kind: which objects, and what one of them is called.
        put: called with each object that is new or has changed.
        drop: called with each object that is gone.
        read: called with a namespace (None: all of them) when its objects are known, or cannot be read.
    """

    def __init__(
        self,
        api: KubernetesApi,
        resource: Resource,
        kind: str,
        scope: Scope,
        put: Callable[[Object], None],
        drop: Callable[[Object], None],
        read: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        self.objects: dict[Key, Object] = {}
        self.resource = resource
        self.kind = kind
        self._api = api
        self._scope = scope
        self._put = put
        self._drop = drop
        self._read = read

    async def run(self) -> None:
        """List and watch. Ends only by cancellation."""
        async with asyncio.TaskGroup() as group:
            for namespace in self._scope.namespaces or (None,):
                group.create_task(self._follow(namespace))

    def remember(self, obj: Object) -> None:
        """What a write answered, or a read."""
        known = self.objects.get(key_of(obj))
        if known is not None and version_of(known) < version_of(obj):
            self.objects[key_of(obj)] = obj

    async def look_again(self, key: Key, uid: str) -> bool:
        """Ask for it; False when that very object is gone. Where nobody answers, it is still there."""
        with contextlib.suppress(ApiError, OSError, TimeoutError):
            live = await self._api.get(self.resource.path_to(key))
            if live is None or live["metadata"]["uid"] != uid:
                return False
            self.remember(live)
        return True

    async def _follow(self, namespace: str | None) -> None:
        path, pause, warned = self.resource.path(namespace), REST_SECONDS, ""
        while True:
            try:
                listed, version = await self._api.list(path)
                self._replace(listed, namespace)
                self._read(namespace)
                warned = ""
                async for event in self._api.watch(path, version):
                    self._take(event)
                pause = REST_SECONDS
            except ApiError as error:
                if error.status in MISSING:
                    self._read(namespace)
                pause = min(2 * pause, LONGEST_REST_SECONDS)
                if error.status != 410:  # else what the watch began with is history
                    text = f"{self.kind}s cannot be watched" + f" in {namespace}" * bool(namespace)
                    level = logging.DEBUG if warned == str(error) else logging.WARNING  # once for each reason
                    log.log(level, "%s: it is tried every %.0f s: %s", text, LONGEST_REST_SECONDS, error)
                    warned = str(error)
            except (OSError, TimeoutError) as error:
                pause = AGAIN_SECONDS
                log.debug("the watch of %ss broke: %s", self.kind, error)
            except Exception:
                pause = LONGEST_REST_SECONDS
                log.exception("the watch of %ss failed", self.kind)
            await asyncio.sleep(pause)

    def _replace(self, listed: list[Object], namespace: str | None) -> None:
        present = {key_of(obj) for obj in listed}
        for key in [key for key in self.objects if namespace in (None, key.namespace)]:
            if key not in present:
                self._gone(key)
        for obj in listed:
            self._told(obj)

    def _take(self, event: Object) -> None:
        if event["type"] == "DELETED":
            self._gone(key_of(event["object"]))
        elif event["type"] in ("ADDED", "MODIFIED"):
            self._told(event["object"])

    def _told(self, obj: Object) -> None:
        known = self.objects.get(key_of(obj))
        if known is None or version_of(known) <= version_of(obj):
            self.objects[key_of(obj)] = obj
            try:
                self._put(obj)
            except Exception:  # the others are seen all the same
                log.exception("%s %s cannot be followed", self.kind, key_of(obj))

    def _gone(self, key: Key) -> None:
        if (obj := self.objects.pop(key, None)) is not None:
            self._drop(obj)


def queue_named_by(obj: Object) -> Key | None:
    """The RedisQueue of `spec.queueRef`, whether or not the rest of the object can be read; None without."""
    spec = obj.get("spec")
    ref = spec.get("queueRef") if isinstance(spec, dict) else None
    name = ref.get("name") if isinstance(ref, dict) else None
    return replace(key_of(obj), name=name) if isinstance(name, str) else None


def usable(obj: Object | None, key: Key) -> RedisQueue:
    """The RedisQueue of that name, typed. Raises QueueUnusable when nothing may be done in its queue."""
    if obj is None:
        text = f"spec.queueRef.name: RedisQueue {key.name!r} does not exist in {key.namespace}"
        raise QueueUnusable("QueueMissing", f"{text}: create it, or delete this", acts=True)
    ready = conditions_of(obj.get("status")).get("Ready", {})
    if (ready.get("status"), ready.get("reason")) == ("False", "Conflict"):
        text = f"RedisQueue {key.name!r} may not touch its queue: {ready['message']}"
        raise QueueUnusable("QueueConflict", text)
    try:
        rq = parse(obj)
    except ValueError as error:
        raise QueueUnusable("QueueInvalid", f"RedisQueue {key.name!r}: {error}", acts=True) from error
    if rq.deletion:
        text = f"RedisQueue {key.name!r} is being deleted: name another one, or delete this"
        raise QueueUnusable("QueueDeleting", text)
    return rq


class NamedQueues:
    """RedisQueues by the names that other objects have for them."""

    def __init__(self, api: KubernetesApi, store: Store, scope: Scope) -> None:
        self._api = api
        self._store = store
        self._scope = scope
        self._waiting: dict[Key, set[asyncio.Event]] = {}
        """One for each that waits for a change of it."""

    async def get(self, key: Key) -> Object | None:
        """The RedisQueue; None where there is none. Waits for ever for one that another operator serves."""
        while (obj := self._store.get(REDISQUEUES, key)) is None:
            if await self._api.get(REDISQUEUES.path_to(key)) is None:
                return None
            if self._store.get(REDISQUEUES, key) is None:  # else it came while we asked
                await self.change_of(key, ASK_SECONDS)
        return obj

    def is_ours(self, key: Key | None) -> bool:
        """Whether what names this one is ours to tell of: with a selector only where it is served here."""
        return not self._scope.selector or (key is not None and self._store.get(REDISQUEUES, key) is not None)

    def notify(self, key: Key) -> None:
        """Something about this RedisQueue changed."""
        for changed in self._waiting.get(key, ()):
            changed.set()

    async def change_of(self, key: Key, seconds: float) -> None:
        """Wait that long, or until it changes."""
        changed, waiting = asyncio.Event(), self._waiting.setdefault(key, set())
        waiting.add(changed)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await changed.wait()
        finally:
            waiting.discard(changed)
            if not waiting:  # objects come and go, and so do the names that they have for a queue
                self._waiting.pop(key, None)
