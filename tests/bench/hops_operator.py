"""`python -m tests.bench.hops_operator`: what one watch event runs through until a number is written.

A RedisQueue with a number of workers that a person has changed, the real watch handler, cache, loop and
platform, and in place of the API server one that answers every write as if it had done it. `sys.setprofile`
notes each function of the operator between the event and the PATCH of /scale.

Three counts: the road, which is the functions that are on the stack when the event is handed over by the work
queue and when the write leaves; the road with what its functions call themselves, where one looks when one
walks it; and everything that ran, to the last look-up and the parts of a decision.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kopf
from tests.support.resources import manifest
from tests.support.waiting import until

from redisqueue_operator.apply.writer import Writer
from redisqueue_operator.kubernetes_platform import KubernetesPlatform
from redisqueue_operator.loop.reconcile import Engine
from redisqueue_operator.loop.workqueue import WorkQueue
from redisqueue_operator.observe.cache import Store
from redisqueue_operator.observe.coverage import Coverage
from redisqueue_operator.observe.redis.dial_guard import AllowedHosts
from redisqueue_operator.observe.redis.settings import Connections
from redisqueue_operator.observe.references import References
from redisqueue_operator.observe.watch import registry_for
from redisqueue_operator.scope import Scope
from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import FrameType

PACKAGE = "redisqueue_operator."
Hop = tuple[str, str]
"""Module and function."""


class ApiServer:
    """Answers every write with what was written, and every question with nothing."""

    def __init__(self, road: Road) -> None:
        self._versions = iter(range(100, 10**6))
        self._road = road
        self.scales: list[int] = []

    def now(self) -> float:
        return 1_800_000_000.0

    async def get(self, path: str) -> dict[str, Any] | None:
        return {"metadata": {"uid": "uid-emails"}} if path.endswith("redisqueues/emails") else None

    async def pages(self, *_: Any, **__: Any) -> AsyncIterator[tuple[list[dict[str, Any]], int]]:
        yield [], 1

    async def apply(self, _: str, body: dict[str, Any], __: str) -> dict[str, Any]:
        metadata = {"resourceVersion": str(next(self._versions)), "uid": "of-a-child", **body["metadata"]}
        return {**body, "spec": {"replicas": 0, **(body.get("spec") or {})}, "metadata": metadata}

    async def merge(self, path: str, body: dict[str, Any], _: str) -> dict[str, Any]:
        if path.endswith("/scale"):
            self._road.note(sys._getframe())
            self._road.on = False
            self.scales.append(body["spec"]["replicas"])
        known = manifest() if path.endswith("/status") else {}
        metadata = {**known.get("metadata", {}), "resourceVersion": str(next(self._versions))}
        return {**known, **body, "metadata": metadata}

    async def request(self, *_: Any, **__: Any) -> dict[str, Any]:
        return {}


class Road:
    """What runs between the event and the write."""

    def __init__(self) -> None:
        self.on = False
        self.calls: dict[tuple[Hop, Hop], None] = {}
        self.road: dict[Hop, None] = {}

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if not self.on or event != "call" or not _is_ours(frame):
            return
        caller = frame.f_back
        while caller is not None and not _is_ours(caller):
            caller = caller.f_back
        self.calls[_hop(caller) if caller is not None else ("", ""), _hop(frame)] = None
        if frame.f_code in (WorkQueue.add.__code__, WorkQueue._next.__code__):
            self.note(frame)

    def note(self, frame: FrameType | None) -> None:
        """Everything on the stack, from its beginning."""
        found = []
        while frame is not None:
            if self.on and _is_ours(frame):
                found.append(_hop(frame))
            frame = frame.f_back
        self.road.update(dict.fromkeys(reversed(found)))

    @property
    def beside(self) -> set[Hop]:
        """What the functions of the road call themselves."""
        return {callee for caller, callee in self.calls if caller in self.road and callee not in self.road}


def _is_ours(frame: FrameType) -> bool:
    name = str(frame.f_globals.get("__name__", ""))
    return name.startswith(PACKAGE) and not frame.f_code.co_qualname.startswith("__create_fn__")


def _hop(frame: FrameType) -> Hop:
    return frame.f_globals["__name__"].removeprefix(PACKAGE), frame.f_code.co_qualname


async def measured(redis_url: str, folder: Path) -> Road:
    """The road of the second change: the first one has filled every cache."""
    road = Road()
    api, store, scope = ApiServer(road), Store(), Scope()
    references = References(api)  # type: ignore[arg-type]
    platform = KubernetesPlatform(
        api,  # type: ignore[arg-type]
        store,
        Writer(api, instance="bench"),  # type: ignore[arg-type]
        references,
        Connections(references, folder, AllowedHosts()),
        worker_image="example.org/worker:1",
        version="1.0.0",
        scope=scope,
        coverage=Coverage(scope),
    )
    platform._listing.everything = _nothing  # type: ignore[method-assign]  # the event brings what there is
    engine, stop = Engine(platform), asyncio.Event()
    registry = registry_for(store, engine.notify, engine.resync_soon, Coverage(scope))
    handlers = registry._watching.get_all_handlers()
    (handler,) = [each for each in handlers if "redisqueues" in str(each.selector)]
    task = asyncio.create_task(engine.run(stop))
    versions = iter(range(10**6, 10**7))

    async def change(replicas: int) -> None:
        raw = manifest(generation=replicas, redis={"url": redis_url}, replicas=replicas)
        raw["metadata"]["resourceVersion"] = str(next(versions))
        await handler.fn(event=kopf.RawEvent(type="MODIFIED", object=raw))
        await until(lambda: api.scales[-1:] == [replicas], f"{replicas} workers")

    try:
        await change(1)
        await asyncio.sleep(2.0)  # what follows has followed
        road.on = True
        sys.setprofile(road)
        await change(2)
    finally:
        sys.setprofile(None)
        road.on = False
        stop.set()
        await task
    return road


async def _nothing() -> None: ...


def main() -> None:
    with EmbeddedRedis() as server, tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measured(server.url, Path(folder)))
    for module, function in found.road:
        print(f"{module:24} {function}")
        for caller, (aside, called) in found.calls:
            if caller == (module, function) and (aside, called) in found.beside:
                print(f"{'':24}   {aside}: {called}")
    everything = {callee for _, callee in found.calls}
    for name, hops in (
        ("road", set(found.road)),
        ("with what it calls", found.beside | set(found.road)),
        ("everything", everything),
    ):
        print(f"{name}: {len(hops)} functions in {len({module for module, _ in hops})} modules")


if __name__ == "__main__":
    main()
