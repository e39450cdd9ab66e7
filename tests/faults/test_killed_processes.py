"""SIGKILL at every step of publish, claim and settlement: nothing is lost, deliveries are counted."""

from __future__ import annotations

import os
import signal
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest
from tests.support.fault_bench import KEYS
from tests.support.fault_proxy import At, Fault, FaultProxy
from tests.support.killable import PROGRAMS, REDRIVES, Nursery
from tests.support.queues import let_leases_expire, payloads

from redis_message_queue import RedisMessageQueue
from redis_message_queue.consumer import Consumer, Outcome, Settlement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis
    from tests.support.fault_proxy import Request

    from redisqueue_worker.embedded_redis import EmbeddedRedis


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as nursery:
        yield nursery


def check_redelivery(client: redis.Redis) -> None:
    """The message is where the dead process left it, and is handled once in the end."""
    RedisMessageQueue("jobs", client=client).publish("a")  # known already, if it came so far
    places = {
        place: payloads(client, getattr(KEYS, place)) for place in ("pending", "processing", "completed")
    }
    (found,) = [place for place, there in places.items() if there]
    assert places[found] == ["a"]
    let_leases_expire(client, KEYS)
    consumer = Consumer(client, "jobs", keep_completed=10)
    deliveries = {"pending": [1], "processing": [2], "completed": []}
    claims = consumer.claim(5).claims
    assert [claim.delivery_count for claim in claims] == deliveries[found]
    consumer.settle([Settlement(claim, Outcome.DONE) for claim in claims])
    assert payloads(client, KEYS.completed) == ["a"]
    assert not client.exists(KEYS.pending, KEYS.processing, KEYS.lease_deadlines, KEYS.lease_tokens)


class Killer:
    """Runs a program again and again, and kills it one request later each time, until it comes to its end."""

    def __init__(self, nursery: Nursery, server: EmbeddedRedis, subtests: pytest.Subtests) -> None:
        self._nursery = nursery
        self._server = server
        self._subtests = subtests

    def kill_at_each_request(
        self, program: str, sent: Fault, prepare: Callable[[], object], check: Callable[[], None]
    ) -> None:
        number, status = 0, -signal.SIGKILL
        while status:
            pids: SimpleQueue[int] = SimpleQueue()

            def kill(request: Request, pids: SimpleQueue[int] = pids) -> Fault:
                os.kill(pids.get(timeout=60), signal.SIGKILL)
                return sent

            with (
                self._subtests.test(request=number),
                FaultProxy(self._server.port, At(number, kill)) as proxy,
            ):
                number += 1
                prepare()
                pids.put(self._nursery.start(program, proxy.url))
                status = self._nursery.wait()
                assert status in (0, -signal.SIGKILL)
                proxy.until_idle()
                check()


@pytest.fixture
def killer(nursery: Nursery, redis_server: EmbeddedRedis, subtests: pytest.Subtests) -> Killer:
    return Killer(nursery, redis_server, subtests)


over_moments = pytest.mark.parametrize("sent", [Fault.CUT_BEFORE, Fault.CUT_AFTER], ids=["unsent", "sent"])


@pytest.mark.parametrize("program", PROGRAMS)
@over_moments
def test_a_process_may_be_killed_at_any_request(
    program: str, sent: Fault, killer: Killer, redis_client: redis.Redis
) -> None:
    killer.kill_at_each_request(program, sent, redis_client.flushall, lambda: check_redelivery(redis_client))


@pytest.mark.parametrize("program", REDRIVES)
@over_moments
def test_a_redrive_may_be_killed_at_any_request_and_goes_on(
    program: str, sent: Fault, killer: Killer, redis_client: redis.Redis
) -> None:
    letters = [str(number) for number in range(150)]

    def prepare() -> None:
        redis_client.flushall()
        redis_client.lpush(KEYS.dead_letter, *letters)

    def check() -> None:
        left = payloads(redis_client, KEYS.dead_letter)
        assert payloads(redis_client, KEYS.pending) + left == letters
        done = RedisMessageQueue("jobs", client=redis_client).redrive(record="mine")
        assert (done.moved, done.remaining) == (150, 0)
        assert payloads(redis_client, KEYS.pending) == letters

    killer.kill_at_each_request(program, sent, prepare, check)
