"""How the status of an object is told, in one way for all kinds that are followed by themselves.

It is written when that is worth it, and what the server made of it is remembered. Of a spec that says nothing
usable an Event tells as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from redisqueue_operator.api.objects import conditions_of
from redisqueue_operator.decide.status import EventRecord, lost_in, without
from redisqueue_operator.interruptible import ended
from redisqueue_operator.kubernetes_api import ApiError
from redisqueue_operator.observe.cache import key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from redisqueue_operator.api.model import Key
    from redisqueue_operator.apply.writer import Writer
    from redisqueue_operator.decide.status.worth import Path
    from redisqueue_operator.kubernetes_api import Object
    from redisqueue_operator.observe.follow import Follower

log = logging.getLogger(__name__)

Status = dict[str, Any]
REFUSED_SECONDS = 2.0
"""A status that could not be written is tried again after that time at the soonest."""
AGAIN_SECONDS = 5.0
"""Between two tries of whoever does nothing else meanwhile."""


class Gone(Exception):
    """The object was deleted, is about to be, or its name was given to another one."""


class _Rest(NamedTuple):
    """Until when, by the clock, nothing is written: nothing at all after a refusal, else no mere numbers."""

    until: float = float("-inf")
    refused: bool = False


class StatusWriter:
    """Writes the statuses of one kind. `close` it where nobody tells anything any more.

    Args:
        writer: the API server.
        followed: what is known of the objects; told of what the writes answer.
        news: of a status, what people are told at once; it is compared.
        unusable: makes the status of an object whose spec says nothing usable, from its generation, why that
            is so, the status before, and the time.
        seconds: what is no news is written this often at most.
        now: seconds since the epoch, by the clock that dates objects.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        writer: Writer,
        followed: Follower,
        *,
        news: Callable[[Mapping[str, Any]], object],
        unusable: Callable[[int, str, Mapping[str, Any], float], Status],
        seconds: float,
        now: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._writer = writer
        self._followed = followed
        self._news = news
        self._unusable = unusable
        self._seconds = seconds
        self._now = now
        self._clock = clock
        self._rests: dict[Key, _Rest] = {}
        self._lost: tuple[Path, ...] = ()
        """Fields of a status that the API server does not keep: an older definition has none of that name."""
        self._telling: dict[Key, tuple[tuple[str, int], asyncio.Task[None]]] = {}
        """Who has an unusable spec, as `_identity` says, and the task that tells it."""

    async def tell(self, key: Key, uid: str, status: Status) -> bool:
        """Write the status if that is worth it; whether nothing is left to be told. Raises Gone."""
        obj = self._present(key, uid)
        before, rest = obj.get("status") or {}, self._rests.get(key, _Rest())
        if without(status, self._lost) == before:
            return True
        if self._clock() < rest.until and (rest.refused or self._news(status) == self._news(before)):
            return False
        try:
            written = await self._writer.status_of(self._followed.resource, key, obj, status)
        except (ApiError, OSError, TimeoutError) as error:
            log.warning("the status of %s %s: %s", self._followed.kind, key, error)
            stale = isinstance(error, ApiError) and error.status in (404, 409)
            if stale and not await self._followed.look_again(key, uid):
                raise Gone from error
            if not stale:
                self._rests[key] = _Rest(self._clock() + REFUSED_SECONDS, refused=True)
            return False
        self._rests[key] = _Rest(self._clock() + self._seconds)
        self._lost = tuple(lost_in(written.get("status") or {}, status))
        self._followed.remember(written)
        return True

    def tell_unusable(self, obj: Object, problem: str) -> None:
        """Have it told that the spec says nothing usable, until that is done or the spec is another one."""
        key, identity = key_of(obj), _identity(obj)
        if key in self._telling:
            known, task = self._telling[key]
            if known == identity and not task.done():
                return
            task.cancel()
        task = asyncio.create_task(self._tell_unusable(key, identity, problem), name=f"unusable {key}")
        self._telling[key] = identity, task

    def forget(self, key: Key) -> None:
        """The object is gone."""
        self._rests.pop(key, None)
        _, task = self._telling.pop(key, (None, None))
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """End what is still being told."""
        await ended([task for _, task in self._telling.values()])
        self._telling.clear()

    def _present(self, key: Key, uid: str) -> Object:
        obj = self._followed.objects.get(key)
        if obj is None or obj["metadata"]["uid"] != uid or obj["metadata"].get("deletionTimestamp"):
            raise Gone
        return obj

    async def _tell_unusable(self, key: Key, identity: tuple[str, int], problem: str) -> None:
        uid, generation = identity
        with contextlib.suppress(Gone):
            while _identity(newest := self._present(key, uid)) == identity:
                before = newest.get("status") or {}
                status = self._unusable(generation, problem, before, self._now())
                if await self.tell(key, uid, status):
                    if self._news(status) != self._news(before):
                        await self._event(newest, conditions_of(status)["Ready"])
                    return
                await asyncio.sleep(AGAIN_SECONDS)

    async def _event(self, obj: Object, condition: Mapping[str, Any]) -> None:
        """Tell once what a condition says; a refusal is logged: a namespace that ends takes none."""
        event = EventRecord("Warning", condition["reason"], condition["message"], "Apply")
        try:
            await self._writer.event(obj, event)
        except (ApiError, OSError, TimeoutError) as error:
            name = f"{self._followed.kind} {key_of(obj)}"
            log.warning("%s: the Event %s could not be written: %s", name, event.reason, error)


def _identity(obj: Object) -> tuple[str, int]:
    """Which spec an object has: its uid and generation."""
    return obj["metadata"]["uid"], obj["metadata"].get("generation") or 0
