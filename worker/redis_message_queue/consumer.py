"""A consumer for workers: batched claims, settle and claim in one call, wake-up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis_message_queue import _transport
from redis_message_queue._batch import settlements_at_once
from redis_message_queue._consumer import ConsumerFlows
from redis_message_queue._flow import run
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

    import redis

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


class Consumer(ConsumerFlows):
    """Claims and settles messages of one queue over a redis-py client. Threads may share it.

    Every call raises one of `trouble.AWAY` on trouble (`redis.RedisError`, in a cluster also
    `RedisClusterException`), and may then be repeated: a call whose reply was lost is not done twice, and
    its messages are given again.

    Args:
        client: a `redis.Redis` or `redis.RedisCluster`.
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
        client: redis.Redis | redis.RedisCluster,
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
        self._set_up(locals(), _transport.execute, _transport.send, asyncio=False)

    def claim(self, count: int) -> ClaimReply:
        """Claim up to `count` messages, oldest first; claims nothing when `count` is not positive."""
        return self.settle((), claim=count).claimed

    def settle(
        self,
        settlements: Sequence[Settlement],
        claim: int = 0,
        *,
        in_hand: int | None = None,
        due: Due = Due.FIRST,
    ) -> SettleReply:
        """Settle messages and claim up to `claim` new ones, in one round trip; more for above 512 KiB.

        What was raised may be called again with the same settlements: none counts twice.

        Args:
            settlements: ends of earlier claims.
            claim: how many messages to claim at most.
            in_hand: how many others this process handles. Given, what comes back by an expired lease is
                claimed apart from others: with its like, or alone where it seems to end its workers. Handle
                nothing beside that. While others are in hand, one such message is `kept`: release it as
                soon as they have ended, and claim with that call. None: no such care.
            due: what to do with retried and delayed messages that are due.
        """
        return run(self._settle(settlements, claim, in_hand, due))

    def recover(self) -> tuple[Claim, ...]:
        """What claims with a lost reply were given, and nothing new: to be released when a worker stops."""
        return run(self._recover())

    def renew(self, claims: Sequence[Claim]) -> tuple[bool, ...]:
        """Extend leases in one round trip, more for above 512 KiB; False for each that was lost."""
        return run(self._renew(claims))

    def wait(self, timeout_seconds: float) -> bool:
        """Block until pending has a message (True) or the time is over (False). Takes nothing.

        Blocks in slices of at most 1 s, each on a connection of its own from the client's pool.
        """
        return run(self._wait(timeout_seconds))

    def report(
        self, *, busy: int, oldest_start_age_seconds: float | None, draining: bool, tripped: bool = False
    ) -> None:
        """Refresh the worker's field: due every 2 s; the queue forgets a worker after 60 s of silence.

        `tripped`: a run of failures keeps it from claiming as it could.
        """
        call = self._state.report(
            busy=busy, oldest_start_age_seconds=oldest_start_age_seconds, draining=draining, tripped=tripped
        )
        run(self._report(call))

    def deregister(self) -> None:
        """Remove the worker's field."""
        run(self._deregister())
