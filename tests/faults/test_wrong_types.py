"""Each key of each script holds something else: the call says so, and changes nothing.

Scripts do not know which face sends them, so one is enough here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis
from tests.support.claim_fault_cases import CLAIM_OPERATIONS
from tests.support.fault_cases import OPERATIONS
from tests.support.fault_proxy import nothing
from tests.support.lane_fault_cases import LANE_OPERATIONS

if TYPE_CHECKING:
    from tests.faults.conftest import OpenBench
    from tests.support.fault_operation import Operation
    from tests.support.fault_proxy import Request

pytestmark = [
    pytest.mark.parametrize("open_bench", ["sync"], indirect=True),
    pytest.mark.foreign_keys("a key of each script is replaced by something else"),
]

EVERY = OPERATIONS | CLAIM_OPERATIONS | LANE_OPERATIONS
SCRIPTED = {name: operation for name, operation in EVERY.items() if name != "publish without deduplication"}


class Spoiler:
    """A rule that replaces the key of that number, among all keys of an operation's scripts, by a set."""

    def __init__(self, client: redis.Redis, number: int) -> None:
        self._client = client
        self._left = number
        self.key: bytes | None = None
        self.before: dict[bytes, bytes] = {}

    def __call__(self, request: Request) -> None:
        """Spoil the key if it is one of this request's; note what there is before each later one."""
        if not request[0].startswith(b"EVAL"):
            return
        if self.key:
            self.before = dumped(self._client)
            return
        keys = request[3 : 3 + int(request[2])]
        if self._left >= len(keys):
            self._left -= len(keys)
            return
        self.key = keys[self._left]
        if self._client.exists(self.key):
            self._client.rename(self.key, "aside")
        self._client.sadd(self.key, "a set")
        self.before = dumped(self._client)

    def restore(self) -> None:
        """Put back what was there."""
        assert self.key
        self._client.delete(self.key)
        if self._client.exists("aside"):
            self._client.rename("aside", self.key)


def dumped(client: redis.Redis) -> dict[bytes, bytes]:
    """The whole database, but for records of calls and the counter of tokens, where a gap does no harm."""
    beside = (b"_result:", b"lease_token_counter")
    return {key: client.dump(key) for key in client.scan_iter() if not any(part in key for part in beside)}


@pytest.mark.parametrize("operation", SCRIPTED.values(), ids=SCRIPTED)
async def test_any_key_may_be_of_another_type(
    operation: Operation, open_bench: OpenBench, redis_client: redis.Redis, subtests: pytest.Subtests
) -> None:
    number, more = 0, True
    while more:
        with subtests.test(key=number):
            async with open_bench() as bench:
                await operation.ready(bench)
                bench.proxy.rule = spoiler = Spoiler(redis_client, number)
                failure = await operation.attempt(bench)
                bench.proxy.rule = nothing
                number, more = number + 1, spoiler.key is not None
                if spoiler.key:
                    after = dumped(redis_client)
                    spoiler.restore()
                if failure:
                    assert isinstance(failure, redis.ResponseError)
                    assert "WRONGTYPE" in str(failure)
                    assert after == spoiler.before
                    await operation.perform(bench)
                operation.check_end(bench)
