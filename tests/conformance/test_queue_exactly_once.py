"""A connection that fails before or after the server acted must neither lose nor double anything."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
import redis

if TYPE_CHECKING:
    from tests.support.faces import Face


def flaky(face: Face, gateway: Any, dice: random.Random) -> None:
    """Lose two calls in ten on the way there, and two replies in ten on the way back."""
    execute = gateway._sender.execute

    def fails() -> bool:
        return dice.random() < 0.2

    def sync(client: object, call: object) -> object:
        if fails():
            raise redis.ConnectionError("lost on the way")
        result = execute(client, call)
        if fails():
            raise redis.TimeoutError("reply lost")
        return result

    async def awaited(client: object, call: object) -> object:
        if fails():
            raise redis.ConnectionError("lost on the way")
        result = await execute(client, call)
        if fails():
            raise redis.TimeoutError("reply lost")
        return result

    gateway._sender.execute = sync if face.name == "sync" else awaited


@pytest.mark.parametrize("leased", [True, False], ids=["leased", "plain"])
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_every_message_is_handled_exactly_once(
    face: Face, redis_client: redis.Redis, leased: bool, seed: int
) -> None:
    options: dict[str, Any] = {"message_visibility_timeout_seconds": 30} if leased else {}
    gateway = face.gateway(
        message_wait_interval_seconds=0,
        retry_initial_delay_seconds=0.001,
        retry_max_delay_seconds=0.002,
        **options,
    )
    queue = face.queue(gateway=gateway, enable_completed_queue=True)
    flaky(face, gateway, random.Random(seed))
    messages = [f"message {number}" for number in range(40)]
    for message in messages[:20]:
        assert await face.call(queue.publish, message) is True
    assert await face.call(queue.publish_many, messages[20:]) == [True] * 20

    taken: list[bytes] = []
    while len(taken) < 40:
        try:
            async with face.process(queue) as payload:
                if payload is not None:
                    taken.append(payload)
        except redis.RedisError:
            continue
    assert sorted(taken) == sorted(message.encode() for message in messages)
    assert len(redis_client.lrange("{jobs}::completed", 0, -1)) == 40
    left = {name.decode() for name in redis_client.scan_iter("{jobs}::p*")}
    left = {name for name in left if "operation_result" not in name}
    assert left <= {"{jobs}::processing:lease_token_counter"}
