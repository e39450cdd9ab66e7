"""The server refuses a write: each one of each script once, each command by an ACL, and all at maxmemory.

Scripts do not know which face sends them, so one is enough here.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

import pytest
from tests.support.claim_fault_cases import CLAIM_OPERATIONS
from tests.support.fault_bench import KEYS, USER
from tests.support.fault_cases import OPERATIONS
from tests.support.fault_proxy import nothing
from tests.support.lane_fault_cases import LANE_OPERATIONS
from tests.support.queues import lease_sets

from redis_message_queue.operations import script

if TYPE_CHECKING:
    import redis
    from tests.faults.conftest import OpenBench
    from tests.support.fault_operation import Operation
    from tests.support.fault_proxy import Request, Rule

NAMES = [
    name
    for path in (files("redis_message_queue") / "scripts").iterdir()
    if (name := path.name.removesuffix(".lua")) != "parts"
]
pytestmark = pytest.mark.parametrize("open_bench", ["sync"], indirect=True)

TEXTS = {script(name).sha.encode(): script(name).text.encode() for name in NAMES}

# Put in front of each script: notes the writes of an operation and refuses the one of that number.
REFUSING = """
local WRITES = {%s}
local function refusing(run)
  return function(name, ...)
    if WRITES[name] and redis.call('RPUSH', 'writes', name) == %d then return run('NO SUCH COMMAND') end
    return run(name, ...)
  end
end
local wrapped = { call = refusing(redis.call), pcall = refusing(redis.pcall) }
local redis = setmetatable(wrapped, { __index = redis })
"""

EVERY = OPERATIONS | CLAIM_OPERATIONS | LANE_OPERATIONS
over_operations = pytest.mark.parametrize("operation", EVERY.values(), ids=EVERY)


def write_commands(client: redis.Redis) -> list[str]:
    """The server's commands that write, as scripts spell them."""
    return [command.decode().upper() for command in client.execute_command("ACL", "CAT", "write")]


def refusing_write(number: int, commands: list[str]) -> Rule:
    """The rule that refuses one write of the scripts to come, counted from 1; 0 refuses none."""
    table = ", ".join(f"['{command}'] = true" for command in commands)
    front = (REFUSING % (table, number)).encode()

    def rule(request: Request) -> Request | None:
        command, text, *rest = request
        if command not in (b"EVAL", b"EVALSHA"):
            return None
        return [b"EVAL", front + (TEXTS[text] if command == b"EVALSHA" else text), *rest]

    return rule


def writes_noted(client: redis.Redis) -> list[str]:
    """What scripts have written since they were asked to note it."""
    noted = client.lpop("writes", 1000) or []
    return [command.decode() for command in noted]


@over_operations
async def test_any_single_write_may_be_refused(
    operation: Operation, open_bench: OpenBench, redis_client: redis.Redis, subtests: pytest.Subtests
) -> None:
    commands = write_commands(redis_client)
    number, seen = 0, 1
    while seen >= number:  # until there is no such write any more
        number += 1
        with subtests.test(write=number):
            async with open_bench() as bench:
                await operation.ready(bench)
                bench.proxy.rule = refusing_write(number, commands)
                failure = await operation.attempt(bench)
                bench.proxy.rule = nothing
                seen = len(writes_noted(redis_client))
                operation.check(bench)
                if failure:
                    await operation.perform(bench)
                operation.check_end(bench)


@over_operations
async def test_any_command_may_be_forbidden(
    operation: Operation, open_bench: OpenBench, redis_client: redis.Redis, subtests: pytest.Subtests
) -> None:
    async with open_bench() as bench:
        await operation.ready(bench)
        bench.proxy.rule = refusing_write(0, write_commands(redis_client))
        await operation.perform(bench)
        commands = sorted(set(writes_noted(redis_client)))
    for command in commands:
        with subtests.test(command=command):
            async with open_bench() as bench:
                await operation.ready(bench)
                redis_client.execute_command("ACL", "SETUSER", USER, f"-{command}")
                try:
                    failure = await operation.attempt(bench) and await operation.attempt(bench)
                finally:
                    redis_client.execute_command("ACL", "SETUSER", USER, f"+{command}")
                operation.check(bench)
                if failure:
                    await operation.perform(bench)
                operation.check_end(bench)


@over_operations
async def test_memory_may_be_full(
    operation: Operation, open_bench: OpenBench, redis_client: redis.Redis
) -> None:
    async with open_bench() as bench:
        await operation.ready(bench)
        redis_client.config_set("maxmemory", 1)
        try:
            failure = await operation.attempt(bench)
        finally:
            redis_client.config_set("maxmemory", 0)
        assert bool(failure) == operation.grows, "putting work in is refused, taking it out is not"
        operation.check(bench)
        if operation.leases:
            processing, deadlines, tokens = lease_sets(redis_client, KEYS)
            assert processing == deadlines == tokens
        if failure:
            await operation.perform(bench)
        operation.check_end(bench)
