"""LocalPlatform: what the engine needs, answered by worker processes of this machine."""

from __future__ import annotations

import asyncio
import copy
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis_message_queue.connection import ConnectionSettings
from redisqueue_operator.api import Key
from redisqueue_operator.decide.finalizer import finalizers
from redisqueue_operator.local.definitions import DefinitionError, Definitions
from redisqueue_operator.local.template import worker_template, write_sources
from redisqueue_operator.local.worker_set import WorkerSet
from redisqueue_operator.observe.facts import ApplyOutcome
from redisqueue_operator.platform import Conflict, Fleet, always_roll

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redisqueue_operator.api import RedisQueue
    from redisqueue_operator.decide.canary import Split, Stage, Versions
    from redisqueue_operator.decide.status import EventRecord


def nothing(*_: object) -> None:
    """The listener that does not listen."""


class LocalPlatform:
    """Implements `platform.Platform`. Use it inside a running event loop and `close` it at the end.

    Args:
        definitions: the RedisQueues and the ConfigMaps of their handlers.
        redis_url: the Redis that all queues use, whatever their `spec.redis` says.
        handler_path: folders in which handlers are looked for, in this order.
        say: called with a worker's name and each line it prints.
        tell: called with a queue's name and each event.
    """

    def __init__(
        self,
        definitions: Definitions,
        *,
        redis_url: str,
        handler_path: Sequence[Path] = (),
        say: Callable[[str, str], None] = nothing,
        tell: Callable[[str, EventRecord], None] = nothing,
    ) -> None:
        self.redis_url = redis_url
        self.changed: Callable[[Key], None] = nothing
        """Set it to the engine's `notify`."""
        self._handler_path = tuple(path.resolve() for path in handler_path)
        self._say = say
        self._tell = tell
        self._folder = Path(tempfile.mkdtemp(prefix="rq-"))
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

    async def observe(self, rq: RedisQueue) -> Fleet:
        """The worker processes of a queue."""
        workers = self._sets.get(rq.key)
        return workers.fleet if workers else Fleet()

    async def apply(
        self,
        rq: RedisQueue,
        choose: Callable[[Versions], Stage] = always_roll,  # noqa: ARG002
    ) -> ApplyOutcome:
        """Give the queue its set of workers (none at first), or roll them to a changed template."""
        try:
            template = worker_template(
                rq,
                redis_url=self.redis_url,
                handler_path=[*self._sources(rq), *self._handler_path],
            )
        except DefinitionError as error:
            return ApplyOutcome(False, "InvalidSpec", str(error))
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
        return ApplyOutcome(True, "Applied", "")

    async def scale(self, rq: RedisQueue, fleet: Fleet, split: Split, victims: tuple[str, ...]) -> None:
        """Run that many workers. Raises Conflict when the set is gone or has been scaled meanwhile."""
        workers = self._sets.get(rq.key)
        if workers is None or workers.fleet.version != fleet.version:
            raise Conflict(f"the workers of {rq.key.name} have changed meanwhile")
        workers.scale(sum(split), victims)
        self.changed(rq.key)

    async def connection_settings(
        self,
        rq: RedisQueue,  # noqa: ARG002
        *,
        fresh: bool = False,  # noqa: ARG002
    ) -> tuple[ConnectionSettings, float]:
        """The one Redis of local mode."""
        return ConnectionSettings(url=self.redis_url), 0.0

    async def write_status(self, rq: RedisQueue, status: dict[str, Any]) -> None:
        """Keep the status. Raises Conflict when the object was loaded anew."""
        item = self._objects.get(rq.key)
        if item is None or item["metadata"]["generation"] != rq.generation:
            raise Conflict(f"{rq.key.name} has changed meanwhile")
        self._objects[rq.key] = {**item, "status": status}

    async def hold(self, rq: RedisQueue, held: bool) -> None:
        """Nothing is deleted here but by leaving the file, and then the workers drain in any case."""
        item = self._objects[rq.key]
        self._objects[rq.key] = {
            **item,
            "metadata": {**item["metadata"], "finalizers": finalizers(rq, held)},
        }

    async def emit(self, rq: RedisQueue, event: EventRecord) -> None:
        """Tell the listener."""
        self._tell(rq.key.name, event)

    async def take_over(self, rq: RedisQueue) -> None:
        """There is no other operator here."""

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

    def _sources(self, rq: RedisQueue) -> list[Path]:
        """The folder with the files of `worker.source`'s ConfigMap; empty without one."""
        source = rq.spec.worker.source
        if source is None:
            return []
        name = source.config_map_ref.name
        files = self._definitions.config_maps.get((rq.key.namespace, name))
        if files is None:
            raise DefinitionError(
                f"spec.worker.source.configMapRef.name: no ConfigMap {name!r} in the file: "
                "add it as a further document, after a line with ---"
            )
        return [write_sources(self._folder / "sources", files)]
