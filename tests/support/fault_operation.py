"""One operation of the library on a queue whose messages can be counted, and what must hold of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import redis
from tests.support.fault_bench import KEYS, Bench
from tests.support.fault_proxy import Fault, Request, nothing
from tests.support.queues import everything, lease_sets

Step = Callable[[Bench], Awaitable[Any]]


@dataclass(frozen=True)
class Operation:
    """One call, and the messages it is about.

    `kept` are in the queue whatever happens, each as often as it is named; `new` once the call succeeded;
    `gone` are not, once it succeeded. `reply` is what the call answers, also when it is repeated because a
    reply was lost; None where that differs. What is not `repeatable` may do its work twice when repeated.
    The first request of those that are said to `connect` opens a connection.
    """

    perform: Step
    prepare: Step | None = None
    kept: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    reply: Any = None
    leases: bool = True
    repeatable: bool = True
    puts_in: bool = False
    connects: bool = False

    @property
    def grows(self) -> bool:
        """Whether it puts work into pending, which needs memory."""
        return bool(self.new) or self.puts_in

    async def ready(self, bench: Bench) -> None:
        """Bring the queue into the state before the call."""
        if not self.connects:
            await bench.call(bench.client.ping)
        if self.prepare:
            await self.prepare(bench)

    async def attempt(self, bench: Bench) -> redis.RedisError | None:
        """Perform once; the error, if that is what came of it."""
        try:
            reply = await self.perform(bench)
        except redis.RedisError as error:
            return error
        bench.reply = reply
        return None

    def check(self, bench: Bench) -> None:
        """Nothing is lost, and what a consumer holds comes back, whether the call did its work or not."""
        assert Counter(self.kept) <= bench.ledger(), "lost"
        if self.leases:
            processing, deadlines, _ = lease_sets(bench.direct, KEYS)
            assert processing <= deadlines, "never to be reclaimed"

    def check_end(self, bench: Bench) -> None:
        """After success, once time has passed and all was handled: each message in one place, no lease."""
        bench.finish()
        ledger, wanted = bench.ledger(), Counter((*self.kept, *self.new))
        assert ledger == wanted, f"lost {wanted - ledger}, too many {ledger - wanted}"
        waits = (KEYS.pending, KEYS.processing, KEYS.delayed, KEYS.lanes.waiting, KEYS.lanes.turns)
        left = (*waits, KEYS.lease_deadlines, KEYS.lease_tokens)
        found = {key: everything(bench.direct)[key] for key in left if bench.direct.exists(key)}
        assert found == {}, found
        bench.check_limits()


async def losing(bench: Bench, step: Step) -> None:
    """Perform a step all of whose script calls lose their replies."""
    bench.proxy.rule = lost_script_reply
    try:
        await step(bench)
    except redis.RedisError:
        bench.proxy.rule = nothing
    else:
        raise AssertionError("the reply was lost, and nobody noticed")


def lost_script_reply(request: Request) -> Fault | None:
    """The rule that loses the reply of every script."""
    return Fault.CUT_AFTER if request[0].startswith(b"EVAL") else None
