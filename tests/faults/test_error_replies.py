"""The server answers with an error: the passing ones are waited out, the others told at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis
from tests.support.fault_cases import OPERATIONS
from tests.support.fault_proxy import Answer, At, nothing

if TYPE_CHECKING:
    from tests.faults.conftest import OpenBench
    from tests.support.fault_operation import Operation
    from tests.support.fault_proxy import Request

# What a server says that is not, or no more, the one to talk to: a demoted master, a replaced node, a login
# that has changed.
ELSEWHERE = {
    "READONLY": "You can't write against a read only replica.",
    "LOADING": "Redis is loading the dataset in memory",
    "MASTERDOWN": "Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "NOAUTH": "Authentication required.",
    "WRONGPASS": "invalid username-password pair or user is disabled.",
    "UNBLOCKED": "force unblock from blocking operation, instance state changed (master -> replica?)",
    "ERR": "Error running script (call to f_1): @user_script:1: @user_script: 1: -READONLY You can't write.",
}
# What a server says that does nothing now, and may later.
REFUSING = {
    "READONLY": "You can't write against a read only replica.",
    "CLUSTERDOWN": "The cluster is down",
    "TRYAGAIN": "Multiple keys request during rehashing of slot",
    "NOREPLICAS": "Not enough good replicas to write.",
    "BUSY": "Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "ERR": "Error running script (call to f_1): @user_script:1: @user_script: 1: -NOREPLICAS Not enough.",
}
PASSING = REFUSING | {
    "LOADING": "Redis is loading the dataset in memory",
    "ERR": "max number of clients reached",
}
LASTING = {
    "MISCONF": "Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
    "OOM": "command not allowed when used memory > 'maxmemory'.",
    "NOPERM": "User subject has no permissions to run the 'evalsha' command",
    "ERR": "unknown command",
}
# These are repeated by the library itself; a consumer's calls are repeated by its caller.
REPEATING = ("publish", "publish many", "claim", "remove", "move", "renew", "claim and move without lease")
# The last two must not be done twice: they are repeated only where nothing was done.
PATIENT = ("publish", "publish many", "claim, waiting", "remove", "move", "renew", "remove without lease")
PATIENT += ("publish without deduplication", "publish without deduplication with a cap")

WORK = (b"EVALSHA", b"LPUSH", b"BLMOVE")

over_patient = pytest.mark.parametrize("operation", [OPERATIONS[name] for name in PATIENT], ids=PATIENT)
over_repeating = pytest.mark.parametrize("operation", [OPERATIONS[name] for name in REPEATING], ids=REPEATING)
# A wait goes on at maxmemory: it has nothing to store.
OTHERS = {name: operation for name, operation in OPERATIONS.items() if name != "wait"}
over_others = pytest.mark.parametrize("operation", OTHERS.values(), ids=OTHERS)
over_operations = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)


class FirstOnly:
    """The rule that answers the first so many requests that do work with an error."""

    def __init__(self, times: int, code: str, text: str) -> None:
        self._left = times
        self._answer = error_reply(code, text)

    def __call__(self, request: Request) -> Answer | None:
        if request[0] not in WORK or self._left == 0:
            return None
        self._left -= 1
        return self._answer


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


@over_patient
async def test_a_refusal_is_repeated_until_the_server_is_willing(
    operation: Operation, open_bench: OpenBench, subtests: pytest.Subtests
) -> None:
    for code, text in REFUSING.items():
        with subtests.test(code=code):
            async with open_bench() as bench:
                await operation.ready(bench)
                bench.proxy.rule = FirstOnly(5, code, text)
                assert await operation.attempt(bench) is None
                operation.check_end(bench)


@over_others
async def test_a_server_that_is_not_the_one_is_left_at_once(
    operation: Operation, open_bench: OpenBench, subtests: pytest.Subtests
) -> None:
    for code, text in ELSEWHERE.items():
        with subtests.test(code=code):
            async with open_bench() as bench:
                await operation.ready(bench)
                before = bench.proxy.connections
                bench.proxy.rule = FirstOnly(1, code, text)
                assert await operation.attempt(bench) is None
                assert bench.proxy.connections > before
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


async def test_where_resp3_is_refused_the_error_names_the_way_out(open_bench: OpenBench) -> None:
    async with open_bench(protocol=3) as bench:
        bench.proxy.rule = without_hello
        queue, plain = bench.queue(), bench.queue(deduplication=False)
        for act, words in (
            (queue.publish, ("a",)),
            (plain.publish, ("a",)),
            (bench.consumer.claim, (1,)),
            (bench.consumer.wait, (1,)),
        ):
            await bench.call(bench.client.connection_pool.disconnect)
            with pytest.raises(redis.ResponseError, match=r"\?protocol=2"):
                await bench.call(act, *words)


def without_hello(request: Request) -> Answer | None:
    return error_reply("ERR", "unknown command 'HELLO', with args") if request[0] == b"HELLO" else None
