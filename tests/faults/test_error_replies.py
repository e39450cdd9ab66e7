"""The server answers with an error: the passing ones are waited out, the others told at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.fault_cases import OPERATIONS, Operation
from tests.support.fault_proxy import Answer, At, nothing

if TYPE_CHECKING:
    import redis
    from tests.faults.conftest import OpenBench

PASSING = {
    "READONLY": "You can't write against a read only replica.",
    "LOADING": "Redis is loading the dataset in memory",
    "MASTERDOWN": "Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "CLUSTERDOWN": "The cluster is down",
    "TRYAGAIN": "Multiple keys request during rehashing of slot",
    "ERR": "max number of clients reached",
}
LASTING = {
    "BUSY": "Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "MISCONF": "Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
    "NOREPLICAS": "Not enough good replicas to write.",
    "OOM": "command not allowed when used memory > 'maxmemory'.",
    "NOPERM": "User subject has no permissions to run the 'evalsha' command",
    "NOAUTH": "Authentication required.",
    "ERR": "unknown command",
}
# These are repeated by the library itself; a consumer's calls are repeated by its caller.
REPEATING = ("publish", "publish many", "claim", "remove", "move", "renew", "claim and move without lease")

WORK = (b"EVALSHA", b"LPUSH", b"BLMOVE")

over_repeating = pytest.mark.parametrize("operation", [OPERATIONS[name] for name in REPEATING], ids=REPEATING)
# A wait goes on at maxmemory: it has nothing to store.
OTHERS = {name: operation for name, operation in OPERATIONS.items() if name != "wait"}
over_others = pytest.mark.parametrize("operation", OTHERS.values(), ids=OTHERS)
over_operations = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)


def error_reply(code: str, text: str) -> Answer:
    """The reply as the server words it."""
    return Answer(f"-{code} {text}\r\n".encode())


@over_repeating
async def test_a_passing_error_is_waited_out(
    operation: Operation, open_bench: OpenBench, subtests: pytest.Subtests
) -> None:
    for code, text in PASSING.items():
        with subtests.test(code=code):
            async with open_bench() as bench:
                await operation.ready(bench)
                answer = error_reply(code, text)
                bench.proxy.rule = rule = At(0, lambda request, answer=answer: answer, WORK)
                assert await operation.attempt(bench) is None
                assert rule.seen > 1
                operation.check_end(bench)


@over_others
async def test_any_other_error_is_told_at_once(
    operation: Operation, open_bench: OpenBench, subtests: pytest.Subtests
) -> None:
    for code, text in LASTING.items():
        with subtests.test(code=code):
            async with open_bench() as bench:
                await operation.ready(bench)
                answer = error_reply(code, text)
                bench.proxy.rule = At(0, lambda request, answer=answer: answer, WORK)
                failure = await operation.attempt(bench)
                bench.proxy.rule = nothing
                assert failure is not None
                assert text in str(failure)
                operation.check(bench)
                await operation.perform(bench)
                operation.check_end(bench)


@over_operations
async def test_forgotten_scripts_are_sent_again(
    operation: Operation, open_bench: OpenBench, redis_client: redis.Redis
) -> None:
    async with open_bench() as bench:
        await operation.ready(bench)
        redis_client.script_flush()
        assert await operation.attempt(bench) is None
        operation.check_end(bench)
