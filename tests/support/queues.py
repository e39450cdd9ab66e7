"""Queues as a test sees them: publish, look, let time pass, lose a reply."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import redis
import redis.asyncio

from redis_message_queue import _transport, envelope, operations

if TYPE_CHECKING:
    from redis_message_queue.keys import QueueKeys


def publish(client: redis.Redis, keys: QueueKeys, *payloads: str) -> None:
    """Publish in this order, all at once: who looks sees all of them, or none."""
    if payloads:
        client.lpush(keys.pending, *map(envelope.encode, payloads))


def publish_later(client: redis.Redis, keys: QueueKeys, delay_seconds: float, *stored: str) -> None:
    """Put stored messages into the delayed set, due so much later by the server's clock."""
    seconds, microseconds = client.time()
    due = seconds * 1000 + microseconds // 1000 + delay_seconds * 1000
    client.zadd(keys.delayed, dict.fromkeys(stored, due))


def return_unhandled(
    keys: QueueKeys, stored: str | bytes, replay_key: str = "{jobs}::replay"
) -> operations.Call[bool]:
    """The call that gives an unhandled claim without a lease back, next to be claimed."""
    return operations.move(
        processing=keys.processing,
        destination=keys.pending,
        stored=stored,
        payload=stored,
        lease_token=None,
        replay_key=replay_key,
        replay_ttl_ms=1000,
        next_out=True,
    )


def payloads(client: redis.Redis, key: str) -> list[str]:
    """The payloads of a list, the next to be claimed (the tail) first."""
    values = [envelope.decode(stored).payload for stored in client.lrange(key, 0, -1)]
    return [value.decode() if isinstance(value, bytes) else value for value in reversed(values)]


def claim_one(
    client: redis.Redis, keys: QueueKeys, claim_id: str, *, limit: int | None = 10
) -> operations.ClaimResult:
    """Claim one message with a lease."""
    call = operations.claim_leased(
        pending=keys.pending,
        processing=keys.processing,
        claim_id=claim_id,
        visibility_timeout_ms=300_000,
        max_delivery_count=limit,
        dead_letter_queue=keys.dead_letter,
    )
    return _transport.execute(client, call)


def claim_as_v7(
    client: redis.Redis, keys: QueueKeys, claim_id: str, *, limit: int | None = 10
) -> operations.ClaimResult:
    """Claim one message the way an older worker does, with all the records it keeps."""
    claim = claim_one(client, keys, claim_id, limit=limit)
    if claim.token is not None:
        client.hset(keys.claim_result_refs, claim.token, keys.claim_result(claim_id))
        client.hset(keys.claim_result_ids, claim_id, client.get(keys.claim_result(claim_id)) or b"")
        client.hset(keys.claim_result_backrefs, claim.token, claim_id)
    return claim


def let_leases_expire(client: redis.Redis, keys: QueueKeys) -> None:
    """Move all deadlines into the past by the same time: their order stays, equal ones stay equal."""
    for stored, deadline in client.zrange(keys.lease_deadlines, 0, -1, withscores=True):
        client.zadd(keys.lease_deadlines, {stored: deadline - 1_000_000_000}, xx=True)


def let_delayed_be_due(client: redis.Redis, keys: QueueKeys) -> None:
    """Move the due times of all delayed messages into the past; their order stays."""
    for position, stored in enumerate(client.zrange(keys.delayed, 0, -1)):
        client.zadd(keys.delayed, {stored: position + 1}, xx=True)


def everything(client: redis.Redis) -> dict[str, Any]:
    """The whole database as plain values (times to live left out)."""
    readers = {
        "list": lambda key: client.lrange(key, 0, -1),
        "hash": client.hgetall,
        "zset": lambda key: dict(client.zrange(key, 0, -1, withscores=True)),
        "string": client.get,
    }
    return {key.decode(): readers[client.type(key).decode()](key) for key in sorted(client.scan_iter())}


def lease_sets(client: redis.Redis, keys: QueueKeys) -> tuple[Counter[bytes], ...]:
    """Entries of processing, members of the deadlines, fields of the tokens."""
    return (
        Counter(client.lrange(keys.processing, 0, -1)),
        Counter(client.zrange(keys.lease_deadlines, 0, -1)),
        Counter(client.hkeys(keys.lease_tokens)),
    )


class LossyRedis(redis.Redis):
    """A client whose next `lose` replies are lost after the server has done the work."""

    lose = 0

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run the command, then fail if a loss is due."""
        reply = super().execute_command(*args, **options)
        if self.lose:
            self.lose -= 1
            raise redis.ConnectionError("the reply was lost")
        return reply


class AsyncLossyRedis(redis.asyncio.Redis):
    """As `LossyRedis`, for asyncio."""

    lose = 0
    _answered: asyncio.Event | None = None
    _before_it = 0

    def gate(self, before_it: int = 0) -> asyncio.Event:
        """Hold the reply of the next command, or of a later one, for ever; the event: the work is done."""
        self._before_it = before_it
        self._answered = asyncio.Event()
        return self._answered

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run the command, then fail if a loss is due."""
        reply = await super().execute_command(*args, **options)
        if self._answered and self._before_it:
            self._before_it -= 1
        elif self._answered:
            answered, self._answered = self._answered, None
            answered.set()
            await asyncio.Event().wait()
        if self.lose:
            self.lose -= 1
            raise redis.ConnectionError("the reply was lost")
        return reply
