"""Calls that overlap, with each client library: both replies may be there before the first is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.queues import publish
from tests.support.waiting import eventually

from redis_message_queue.keys import QueueKeys
from redis_message_queue.pipelined import PipelinedConsumer

if TYPE_CHECKING:
    import redis
    from tests.support.servers import Server

KEYS = QueueKeys("{jobs}")


@pytest.mark.one_node
def test_replies_that_arrive_together_are_read_one_after_the_other(
    server: Server, redis_client: redis.Redis
) -> None:
    publish(redis_client, KEYS, "a", "b", "c", "d")
    with server.blocking(decode_responses=True) as client:
        consumer = PipelinedConsumer(client, "{jobs}")
        consumer.claim(0)  # the server knows the script
        assert consumer.may_overlap
        for _ in range(2):
            consumer.send((), 2, in_hand=1)
        eventually(lambda: redis_client.llen(KEYS.processing) == 4, "both are carried out")
        given = []
        for _ in range(2):
            consumer.wait_for_reply()
            given += [claim.payload for claim in consumer.receive().claimed.claims]
    assert given == ["a", "b", "c", "d"]
