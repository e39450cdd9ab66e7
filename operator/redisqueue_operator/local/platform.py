"""LocalPlatform: what the engine needs, answered by worker processes of this machine."""

from __future__ import annotations

import asyncio
import copy
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis_message_queue.connection import ConnectionSettings
from redisqueue_operator.api import Key
from redisqueue_operator.decide.children.identity import OWNER_UID
from redisqueue_operator.decide.children.plan import Children
from redisqueue_operator.decide.finalizer import finalizers
from redisqueue_operator.decide.status import EventRecord
from redisqueue_operator.errors import Conflict
from redisqueue_operator.local.definitions import DefinitionError, Definitions
from redisqueue_operator.local.template import worker_template, write_sources
from redisqueue_operator.local.worker_set import WorkerSet
from redisqueue_operator.observe.facts import ApplyOutcome, ChildrenSeen, Fleet
from redisqueue_operator.platform import Mark, Protect, SetFinalizer, SetNumber, World, WriteStatus, Written
from redisqueue_worker.settings import MAX_SOCKET_PATH_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from redisqueue_operator.api import RedisQueue
    from redisqueue_operator.local.worker_process import WorkerTemplate
    from redisqueue_operator.platform import Step


def roomy_folder() -> str:
    """The folder for temporary files; /tmp where its name leaves no room for the sockets of workers."""
    below = len("/rq-12345678/12345/12345/worker.sock")
    usual = tempfile.gettempdir()
    return usual if len(os.fsencode(usual)) + below <= MAX_SOCKET_PATH_BYTES else "/tmp"  # noqa: S108


def nothing(*_: object) -> None:
    """The listener that does not listen."""


class LocalPlatform:
    """Implements `platform.Platform`. Use it inside a running event loop and `close` it at the end.

    Args:
        definitions: the RedisQueues and the ConfigMaps of their handlers.
        redis_url: the Redis that all queues use, whatever their `spec.redis` says.
        handler_path: folders in which handlers are looked for, in this order.
        source_folders: by the name of a RedisQueue, what stands for its `worker.source.image`.
        say: called with a worker's name and each line it prints.
        tell: called with a queue's name and each event.
    """

    def __init__(
        self,
        definitions: Definitions,
        *,
        redis_url: str,
        handler_path: Sequence[Path] = (),
        source_folders: Mapping[str, Path] | None = None,
        say: Callable[[str, str], None] = nothing,
        tell: Callable[[str, EventRecord], None] = nothing,
    ) -> None:
        self.redis_url = redis_url
        self.changed: Callable[[Key], None] = nothing
        """Set it to the engine's `notify`."""
        self._handler_path = tuple(path.resolve() for path in handler_path)
        self._source_folders = {name: path.resolve() for name, path in (source_folders or {}).items()}
        self._say = say
        self._tell = tell
        self._folder = Path(tempfile.mkdtemp(prefix="rq-", dir=roomy_folder()))
        self._folders = 0
        self._definitions = Definitions()
        self._objects: dict[Key, dict[str, Any]] = {}
        self._sets: dict[Key, WorkerSet] = {}
        self._forgotten: list[WorkerSet] = []
        self.load(definitions)

    def load(self, definitions: Definitions) -> None:
        """Take these definitions in place of the present ones, as `kubectl apply --prune` would."""
        before, self._definitions = self._objects, definitions
        self._objects = {}
        for (namespace, name), defined in definitions.queues.items():
            key = Key(namespace, name)
            item = copy.deepcopy(defined)
            item["spec"] = {**(item.get("spec") or {}), "redis": {"url": "redis://local"}}
            if (old := before.get(key)) is not None:
                generation = old["metadata"]["generation"] + (old["spec"] != item["spec"])
                item["metadata"]["generation"] = generation
                item["status"] = old.get("status", {})
            self._objects[key] = item
        for key in {*before, *self._objects}:
            self.changed(key)

    @property
    def sets(self) -> list[WorkerSet]:
        """The worker sets that exist now, one per queue."""
        return list(self._sets.values())

    async def keys(self) -> list[Key]:
        """Every RedisQueue of the definitions."""
        return list(self._objects)

    async def fill_gaps(self) -> bool:
        """Everything is always seen."""
        return False

    async def get(self, key: Key) -> dict[str, Any] | None:
        """The RedisQueue as the API server would give it."""
        return self._objects.get(key)

    async def settings(
        self,
        rq: RedisQueue,  # noqa: ARG002
        *,
        fresh: bool = False,  # noqa: ARG002
    ) -> tuple[ConnectionSettings, float]:
        """The one Redis of local mode."""
        return ConnectionSettings(url=self.redis_url), 0.0

    async def observe(self, rq: RedisQueue) -> World:
        """The worker processes of a queue, and the template that they have."""
        workers = self._sets.get(rq.key)
        fleet = workers.fleet if workers else Fleet()
        try:
            wanted = self._template(rq)
        except DefinitionError as error:
            return World(fleet, ChildrenSeen("", problem=ApplyOutcome(False, "InvalidSpec", str(error))))
        present = workers.template.digest if workers else ""
        seen = ChildrenSeen(
            "",
            manifests=(_described(rq, wanted.digest),),
            digest=wanted.digest,
            workers=_described(rq, present) if workers else None,
            live=present,
        )
        return World(fleet, seen)

    async def execute(self, rq: RedisQueue, step: Step) -> Written | None:
        """One step. Raises Conflict."""
        match step:
            case Children():
                return self._give_workers(rq)
            case SetNumber():
                self._set_number(rq, step)
            case WriteStatus():
                self._write_status(rq, step.status)
            case SetFinalizer():
                self._hold(rq, step.held)
            case EventRecord():
                self._tell(rq.key.name, step)
            case Mark() | Protect():  # victims are told by the number, and there is no node
                pass
        return None

    def _give_workers(self, rq: RedisQueue) -> Written:
        """Give the queue its set of workers (none at first), or roll them to a changed template."""
        template = self._template(rq)
        if (workers := self._sets.get(rq.key)) is None:
            self._folders += 1
            self._sets[rq.key] = WorkerSet(
                rq.key.name,
                template,
                self._folder / str(self._folders),
                changed=lambda: self.changed(rq.key),
                say=self._say,
            )
        else:
            workers.roll(template)
        return Written(ApplyOutcome(True, "Applied", ""), template.digest)

    def _set_number(self, rq: RedisQueue, step: SetNumber) -> None:
        """Run that many workers. Raises Conflict when the set is gone or has been scaled meanwhile."""
        workers = self._sets.get(rq.key)
        if workers is None or workers.fleet.version != step.fleet.version:
            raise Conflict(f"the workers of {rq.key.name} have changed meanwhile")
        workers.scale(sum(step.split), step.victims)
        self.changed(rq.key)

    def _write_status(self, rq: RedisQueue, status: dict[str, Any]) -> None:
        """Keep the status. Raises Conflict when the object was loaded anew."""
        item = self._objects.get(rq.key)
        if item is None or item["metadata"]["generation"] != rq.generation:
            raise Conflict(f"{rq.key.name} has changed meanwhile")
        self._objects[rq.key] = {**item, "status": status}

    def _hold(self, rq: RedisQueue, held: bool) -> None:
        """Nothing is deleted here but by leaving the file, and then the workers drain in any case."""
        item = self._objects[rq.key]
        metadata = {**item["metadata"], "finalizers": finalizers(rq, held)}
        self._objects[rq.key] = {**item, "metadata": metadata}

    async def forget(self, key: Key) -> None:
        """Drain the workers of a RedisQueue that is gone from the definitions."""
        if (workers := self._sets.pop(key, None)) is not None:
            workers.scale(0, ())
            self._forgotten.append(workers)

    async def close(self) -> None:
        """Drain all workers, wait for their end, remove what they left. Cancelling it kills them instead."""
        sets = [*self._sets.values(), *self._forgotten]
        try:
            await asyncio.gather(*(workers.close() for workers in sets))
        finally:
            for workers in sets:
                workers.kill()
            await asyncio.gather(*(workers.close() for workers in sets))
            shutil.rmtree(self._folder, ignore_errors=True)

    def _template(self, rq: RedisQueue) -> WorkerTemplate:
        """What the spec wants its workers to be. Raises DefinitionError."""
        return worker_template(
            rq, redis_url=self.redis_url, handler_path=[*self._sources(rq), *self._handler_path]
        )

    def _sources(self, rq: RedisQueue) -> list[Path]:
        """The folder that stands for `worker.source`; empty without one.

        There is nothing that pulls images: without a folder in its place the handler is looked for where
        that of an image of one's own is.
        """
        name = rq.spec.worker.config_map_name
        if name is None:
            folder = self._source_folders.get(rq.key.name)
            return [folder] if folder is not None else []
        files = self._definitions.config_maps.get((rq.key.namespace, name))
        if files is None:
            raise DefinitionError(
                f"spec.worker.source.configMapRef.name: no ConfigMap {name!r} in the file: "
                "add it as a further document, after a line with ---"
            )
        return [write_sources(self._folder / "sources", files)]


def _described(rq: RedisQueue, digest: str) -> dict[str, Any]:
    """A set of workers as the object that a Deployment is elsewhere."""
    metadata = {"namespace": rq.key.namespace, "name": rq.key.name, "labels": {}}
    return {
        "metadata": {**metadata, "annotations": {OWNER_UID: rq.uid}},
        "spec": {"template": {"digest": digest}},
    }
