"""Reads RedisQueueBudgets, has them shared out, and says so in their status: in the leader, beside the loop.

It lists and watches by itself: where the definition or a right is missing, scaling goes on without budgets.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING

from redisqueue_operator.budget.resource import BUDGETS, parse
from redisqueue_operator.budget.status import build_status, told, unusable
from redisqueue_operator.kubernetes_api import ApiError, KubernetesApi, Object
from redisqueue_operator.observe.cache import key_of, version_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from redisqueue_operator.api.model import Key
    from redisqueue_operator.apply.writer import Writer
    from redisqueue_operator.budget.shares import Budgets
    from redisqueue_operator.scope import Scope

log = logging.getLogger(__name__)

REST_SECONDS, LONGEST_REST_SECONDS, AGAIN_SECONDS = 0.5, 60.0, 5.0
REPORT_SECONDS = 10.0
"""Numbers alone are written this often at most, a condition at once."""
LOOK_SECONDS = 0.5
MISSING = (403, 404)


class BudgetController:
    """Keeps `budgets` up to date; `run` until it is cancelled."""

    def __init__(
        self,
        api: KubernetesApi,
        writer: Writer,
        budgets: Budgets,
        scope: Scope,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._writer = writer
        self._budgets = budgets
        self._scope = scope
        self._clock = clock
        self._objects: dict[Key, Object] = {}
        self._problems: dict[Key, str] = {}
        self._untold: set[Key] = set()
        self._reported_at: dict[Key, float] = {}

    async def run(self) -> None:
        """Watch, share out and report. Ends only by cancellation."""
        async with asyncio.TaskGroup() as group:
            for namespace in self._scope.namespaces or (None,):
                group.create_task(self._follow(namespace))
            group.create_task(self._budgets.run(self._untold.update))
            group.create_task(self._report())

    # -- which there are --

    async def _follow(self, namespace: str | None) -> None:
        path, pause = BUDGETS.path(namespace), REST_SECONDS
        while True:
            try:
                listed, version = await self._api.list(path)
                self._replace(listed, namespace)
                self._budgets.listed(namespace)
                async for event in self._api.watch(path, version):
                    self._take(event)
                pause = REST_SECONDS
            except ApiError as error:
                if error.status in MISSING:  # without them there is nothing to wait for
                    self._budgets.listed(namespace)
                pause = min(2 * pause, LONGEST_REST_SECONDS)
                if error.status != 410:  # else what the watch began with is history
                    log.warning("RedisQueueBudgets cannot be watched, again in %.0f s: %s", pause, error)
            except (OSError, TimeoutError) as error:
                pause = AGAIN_SECONDS
                log.debug("the watch of RedisQueueBudgets broke: %s", error)
            except Exception:
                pause = LONGEST_REST_SECONDS
                log.exception("the watch of RedisQueueBudgets failed")
            await asyncio.sleep(pause)

    def _replace(self, listed: list[Object], namespace: str | None) -> None:
        present = {key_of(obj) for obj in listed}
        for key in [key for key in self._objects if namespace in (None, key.namespace)]:
            if key not in present:
                self._drop(key)
        for obj in listed:
            self._put(obj)

    def _take(self, event: Object) -> None:
        if event["type"] == "DELETED":
            self._drop(key_of(event["object"]))
        elif event["type"] in ("ADDED", "MODIFIED"):
            self._put(event["object"])

    def _put(self, obj: Object) -> None:
        key = key_of(obj)
        known = self._objects.get(key)
        if known is not None and version_of(known) > version_of(obj):
            return
        self._objects[key] = obj
        if obj["metadata"].get("deletionTimestamp"):
            self._budgets.drop(key)
            return
        if known is not None and _identity(known) == _identity(obj):
            return
        self._problems.pop(key, None)
        try:
            self._budgets.put(parse(obj))
        except ValueError as error:  # written under another definition
            self._budgets.drop(key)
            self._problems[key] = str(error)
        self._reported_at.pop(key, None)
        self._untold.add(key)

    def _drop(self, key: Key) -> None:
        for known in (self._objects, self._problems, self._reported_at):
            known.pop(key, None)
        self._untold.discard(key)
        self._budgets.drop(key)

    # -- what is said of them --

    async def _report(self) -> None:
        while True:
            for key in sorted(self._untold, key=str):
                self._untold.discard(key)  # first: what changes while it is written is told, too
                try:
                    whole = await self._tell(key)
                except (OSError, TimeoutError) as error:
                    log.debug("the status of budget %s: %s", key, error)
                    whole = False
                except Exception:  # the others are told of all the same
                    log.exception("the status of budget %s cannot be told until it changes again", key)
                    whole = True
                if not whole:
                    self._untold.add(key)
            await asyncio.sleep(LOOK_SECONDS)

    async def _tell(self, key: Key) -> bool:
        """Write the status if that is worth it; whether nothing is left to be told."""
        if (obj := self._objects.get(key)) is None or obj["metadata"].get("deletionTimestamp"):
            return True
        before, now = obj.get("status") or {}, self._api.now()
        if (problem := self._problems.get(key)) is not None:
            status = unusable(obj["metadata"].get("generation") or 0, problem, before, now)
        elif (sharing := self._budgets.sharings.get(key)) is not None:
            status = build_status(sharing, before, now)
        else:
            return True
        if status == before:
            return True
        recent = self._clock() - self._reported_at.get(key, float("-inf")) < REPORT_SECONDS
        if recent and told(status) == told(before):
            return False
        try:
            live = await self._writer.status_of(BUDGETS, key, obj, status)
        except ApiError as error:
            log.warning("the status of budget %s: %s", key, error)
            self._reported_at[key] = self._clock()
            await self._look_again(key)
            return False
        self._reported_at[key] = self._clock()
        self._answered(key, live)
        return True

    async def _look_again(self, key: Key) -> None:
        with contextlib.suppress(ApiError):
            live = await self._api.get(BUDGETS.path_to(key))
            if live is not None:
                self._answered(key, live)

    def _answered(self, key: Key, live: Object) -> None:
        """Take an answer, unless a watch told meanwhile that the object is gone: it would come back."""
        known = self._objects.get(key)
        if known is not None and known["metadata"]["uid"] == live["metadata"]["uid"]:
            self._put(live)


def _identity(obj: Object) -> tuple[object, ...]:
    metadata = obj["metadata"]
    return metadata["uid"], metadata.get("generation"), metadata.get("deletionTimestamp")
