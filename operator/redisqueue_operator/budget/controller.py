"""Reads RedisQueueBudgets, has them shared out, and says so in their status: in the leader, beside the loop.

Where the definition or a right is missing, scaling goes on without budgets.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from redisqueue_operator.api.definition import BUDGET_KIND
from redisqueue_operator.apply.status_writer import Gone, StatusWriter
from redisqueue_operator.budget.resource import BUDGETS, parse
from redisqueue_operator.budget.status import build_status, news_of, unusable
from redisqueue_operator.observe.cache import key_of
from redisqueue_operator.observe.follow import Follower

if TYPE_CHECKING:
    from redisqueue_operator.api.model import Key
    from redisqueue_operator.apply.writer import Writer
    from redisqueue_operator.budget.shares import Budgets
    from redisqueue_operator.kubernetes_api import KubernetesApi, Object
    from redisqueue_operator.scope import Scope

log = logging.getLogger(__name__)

REPORT_SECONDS = 10.0
"""Numbers alone are written this often at most, a condition at once."""
LOOK_SECONDS = 0.5


class BudgetController:
    """Keeps `budgets` up to date; `run` until it is cancelled."""

    def __init__(
        self,
        api: KubernetesApi,
        writer: Writer,
        budgets: Budgets,
        scope: Scope,
    ) -> None:
        self._api = api
        self._budgets = budgets
        self._followed = Follower(
            api, BUDGETS, BUDGET_KIND, scope, self._put, self._drop, read=budgets.listed
        )
        self._statuses = StatusWriter(
            writer,
            self._followed,
            news=news_of,
            unusable=unusable,
            seconds=REPORT_SECONDS,
            now=api.now,
        )
        self._known: dict[Key, tuple[object, ...]] = {}
        self._untold: set[Key] = set()

    async def run(self) -> None:
        """Watch, share out and report. Ends only by cancellation."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._followed.run())
                group.create_task(self._budgets.run(self._untold.update))
                group.create_task(self._report())
        finally:
            await self._statuses.close()

    # -- which there are --

    def _put(self, obj: Object) -> None:
        key, metadata = key_of(obj), obj["metadata"]
        if metadata.get("deletionTimestamp"):
            self._known.pop(key, None)
            self._budgets.drop(key)
            return
        identity = metadata["uid"], metadata.get("generation")
        if self._known.get(key) == identity:
            return
        self._known[key] = identity
        try:
            self._budgets.put(parse(obj))
            self._untold.add(key)
        except ValueError as error:  # written under another definition
            self._budgets.drop(key)
            self._statuses.tell_unusable(obj, str(error))

    def _drop(self, obj: Object) -> None:
        key = key_of(obj)
        self._known.pop(key, None)
        self._untold.discard(key)
        self._statuses.forget(key)
        self._budgets.drop(key)

    # -- what is said of them --

    async def _report(self) -> None:
        while True:
            for key in sorted(self._untold, key=str):
                self._untold.discard(key)  # first: what changes while it is written is told, too
                try:
                    whole = await self._tell(key)
                except Gone:
                    whole = True
                except Exception:  # the others are told of all the same
                    log.exception("the status of budget %s cannot be told until it changes again", key)
                    whole = True
                if not whole:
                    self._untold.add(key)
            await asyncio.sleep(LOOK_SECONDS)

    async def _tell(self, key: Key) -> bool:
        """Write the status if that is worth it; whether nothing is left to be told. Raises Gone."""
        obj, sharing = self._followed.objects.get(key), self._budgets.sharings.get(key)
        if obj is None or sharing is None:
            return True
        status = build_status(sharing, obj.get("status") or {}, self._api.now())
        return await self._statuses.tell(key, obj["metadata"]["uid"], status)
