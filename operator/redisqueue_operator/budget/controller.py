"""Reads RedisQueueBudgets, has them shared out, and says so in their status: in the leader, beside the loop.

Where the definition or a right is missing, scaling goes on without budgets.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from redisqueue_operator.api.definition import BUDGET_KIND
from redisqueue_operator.budget.resource import BUDGETS, parse
from redisqueue_operator.budget.status import build_status, told, unusable
from redisqueue_operator.kubernetes_api import ApiError, KubernetesApi, Object
from redisqueue_operator.observe.cache import key_of
from redisqueue_operator.observe.follow import Follower

if TYPE_CHECKING:
    from collections.abc import Callable

    from redisqueue_operator.api.model import Key
    from redisqueue_operator.apply.writer import Writer
    from redisqueue_operator.budget.shares import Budgets
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._writer = writer
        self._budgets = budgets
        self._clock = clock
        self._followed = Follower(
            api, BUDGETS, BUDGET_KIND, scope, self._put, self._drop, read=budgets.listed
        )
        self._known: dict[Key, tuple[object, ...]] = {}
        self._problems: dict[Key, str] = {}
        self._untold: set[Key] = set()
        self._reported_at: dict[Key, float] = {}

    async def run(self) -> None:
        """Watch, share out and report. Ends only by cancellation."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._followed.run())
            group.create_task(self._budgets.run(self._untold.update))
            group.create_task(self._report())

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
        self._problems.pop(key, None)
        try:
            self._budgets.put(parse(obj))
        except ValueError as error:  # written under another definition
            self._budgets.drop(key)
            self._problems[key] = str(error)
        self._reported_at.pop(key, None)
        self._untold.add(key)

    def _drop(self, obj: Object) -> None:
        key = key_of(obj)
        for known in (self._known, self._problems, self._reported_at):
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
        if (obj := self._followed.objects.get(key)) is None or obj["metadata"].get("deletionTimestamp"):
            return True
        before, now = obj.get("status") or {}, self._api.now()
        if (problem := self._problems.get(key)) is not None:
            status = unusable(obj["metadata"].get("generation") or 0, problem, before, now)
        elif (sharing := self._budgets.sharings.get(key)) is not None:
            status = build_status(sharing, before, now)
        else:
            return True
        if self._followed.says(obj, status):
            return True
        recent = self._clock() - self._reported_at.get(key, float("-inf")) < REPORT_SECONDS
        if recent and told(status) == told(before):
            return False
        try:
            live = await self._writer.status_of(BUDGETS, key, obj, status)
        except ApiError as error:
            log.warning("the status of budget %s: %s", key, error)
            self._reported_at[key] = self._clock()
            await self._followed.look_again(key, obj["metadata"]["uid"])
            return False
        self._reported_at[key] = self._clock()
        self._followed.remember_status(live, status)
        return True
