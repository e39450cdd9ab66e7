"""The connection breaks or stalls at each request of each operation: the call, repeated, works once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis
from tests.support.fault_cases import OPERATIONS
from tests.support.fault_proxy import At, Fault, nothing
from tests.support.lane_fault_cases import LANE_OPERATIONS

if TYPE_CHECKING:
    from tests.faults.conftest import OpenBench
    from tests.support.fault_bench import Bench
    from tests.support.fault_operation import Operation

CUTS = (Fault.CUT_BEFORE, Fault.CUT_IN_REQUEST, Fault.CUT_AFTER, Fault.CUT_IN_REPLY, Fault.HALF_CLOSE)

REPEATABLE = {name: operation for name, operation in OPERATIONS.items() if operation.repeatable}

# How a request breaks is the same for all scripts: those of lanes are cut in the two ways that differ for it.
CUT = {
    f"{name}-{fault.name}": (operation, fault)
    for table, faults in ((OPERATIONS, CUTS), (LANE_OPERATIONS, (Fault.CUT_BEFORE, Fault.CUT_AFTER)))
    for name, operation in table.items()
    for fault in faults
}

over_operations = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
over_repeatable_operations = pytest.mark.parametrize("operation", REPEATABLE.values(), ids=REPEATABLE)


async def until_it_works(bench: Bench, operation: Operation) -> bool:
    """Repeat a failed call; False if it failed and may not be repeated."""
    while await operation.attempt(bench):
        operation.check(bench)
        if not operation.repeatable:
            return False
    return True


def check_once(bench: Bench, operation: Operation, *, worked: bool) -> None:
    """The work was done once, and the last reply told it; at most once where a call may not be repeated."""
    if not worked:
        assert sum(bench.ledger().values()) <= 1
        return
    if operation.reply is not None:
        assert bench.reply == operation.reply
    operation.check_end(bench)


@pytest.mark.parametrize(("operation", "fault"), CUT.values(), ids=CUT)
async def test_any_connection_may_break_at_any_request(
    operation: Operation, fault: Fault, open_bench: OpenBench, subtests: pytest.Subtests
) -> None:
    number, seen = 0, 1
    while number < seen:
        with subtests.test(request=number):
            async with open_bench() as bench:
                await operation.ready(bench)
                bench.proxy.rule = rule = At(number, lambda request: fault)
                worked = await until_it_works(bench, operation)
                bench.proxy.rule = nothing
                number, seen = number + 1, rule.seen
                check_once(bench, operation, worked=worked)


@over_repeatable_operations
async def test_a_client_may_repeat_by_itself(
    operation: Operation, open_bench: OpenBench, subtests: pytest.Subtests
) -> None:
    number, seen = 0, 1
    while number < seen:
        with subtests.test(request=number):
            async with open_bench(retries=3) as bench:
                await operation.ready(bench)
                bench.proxy.rule = rule = At(number, lambda request: Fault.CUT_AFTER)
                assert await operation.attempt(bench) is None
                bench.proxy.rule = nothing
                number, seen = number + 1, rule.seen
                check_once(bench, operation, worked=True)


@over_operations
async def test_a_reply_may_never_come(operation: Operation, open_bench: OpenBench) -> None:
    readied = False
    while not readied:
        async with open_bench(socket_timeout=0.2) as bench:
            try:
                await operation.ready(bench)
            except redis.TimeoutError:  # a busy machine: begin again, with nothing done yet
                continue
            readied = True
            bench.proxy.rule = At(0, lambda request: Fault.SILENCE, (b"EVALSHA", b"LPUSH", b"BLMOVE"))
            worked = await until_it_works(bench, operation)
            bench.proxy.rule = nothing
            check_once(bench, operation, worked=worked)


@over_operations
@pytest.mark.parametrize("fault", [Fault.DELAY, Fault.DRIP], ids=lambda fault: fault.name)
async def test_a_slow_connection_is_no_failure(
    operation: Operation, fault: Fault, open_bench: OpenBench
) -> None:
    async with open_bench() as bench:
        await operation.ready(bench)
        bench.proxy.rule = lambda request: fault
        assert await operation.attempt(bench) is None
        check_once(bench, operation, worked=True)
