"""The asyncio consumer for workers: batched claims, settle and claim in one call, wake-up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis_message_queue import _transport
from redis_message_queue._batch import settlements_at_once
from redis_message_queue._consumer import ConsumerFlows
from redis_message_queue._flavour import documented_as
from redis_message_queue._flow import run_async
from redis_message_queue.consumer import Consumer as _Blocking
from redis_message_queue.messages import (
    Claim,
    ClaimReply,
    Due,
    Outcome,
    Settlement,
    SettleReply,
    WorkerIdentity,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis.asyncio

__all__ = [
    "Claim",
    "ClaimReply",
    "Consumer",
    "Due",
    "Outcome",
    "SettleReply",
    "Settlement",
    "WorkerIdentity",
    "settlements_at_once",
]


@documented_as(_Blocking)
class Consumer(ConsumerFlows):
    """Claims and settles messages of one queue over a redis-py client. Tasks may share it.

    Every call raises one of `trouble.AWAY` on trouble (`redis.RedisError`, in a cluster also
    `RedisClusterException`), and may then be repeated: a call whose reply was lost is not done twice, and
    its messages are given again.

    Args:
        client: a `redis.asyncio.Redis` or `redis.asyncio.RedisCluster`.
        name: the queue's name; in a cluster with a hash tag, such as `{jobs}`.
        key_separator: between the name and the rest of each key.
        visibility_timeout_seconds: how long a lease lasts without renewal.
        max_delivery_count: deliveries before a message becomes a dead letter; None = no limit.
        keep_completed: payloads kept of handled messages, 0 = none.
        keep_failed: payloads kept of failed messages, 0 = none.
        keep_dead_letter_info: records kept of why messages became dead letters, 0 = none.
        worker: who claims; needed for `report` and for being retired.

    Raises:
        ConfigurationError: a value that cannot work, named in the text.
        TypeError: a client of the other face.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis | redis.asyncio.RedisCluster,
        name: str,
        *,
        key_separator: str = "::",
        visibility_timeout_seconds: float = 120,
        max_delivery_count: int | None = 10,
        keep_completed: int = 0,
        keep_failed: int = 1000,
        keep_dead_letter_info: int = 1000,
        worker: WorkerIdentity | None = None,
    ) -> None:
        self._set_up(locals(), _transport.execute_async, _transport.send_async, asyncio=True)

    async def claim(self, count: int) -> ClaimReply:
        return (await self.settle((), claim=count)).claimed

    async def settle(
        self,
        settlements: Sequence[Settlement],
        claim: int = 0,
        *,
        in_hand: int | None = None,
        due: Due = Due.FIRST,
    ) -> SettleReply:
        return await run_async(self._settle(settlements, claim, in_hand, due))

    async def recover(self) -> tuple[Claim, ...]:
        return await run_async(self._recover())

    async def renew(self, claims: Sequence[Claim]) -> tuple[bool, ...]:
        return await run_async(self._renew(claims))

    async def wait(self, timeout_seconds: float) -> bool:
        return await run_async(self._wait(timeout_seconds))

    async def report(
        self, *, busy: int, oldest_start_age_seconds: float | None, draining: bool, tripped: bool = False
    ) -> None:
        call = self._state.report(
            busy=busy, oldest_start_age_seconds=oldest_start_age_seconds, draining=draining, tripped=tripped
        )
        await run_async(self._report(call))

    async def deregister(self) -> None:
        await run_async(self._deregister())
