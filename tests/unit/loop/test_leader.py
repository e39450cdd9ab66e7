"""The election against a Lease in memory, with short times: takeover, compare-and-set, giving up in time."""

from __future__ import annotations

import asyncio
import copy
import time
from typing import Any

import pytest
from tests.support.waiting import PATIENCE_SECONDS, until

from redisqueue_operator.loop.leader import Election, LeaseTimes

TIMES = LeaseTimes(duration=1, renew_deadline=0.6, retry=0.1)
# Longer than any test waits: what happens in time does not come from its end.
LONG = LeaseTimes(duration=600, renew_deadline=300, retry=0.1)


class Server:
    """One Lease with a resourceVersion; `broken` makes every call fail."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.broken = False
        self.failures = 0

    async def get(self, timeout_seconds: float) -> dict[str, Any] | None:
        self._check()
        return copy.deepcopy(self.lease)

    async def create(self, lease: dict[str, Any], timeout_seconds: float) -> dict[str, Any]:
        self._check()
        assert self.lease is None, "exists"
        return self._keep(lease)

    async def replace(self, lease: dict[str, Any], timeout_seconds: float) -> dict[str, Any]:
        self._check()
        if lease["metadata"]["resourceVersion"] != str(self.version):
            raise RuntimeError("conflict")
        return self._keep(lease)

    def _check(self) -> None:
        if self.broken:
            self.failures += 1
            raise ConnectionError("away")

    def _keep(self, lease: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        self.lease = {**copy.deepcopy(lease), "metadata": {"resourceVersion": str(self.version)}}
        return copy.deepcopy(self.lease)


async def test_the_first_takes_it_and_the_second_waits() -> None:
    server = Server()
    times = LeaseTimes(duration=5, renew_deadline=4.5, retry=0.1)
    one, two = Election(server, "one", times), Election(server, "two", times)
    await one.acquire()
    holding = asyncio.create_task(one.hold())
    waiting = asyncio.create_task(two.acquire())
    await asyncio.sleep(6)  # longer than the Lease lasts without renewal
    assert not waiting.done()
    assert not holding.done()
    for task in (waiting, holding):
        task.cancel()


async def test_a_dead_holder_is_replaced_after_the_duration() -> None:
    server = Server()
    one, two = Election(server, "one", TIMES), Election(server, "two", TIMES)
    await one.acquire()  # and never renews
    started = time.monotonic()
    await two.acquire()
    assert time.monotonic() - started > 0.9
    assert server.lease is not None
    assert server.lease["spec"]["leaseTransitions"] == 1


@pytest.mark.parametrize("written", ["1999-01-01T00:00:00.000000Z", "2099-01-01T00:00:00.000000Z"])
async def test_the_times_in_a_lease_are_another_clocks_and_decide_nothing(written: str) -> None:
    server = Server()
    one, two = Election(server, "one", TIMES), Election(server, "two", TIMES)
    await one.acquire()
    assert server.lease is not None
    server._keep({"spec": {**server.lease["spec"], "renewTime": written, "acquireTime": written}})
    started = time.monotonic()
    await two.acquire()
    assert time.monotonic() - started > 0.9


async def test_a_released_lease_is_free_at_once() -> None:
    server = Server()
    one, two = Election(server, "one", LONG), Election(server, "two", LONG)
    await one.acquire()
    await one.release()
    await asyncio.wait_for(two.acquire(), PATIENCE_SECONDS)


async def test_a_holder_that_cannot_renew_gives_up_before_others_may_take_over() -> None:
    server = Server()
    one = Election(server, "one", LeaseTimes(duration=30, renew_deadline=0.6, retry=0.1))
    await one.acquire()
    server.broken = True
    started = time.monotonic()
    await one.hold()
    assert not one.holding
    assert 0.5 < time.monotonic() - started < 30


async def test_one_failed_renewal_is_survived() -> None:
    server = Server()
    one = Election(server, "one", LONG)
    await one.acquire()
    holding = asyncio.create_task(one.hold())
    server.broken = True
    await until(lambda: server.failures, "a renewal that fails")
    server.broken, version = False, server.version
    await until(lambda: server.version > version, "the next one")
    assert not holding.done()
    holding.cancel()


async def test_of_two_that_try_at_once_one_leads() -> None:
    server = Server()
    await Election(server, "old", TIMES).acquire()
    assert server.lease is not None
    server.lease["spec"]["holderIdentity"] = ""
    candidates = [Election(server, str(n), LONG) for n in range(5)]
    tasks = [asyncio.create_task(each.acquire()) for each in candidates]
    await until(lambda: any(each.holding for each in candidates), "one leads")
    await asyncio.sleep(0.3)
    assert sum(each.holding for each in candidates) == 1
    for task in tasks:
        task.cancel()


async def test_losing_to_another_holder_ends_the_reign() -> None:
    server = Server()
    one = Election(server, "one", TIMES)
    await one.acquire()
    assert server.lease is not None
    server._keep({"spec": {**server.lease["spec"], "holderIdentity": "thief", "leaseDurationSeconds": 60}})
    await asyncio.wait_for(one.hold(), PATIENCE_SECONDS)
    assert not one.holding
