"""The users of `redis_message_queue.acl` can do their work and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import redis
from tests.support.acl import ROLES, grant
from tests.support.duties import DUTIES
from tests.support.faces import FACES

from redis_message_queue import RedisMessageQueue
from redis_message_queue.acl import rules
from redis_message_queue.consumer import Consumer, Limits, Outcome, Settlement, WorkerIdentity
from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import Server

pytestmark = pytest.mark.one_node  # a cluster keeps users on each node: the same rules, set more often

# What scripts do in rare cases alone: equal values without envelopes, a full list, lost replies, a purge of
# what was delivered before.
SELDOM = {
    "zcard",
    "zcount",
    "mget",
    "zlexcount",
    "zmscore",
    "zrangebylex",
    "zrem",
    "zremrangebyscore",
    "zrevrange",
    "hexists",
    "hkeys",
    "hmget",
    "lpop",
    "lrange",
    "lset",
    "ltrim",
    "rpop",
    "zpopmin",
    "zscore",
}
# What is lost for the first time, and was only kept.
OF_OPERATOR = {"hincrby", "pexpire"}


@pytest.fixture
def users(redis_client: redis.Redis, node: redis.Redis) -> Iterator[redis.Redis]:
    """A user for each role; gives a client with all rights."""
    for role in ROLES:
        grant(node, role, role)
    node.acl_log_reset()
    yield node
    node.acl_deluser(*ROLES)


@pytest.mark.parametrize("name", FACES)
async def test_each_role_has_the_rights_that_its_work_needs_and_no_others(
    name: str, server: Server, users: redis.Redis
) -> None:
    for role, duty in DUTIES.items():
        face = FACES[name](server.as_user(role))
        users.script_flush()
        users.config_resetstat()
        try:
            await duty(face, face.client())
        finally:
            used = {name.removeprefix("cmdstat_") for name in users.info("commandstats")}
            await face.close()
        granted = {rule[1:] for rule in rules(role, QueueKeys("{jobs}")) if rule.startswith("+")}
        assert granted - used <= SELDOM | (OF_OPERATOR if role == "operator" else set()), role
    # A client introduces itself (CLIENT SETINFO), and a queue asks once whether this is a cluster.
    assert {entry["object"] for entry in users.acl_log()} <= {"client", "client|setinfo", "info"}


@pytest.mark.parametrize("name", FACES)
async def test_a_caretaker_finds_a_message_in_every_state(
    name: str, server: Server, redis_client: redis.Redis, users: redis.Redis
) -> None:
    queue = RedisMessageQueue("{jobs}", client=redis_client)
    ends = {"completed": Outcome.DONE, "failed": Outcome.FAILED, "dead": Outcome.DEAD}
    consumer = Consumer(
        redis_client,
        "{jobs}",
        worker=WorkerIdentity("w1", 1, instance="i1"),
        keep_completed=5,
        keep_failed=5,
    )
    for state, outcome in ends.items():
        queue.enqueue(state, message_id=state)
        consumer.settle([Settlement(consumer.claim(1).claims[0], outcome)])
    queue.enqueue("x", message_id="in_flight")
    consumer.claim(1)
    queue.enqueue("x", message_id="delayed", delay_seconds=1000)
    queue.enqueue("x", message_id="pending")
    face = FACES[name](server.as_user("caretaker"))
    states = ("pending", "delayed", "in_flight", *ends, "unknown")
    found = [await face.call(face.queue().find, state) for state in states]
    await face.close()
    assert tuple(one.state for one in found) == states
    assert found[2].worker == "w1"


@pytest.mark.parametrize("name", FACES)
async def test_priorities_and_limit_keys_need_no_more(name: str, server: Server, users: redis.Redis) -> None:
    producer, worker, caretaker = (
        FACES[name](server.as_user(role)) for role in ("producer", "worker", "caretaker")
    )
    queue = producer.queue()
    for number in range(3):
        receipt = await producer.call(queue.enqueue, f"a{number}", limit_key="a", priority="high")
        await producer.call(queue.enqueue, f"front {number}", limit_key="a", priority="low", at_front=True)
    limits = Limits(rate_per_second=0.01, rate_burst=2, max_in_flight=1)
    consumer = worker.consumer(
        "{jobs}", limits=Limits(rate_per_second=900, max_in_flight=9), key_limits=limits
    )
    for _ in range(2):
        claims = (await worker.call(consumer.claim, 3)).claims
        assert len(claims) == 1
        await worker.call(consumer.settle, [Settlement(claims[0], Outcome.DEAD)])
    async with worker.process(worker.queue()) as payload:
        assert payload is not None
    looks = caretaker.queue()
    assert (await caretaker.call(looks.find, receipt.message_id)).state in ("pending", "unknown")
    assert len(await caretaker.call(looks.peek, 10)) == 3
    assert (await caretaker.call(looks.redrive)).moved == 2
    assert await caretaker.call(looks.purge, target="pending") == 5
    for face in (producer, worker, caretaker):
        await face.close()
    assert {entry["object"] for entry in users.acl_log()} <= {"client", "client|setinfo", "info"}


def test_a_producer_can_neither_read_nor_take_messages(server: Server, users: redis.Redis) -> None:
    with server.as_user("producer").blocking() as client:
        queue = RedisMessageQueue("{jobs}", client=client)
        queue.publish("secret")
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.lrange("{jobs}::pending", 0, -1)
        with pytest.raises(redis.exceptions.NoPermissionError), queue.process_message():
            pass
        with pytest.raises(redis.exceptions.NoPermissionError):
            RedisMessageQueue("{others}", client=client).publish("x")
    assert users.llen("{jobs}::pending") == 1


@pytest.mark.parametrize("name", FACES)
@pytest.mark.parametrize("pending", [0, 1])
async def test_a_handler_may_enqueue_whatever_a_producer_may(
    name: str, server: Server, users: redis.Redis, pending: int
) -> None:
    worker = FACES[name](server.as_user("worker"))
    queue, consumer = worker.queue(), worker.consumer("{jobs}")
    ways: list[dict[str, Any]] = [
        {},
        {"priority": "high"},
        {"limit_key": "a", "priority": "low"},
        {"limit_key": "a", "at_front": True},
        {"delay_seconds": 0.001, "limit_key": "b"},
        {"deduplication_key": "k", "priority": "high"},
    ]
    for way in ways:
        for _ in range(pending):
            await worker.call(queue.enqueue, "before", **way)
        assert await worker.call(queue.enqueue, "it", **way) or way.get("deduplication_key")
        claims = (await worker.call(consumer.claim, 2)).claims
        await worker.call(consumer.settle, [Settlement(claim, Outcome.DONE) for claim in claims])
    await worker.close()
