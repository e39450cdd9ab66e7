"""The asyncio consumer for workers: batched claims, settle and claim in one call, wake-up."""

from __future__ import annotations

import logging
from itertools import chain
from typing import TYPE_CHECKING, Any

from redis.client import NEVER_DECODE
from redis.exceptions import OutOfMemoryError

from redis_message_queue import _clock, _transport
from redis_message_queue._batch import (
    RECOVER_ALL,
    ConsumerState,
    requests,
    settlements_at_once,
)
from redis_message_queue._flavour import documented_as
from redis_message_queue.client_checks import check_face, require_one_slot
from redis_message_queue.consumer import Consumer as _Blocking
from redis_message_queue.keys import QueueKeys
from redis_message_queue.messages import (
    Claim,
    ClaimReply,
    Due,
    Outcome,
    Settlement,
    SettleReply,
    WorkerIdentity,
)
from redis_message_queue.operations import decodes
from redis_message_queue.options import ConsumerOptions
from redis_message_queue.trouble import AWAY

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

logger = logging.getLogger(__name__)

# No wait blocks longer in one command: short enough to notice a stop, and well under any socket timeout.
LONGEST_BLOCK_SECONDS = 1.0
_SHORTEST_BLOCK_SECONDS = 0.01


@documented_as(_Blocking)
class Consumer:
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
        options = ConsumerOptions(
            QueueKeys(name, key_separator),
            visibility_timeout_seconds,
            max_delivery_count,
            keep_completed,
            keep_failed,
            keep_dead_letter_info,
            worker,
        )
        check_face(client, asyncio=True, name="client")
        require_one_slot(client, options.keys)
        self._client: Any = client
        self._state = ConsumerState(options, decode=decodes(client))

    @property
    def keys(self) -> QueueKeys:
        return self._state.options.keys

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
        parts, answered = requests(settlements), []
        for places in parts:
            count = claim if places is parts[-1] else 0
            attempt = self._state.begin(
                [settlements[place] for place in places], count, in_hand=in_hand, due=due
            )
            try:
                answered.append((attempt, await _transport.execute_async(self._client, attempt.call)))
            except BaseException:
                self._state.lost(attempt)
                raise
        settled = self._state.all_done(parts, answered)
        if settled.claimed.given_up:
            await self._free_keys(settled.claimed.given_up)
        return settled

    async def _free_keys(self, given_up: Sequence[bytes]) -> None:
        try:
            if markers := self._state.markers(given_up):
                await _transport.send_async(self._client, "delete", *markers)
        except AWAY as error:  # they end by themselves, only later
            logger.debug("Deduplication keys of dead letters are left to expire: %s", error)

    async def recover(self) -> tuple[Claim, ...]:
        recovered: list[Claim] = []
        for _ in range(self._state.unresolved):
            attempt = self._state.begin((), RECOVER_ALL, fresh=False)
            try:
                reply = await _transport.execute_async(self._client, attempt.call)
            except BaseException:
                self._state.lost(attempt)
                raise
            recovered.extend(self._state.done(attempt, reply).claimed.claims)
        return tuple(recovered)

    async def renew(self, claims: Sequence[Claim]) -> tuple[bool, ...]:
        answers = [
            await _transport.execute_async(self._client, call) for call in self._state.renewals(claims)
        ]
        return tuple(chain.from_iterable(answers))

    async def wait(self, timeout_seconds: float) -> bool:
        end = _clock.monotonic() + timeout_seconds
        while True:
            left = end - _clock.monotonic()
            block = max(_SHORTEST_BLOCK_SECONDS, min(LONGEST_BLOCK_SECONDS, left))
            if await self._woken(block):
                return True
            if left <= LONGEST_BLOCK_SECONDS:
                return False

    async def _woken(self, block: float) -> bool:
        pending = self.keys.pending
        try:
            # Tail to tail: the list stays as it is. The message itself may be anything, so it is not decoded.
            words = ("BLMOVE", pending, pending, "RIGHT", "RIGHT", block)
            options = {NEVER_DECODE: True}
            woken = await _transport.send_async(self._client, "execute_command", *words, **options)
        except OutOfMemoryError:
            # At maxmemory the server refuses even a move that changes nothing: look, and wait here.
            if await self._client.llen(pending):
                return True
            await _clock.sleep(block)
            return False
        return woken is not None

    async def report(
        self, *, busy: int, oldest_start_age_seconds: float | None, draining: bool, tripped: bool = False
    ) -> None:
        call = self._state.report(
            busy=busy, oldest_start_age_seconds=oldest_start_age_seconds, draining=draining, tripped=tripped
        )
        await _transport.execute_async(self._client, call)

    async def deregister(self) -> None:
        await _transport.send_async(self._client, "hdel", self.keys.workers, self._state.worker.id)
