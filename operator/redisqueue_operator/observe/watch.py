"""What kopf is for here: login and watches. Every event only says which RedisQueue to look at.

Only `on.event` handlers: they write nothing to the objects (no annotations, no finalizers).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import TYPE_CHECKING, Any

import aiohttp

from redisqueue_operator.kopf_alone import kopf
from redisqueue_operator.kubernetes_api import PAGE, credentials, session
from redisqueue_operator.observe.cache import WATCHED, Store, key_of, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redisqueue_operator.api.model import Key
    from redisqueue_operator.api.resources import Resource
    from redisqueue_operator.observe.coverage import Coverage
    from redisqueue_operator.scope import Scope

BACKOFF_SECONDS = (0.5, 1, 2, 3)
WATCH_SECONDS = 300
OPENED_AT_ONCE = 32
END_SECONDS = 10.0
"""kopf, once it is to end, has that long until its watchers are cancelled again."""
IDLE_SECONDS = 0.5


class Forever:
    """Backoffs without end: an API server that is away for an hour is no reason to give up watching."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain(BACKOFF_SECONDS, itertools.repeat(5))


class NoDiff(kopf.DiffBaseStorage):
    """Keeps no last-seen state on objects: nobody asks what changed."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence({})

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        return None


class NoProgress(kopf.ProgressStorage):
    """Keeps no handler progress on objects: no handler has any."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None

    def purge(self, **_: Any) -> None:
        return None

    def touch(self, **_: Any) -> None:
        return None

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence


def registry_for(
    store: Store, notify: Callable[[Key], None], relisted: Callable[[], None], coverage: Coverage
) -> kopf.OperatorRegistry:
    """The handlers: each watched kind's events go to the store, and what was news to `notify`.

    `relisted` is called when a watch starts anew from a list: it never tells what was deleted meanwhile.
    `coverage` is told which collections are watched, and which cannot be.
    """
    registry = kopf.OperatorRegistry()

    async def login(**kwargs: Any) -> kopf.AiohttpSession | None:
        info = credentials(**kwargs)
        return None if info is None else _session(info, coverage)

    kopf.on.login(registry=registry, retries=3)(login)
    for resource in WATCHED:
        _watch(registry, resource, store, notify, relisted)
    return registry


def _watch(
    registry: kopf.OperatorRegistry,
    resource: Resource,
    store: Store,
    notify: Callable[[Key], None],
    relisted: Callable[[], None],
) -> None:
    @kopf.on.event(resource.group, resource.version, resource.plural, registry=registry)
    async def seen(event: kopf.RawEvent, **_: Any) -> None:
        obj: dict[str, Any] = dict(event["object"])
        if event["type"] is None and store.get(resource, key_of(obj)) is not None:
            relisted()
        learn = store.deleted if event["type"] == "DELETED" else store.put
        tell(store, resource, learn(resource, obj), notify)


def _session(info: kopf.ConnectionInfo, coverage: Coverage) -> kopf.AiohttpSession:
    """What kopf would make of it, but that we see how its calls end: kopf tells nobody that it watches."""
    # A connection for each watch of each namespace: all opened at once, none would be open in time.
    turns = asyncio.Semaphore(OPENED_AT_ONCE)

    async def told(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        async with turns:
            response = await handler(request)
        path = request.url.path
        coverage.answered(path, response.status, watch="watch" in request.url.query)
        if response.status == 404 and coverage.is_watched(path):
            # The definition was deleted. kopf would end with it; so it waits for it to come back.
            response.close()
            raise aiohttp.ClientConnectionError(f"{path} is not served")
        return response

    own = session(info, connections=0, headers=info.as_http_headers(), middlewares=[told])
    return kopf.AiohttpSession(server=info.server, aiohttp_session=own)


def settings(scope: Scope) -> kopf.OperatorSettings:
    """kopf as a watcher and nothing else: no writes, no scanning, and it never gives up."""
    result = kopf.OperatorSettings()
    result.posting.enabled = False
    result.scanning.disabled = True
    result.process.ultimate_exiting_timeout = None
    result.persistence.finalizer = "redisqueue.dev/unused"
    result.persistence.diffbase_storage = NoDiff()
    result.persistence.progress_storage = NoProgress()
    result.networking.request_timeout = 60
    result.networking.connect_timeout = 5
    result.networking.error_backoffs = Forever()
    # Whoever was told of lately has a task with its last version, as it came: few at a time.
    result.queueing.idle_timeout = IDLE_SECONDS
    result.watching.connect_timeout = 5
    result.watching.chunk_size = PAGE
    result.watching.server_timeout = WATCH_SECONDS
    for resource in WATCHED:
        if selector := scope.selector_of(resource):
            name = (resource.group, resource.version, resource.plural)
            result.watching.label_selectors[name] = selector
    return result


async def watch(
    store: Store,
    notify: Callable[[Key], None],
    relisted: Callable[[], None],
    scope: Scope,
    stop: asyncio.Event,
    ready: asyncio.Event,
    coverage: Coverage,
) -> None:
    """Watch until `stop`; `ready` says that kopf runs. Raises when the API server refuses us for good."""
    # Begun before kopf, which cancels at its end whatever was begun after it.
    stopped = asyncio.create_task(stop.wait())
    runs = kopf.operator(
        registry=registry_for(store, notify, relisted, coverage),
        settings=settings(scope),
        standalone=True,
        # Given, because kopf would ask for the user's name, and a container's user may have none.
        identity="redisqueue-operator",  # type: ignore[arg-type]  # a NewType of str, which kopf keeps private
        clusterwide=not scope.namespaces,
        namespaces=scope.namespaces,
        ready_flag=ready,
        stop_flag=stop,
    )
    running = asyncio.create_task(runs)
    try:
        await asyncio.wait([stopped, running], return_when=asyncio.FIRST_COMPLETED)
        await _ended(running)
    finally:
        stopped.cancel()
        running.cancel()


async def _ended(running: asyncio.Task[None]) -> None:
    """Wait until kopf has ended. Raises what ended it.

    One that ends since a watcher has failed cancels the others together with what tells them to pause. Whose
    request is under way takes the one for the other, and goes on; and kopf would wait for it for ever.
    """
    while not (await asyncio.wait([running], timeout=END_SECONDS))[0]:
        for task in asyncio.all_tasks():
            if task.get_name().startswith("watcher for "):
                task.cancel()
    await running


def quiet_logs() -> None:
    """kopf speaks of every event at INFO and of every failed try at ERROR, with whole URLs."""
    for name in ("kopf.objects", "kopf.activities", "kopf._core.engines.activities"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("kopf._cogs.clients").addFilter(_as_warning)
    for name in ("watching", "api", "fetching", "errors"):
        logging.getLogger(f"kopf._cogs.clients.{name}").addFilter(_as_warning)


def _as_warning(record: logging.LogRecord) -> bool:
    if record.levelno >= logging.ERROR:
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.exc_info = None
    return record.levelno >= logging.WARNING
