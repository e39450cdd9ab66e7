"""What a budget says of itself is written until nothing is left to be told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.support.observations import fleet, queue
from tests.support.redisqueue_cases import budget, redis_queue
from tests.support.waiting import until

from redisqueue_operator.api import parse
from redisqueue_operator.budget.controller import BudgetController
from redisqueue_operator.budget.shares import Budgets
from redisqueue_operator.decide.scaling import History, Policy, decide
from redisqueue_operator.scope import Scope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Server:
    """An API server with one budget, of which nothing changes but its status; and the one who writes that."""

    def __init__(self, budgets: Budgets) -> None:
        self.budgets = budgets
        self.object: dict[str, Any] = budget(maxReplicas=5)
        self.object["metadata"] |= {"uid": "u", "generation": 1, "resourceVersion": "1"}
        self.failures: list[Exception] = []
        self.writes = 0

    def now(self) -> float:
        return 1_000_000.0

    async def list(self, path: str) -> tuple[list[dict[str, Any]], str]:
        return [self.object], "1"

    async def watch(self, path: str, version: str) -> AsyncIterator[dict[str, Any]]:
        await asyncio.Event().wait()
        yield {}

    async def status_of(self, resource: object, key: object, raw: object, status: Any) -> dict[str, Any]:
        self.writes += 1
        if self.writes == 1:
            await self.meanwhile()
        if self.failures:
            raise self.failures.pop()
        version = {"resourceVersion": str(1 + self.writes)}
        self.object = {**self.object, "metadata": {**self.object["metadata"], **version}, "status": status}
        return self.object

    async def meanwhile(self) -> None:
        """A RedisQueue is looked at for the first time, and the budget is shared out."""
        obj = redis_queue("jobs")
        obj["metadata"] |= {"uid": "q", "generation": 1}
        rq, seen = parse(obj), fleet(queue(10))
        policy = Policy.of(rq.spec, None, self.budgets.ceiling(rq))
        decision, _ = decide(seen, policy, History.fresh(0.0), 100.0)
        self.budgets.claim(rq, seen, decision)
        self.budgets.looked(rq.key)
        (key,) = self.budgets.sharings
        await until(lambda: self.budgets.sharings[key].claims, "it is shared out")


async def told(server: Server) -> None:
    """Run until the status says that a RedisQueue shares the budget."""
    controller = BudgetController(server, server, server.budgets, Scope())  # type: ignore[arg-type]
    running = asyncio.create_task(controller.run())
    try:
        await until(lambda: server.object.get("status", {}).get("queues") == 1, "it says who shares it")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_what_changes_while_a_status_is_written_is_told_too() -> None:
    await told(Server(Budgets(unread=(None,))))


async def test_a_status_that_nobody_took_is_written_again() -> None:
    server = Server(Budgets(unread=(None,)))
    server.failures = [ConnectionResetError()]
    await told(server)


async def test_a_budget_that_is_deleted_while_its_status_is_written_does_not_come_back() -> None:
    """The answer to the write is older than the end, of which the watch tells first."""

    class Deleted(Server):
        ended, gone, answered = False, asyncio.Event(), asyncio.Event()

        async def watch(self, path: str, version: str) -> AsyncIterator[dict[str, Any]]:
            await self.gone.wait()
            yield {"type": "DELETED", "object": self.object}
            self.ended = True
            await asyncio.Event().wait()

        async def status_of(self, resource: object, key: object, raw: object, status: Any) -> dict[str, Any]:
            self.gone.set()
            await until(lambda: self.ended, "the watch has told of it")
            self.answered.set()
            return {**self.object, "status": status}

    server = Deleted(Budgets(unread=(None,)))
    controller = BudgetController(server, server, server.budgets, Scope())  # type: ignore[arg-type]
    running = asyncio.create_task(controller.run())
    await server.answered.wait()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert server.budgets.sharings == {}
