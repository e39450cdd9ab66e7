"""Writes to the RedisQueue itself: its status and its finalizers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from redisqueue_operator.decide.finalizer import finalizers
from redisqueue_operator.errors import Conflict
from redisqueue_operator.kubernetes_api import ApiError, KubernetesApi, Object
from redisqueue_operator.observe.cache import REDISQUEUES, Store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redisqueue_operator.api.model import RedisQueue
    from redisqueue_operator.apply.writer import Writer

    Write = Callable[[RedisQueue], Awaitable[Object]]


class OwnObject:
    """Writes where the object is still the one that was read; `store` learns what it is afterwards.

    After a conflict it is read afresh, and written once more where nothing has changed that we decide from:
    labels and annotations are others' business.
    """

    def __init__(self, api: KubernetesApi, store: Store, writer: Writer) -> None:
        self._api = api
        self._store = store
        self._writer = writer

    async def status(self, rq: RedisQueue, status: dict[str, Any]) -> None:
        """Replace .status. Raises Conflict."""
        await self._write(rq, lambda newest: self._writer.status(newest, status))

    async def finalizer(self, rq: RedisQueue, held: bool) -> None:
        """Put our finalizer on, or take it off. Raises Conflict."""
        await self._write(rq, lambda newest: self._writer.finalizers(newest, finalizers(newest, held)))

    async def _write(self, rq: RedisQueue, write: Write) -> None:
        try:
            self._store.put(REDISQUEUES, await self._once_more(rq, write))
        except ApiError as error:
            if error.status == 409:
                raise Conflict(str(error)) from error
            if error.status != 404:  # deleted meanwhile: the watch will tell
                raise

    async def _once_more(self, rq: RedisQueue, write: Write) -> Object:
        try:
            return await write(rq)
        except ApiError as error:
            newest = await self._api.get(REDISQUEUES.path_to(rq.key)) if error.status == 409 else None
            if newest is None:
                raise
            self._store.put(REDISQUEUES, newest)
            if _decided_from(newest) != _decided_from(rq.raw):
                raise
        return await write(replace(rq, raw=newest))


def _decided_from(raw: Object) -> tuple[object, ...]:
    metadata = raw["metadata"]
    parts = ("uid", "generation", "deletionTimestamp", "finalizers")
    return (*(metadata.get(part) for part in parts), raw.get("status"))
