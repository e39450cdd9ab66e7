"""Fresh lists of the watched kinds: what is there, also what the watches missed, and what is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redisqueue_operator.kubernetes_api import ApiError, KubernetesApi, path_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redisqueue_operator.api.model import Key
    from redisqueue_operator.observe.cache import Store
    from redisqueue_operator.observe.coverage import Collection, Coverage
    from redisqueue_operator.scope import Share

MOST_UNANSWERED = 3
"""Lists in a row without an answer: it is the API server that is away, not these collections."""


class Listing:
    """Reads collections into the store, and tells `coverage` of each whether it could be read."""

    def __init__(self, api: KubernetesApi, store: Store, share: Share, coverage: Coverage) -> None:
        self._api = api
        self._store = store
        self._share = share
        self._coverage = coverage

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
                self._coverage.listed(collection, problem=str(error))
            except (OSError, TimeoutError) as error:
                unanswered += 1
                if unanswered == MOST_UNANSWERED:
                    raise
                self._coverage.listed(collection, problem=str(error) or type(error).__name__)
            else:
                unanswered = 0
                self._coverage.listed(collection)

    async def _read_one(self, collection: Collection) -> None:
        resource, namespace = collection
        path = path_of(resource.group, resource.version, resource.plural, namespace)
        present: set[Key] = set()
        listed_at = 0
        async for items, version in self._api.pages(path, self._share.selector_of(resource)):
            present |= self._store.put_all(resource, items)
            listed_at = version
        self._store.keep(resource, present, listed_at, namespace)
