"""Sentinels name another master while the former one takes writes: no kept connection goes on with that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis
from tests.support import server_binaries as binaries
from tests.support.faces import FACES
from tests.support.queues import payloads, publish
from tests.support.servers import behind_sentinel, sentinel_pair, switch_master

from redis_message_queue import _kept_connection
from redis_message_queue.keys import QueueKeys
from redis_message_queue.pipelined import PipelinedConsumer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redisqueue_worker.embedded_redis import EmbeddedRedis

    Pair = tuple[EmbeddedRedis, EmbeddedRedis, tuple[str, int]]

KEYS = QueueKeys("jobs")
# For how long a kept connection is used without a look at it.
UNSEEN = {"at once": 3600.0, "after a while": 0.0}


@pytest.fixture
def pair() -> Iterator[Pair]:
    with sentinel_pair(binaries.valkey) as pair:
        yield pair


@pytest.mark.parametrize("seconds", UNSEEN.values(), ids=UNSEEN)
@pytest.mark.parametrize("name", sorted(FACES))
async def test_a_message_goes_to_the_next_one_once_it_is_known(
    name: str, seconds: float, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_kept_connection, "_KEPT_SECONDS", seconds)
    former, next_one, address = pair
    face = FACES[name](behind_sentinel(former, address))
    client = face.client()
    queue = face.queue("jobs", client=client)
    await face.call(queue.publish, "before")
    switch_master(next_one, address)
    await face.call(client.connection_pool.get_master_address)  # as any new connection does
    await face.call(queue.publish, "after")
    await face.close()
    with redis.Redis.from_url(next_one.url) as admin:
        assert payloads(admin, KEYS.pending)[-1] == "after"


def test_calls_overlap_no_more_until_the_line_has_changed(pair: Pair) -> None:
    former, next_one, address = pair
    server = behind_sentinel(former, address)
    with server.blocking() as client, redis.Redis.from_url(next_one.url) as admin:
        consumer = PipelinedConsumer(client, "jobs")
        consumer.claim(0)
        consumer.send((), 1, in_hand=1)
        switch_master(next_one, address)
        client.connection_pool.get_master_address()
        assert not consumer.may_overlap
        assert consumer.receive().claimed.claims == ()
        publish(admin, KEYS, "after")
        consumer.send((), 1, in_hand=1)
        assert [claim.payload for claim in consumer.receive().claimed.claims] == [b"after"]
