"""Which collections of objects can be seen: a kind in a namespace, or in all. And fresh lists of them.

One that cannot, because the namespace is gone or a right was taken away, is no reason to see nothing of the
others; and nothing is decided about a namespace that is seen in part.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redisqueue_operator.api.resources import Resource
from redisqueue_operator.kubernetes_api import ApiError, KubernetesApi, passes
from redisqueue_operator.observe.cache import REDISQUEUES, WATCHED, key_of, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from redisqueue_operator.api.model import Key
    from redisqueue_operator.observe.cache import Store
    from redisqueue_operator.scope import Scope

MISSING = "CustomResourceDefinition redisqueues.redisqueue.dev is missing: install it (helm/redis-queue-crds)"
Collection = tuple[Resource, str | None]
"""A kind, and the namespace; None for all of them."""

PASSING_SECONDS = 30.0
"""So long an API server may refuse to list anew what was listed whole and is watched, and it is still known.

It is asked some six times meanwhile. What a watch misses may go unnoticed ten times as long anyway: from one
resync to the next.
"""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gap:
    """A collection that our own lists could not read the last time."""

    problem: str
    since: float
    """By the coverage's clock."""
    blind: bool
    """Whether what was known of it holds no more."""


class Coverage:
    """What the watches and our own lists were answered, by collection.

    Args:
        scope: what is to be seen.
        clock: seconds, monotonic.
    """

    def __init__(self, scope: Scope, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.collections: list[Collection] = [
            (resource, namespace) for resource in WATCHED for namespace in scope.namespaces or (None,)
        ]
        self._paths = {resource.path(where): (resource, where) for resource, where in self.collections}
        self._watched: set[str] = set()
        self._refused: dict[str, int] = {}
        self._listed: set[Collection] = set()
        self._gaps: dict[Collection, Gap] = {}

    def is_watched(self, path: str) -> bool:
        """Whether that is the path of one of the collections."""
        return path in self._paths

    def answered(self, path: str, status: int, *, watch: bool) -> None:
        """A watch was answered. It begins where its list ended: so that list was whole."""
        if path not in self._paths:
            return
        if status < 400:
            self._refused.pop(path, None)
            if watch:
                self._watched.add(path)
        elif 400 < status < 500 and status not in (401, 408, 410, 429):  # the others are tried again at once
            self._refused[path] = status

    @property
    def unlisted(self) -> list[Collection]:
        """Those that our own lists could not read the last time."""
        return list(self._gaps)

    @property
    def blind(self) -> frozenset[Collection]:
        """Those of them of which nothing is known any more."""
        return frozenset(each for each, gap in self._gaps.items() if gap.blind)

    def listed(self, collection: Collection, *, problem: str = "", passing: bool = False) -> None:
        """Our own list of a collection was whole, or why it was not; `passing`: it may be in a moment."""
        known = self._gaps.get(collection)
        if not problem:
            self._listed.add(collection)
            if self._gaps.pop(collection, None) is not None:
                log.warning("%s: can be read again", _named([collection]))
            return
        now = self._clock()
        since = known.since if known is not None else now
        holds = passing and now - since < PASSING_SECONDS and self._is_kept(collection)
        gap = Gap(problem, since, blind=not holds or (known is not None and known.blind))
        self._gaps[collection] = gap
        if known is None or known.blind != gap.blind:
            then = "" if gap.blind else "; what is known of it holds for now"
            log.warning("%s: %s%s", _named([collection]), problem, then)

    def _is_kept(self, collection: Collection) -> bool:
        """Whether it was whole once, and a watch tells what becomes of it."""
        resource, namespace = collection
        path = resource.path(namespace)
        return collection in self._listed and path in self._watched and path not in self._refused

    def blind_spot(self, namespace: str) -> str:
        """Why nothing can be decided about RedisQueues of that namespace; empty when something can."""
        for (resource, where), gap in self._gaps.items():
            if gap.blind and where in (None, namespace):
                return f"{resource.plural} of namespace {namespace} cannot be listed: {gap.problem}"
        return ""

    def unready(self) -> str:
        """What is not watched yet and was not refused either; empty when there is no such thing.

        Where RedisQueues are refused everywhere there is nothing to do the work on.
        """
        missing = self._paths.keys() - self._watched - self._refused.keys()
        if missing:
            return f"not watched yet: {_named([self._paths[path] for path in sorted(missing)])}"
        queues = {path for path, (resource, _) in self._paths.items() if resource is REDISQUEUES}
        if not queues <= self._refused.keys():
            return ""
        return MISSING if {self._refused[path] for path in queues} == {404} else self.unseen()

    def unseen(self) -> str:
        """What cannot be seen, for people; empty when all can."""
        unseen = self._unseen()
        return (
            f"cannot be read: {_named(each for each in self.collections if each in unseen)}" if unseen else ""
        )

    @property
    def unseen_count(self) -> int:
        """How many collections cannot be seen."""
        return len(self._unseen())

    def _unseen(self) -> set[Collection]:
        return {self._paths[path] for path in self._refused} | self.blind


def _named(collections: Iterable[Collection]) -> str:
    named = [f"{resource.plural} in {where or 'all namespaces'}" for resource, where in collections]
    rest = f" and {len(named) - 10} more" if len(named) > 10 else ""
    return ", ".join(named[:10]) + rest


MOST_UNANSWERED = 3
"""Lists in a row without an answer: it is the API server that is away, not these collections."""


class Listing:
    """Reads collections into the store, and tells `coverage` of each whether it could be read.

    What was news to the store is told to `notify`, as by a watch: that does not tell it again.
    """

    def __init__(
        self,
        api: KubernetesApi,
        store: Store,
        scope: Scope,
        coverage: Coverage,
        notify: Callable[[Key], None],
    ) -> None:
        self._api = api
        self._store = store
        self._scope = scope
        self._coverage = coverage
        self._notify = notify

    async def everything(self) -> None:
        """Read all collections. Raises OSError or TimeoutError when the API server does not answer."""
        await self._read(self._coverage.collections)

    async def gaps(self) -> None:
        """Read again those that could not be read the last time. Raises as `everything` does."""
        await self._read(self._coverage.unlisted)

    async def _read(self, collections: Iterable[Collection]) -> None:
        unanswered = 0
        for collection in tuple(collections):
            try:
                await self._read_one(collection)
            except ApiError as error:
                unanswered = 0
                self._coverage.listed(collection, problem=str(error), passing=passes(error))
            except (OSError, TimeoutError) as error:
                unanswered += 1
                if unanswered == MOST_UNANSWERED:
                    raise
                self._coverage.listed(collection, problem=str(error) or type(error).__name__, passing=True)
            else:
                unanswered = 0
                self._coverage.listed(collection)

    async def _read_one(self, collection: Collection) -> None:
        resource, namespace = collection
        path = resource.path(namespace)
        present: set[Key] = set()
        listed_at = 0
        async for items, version in self._api.pages(path, self._scope.selector_of(resource)):
            for obj in items:
                present.add(key_of(obj))
                tell(self._store, resource, self._store.put(resource, obj), self._notify)
            listed_at = version
        gone = self._store.keep(resource, present, listed_at, namespace)
        tell(self._store, resource, gone, self._notify)
