# Written by worker/sync_face.py from asyncio/consumer.py: change that.
"""A consumer for workers: batched claims, settle and claim in one call, wake-up."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from redis.client import NEVER_DECODE
from redis.exceptions import OutOfMemoryError

from redis_message_queue import _io, _transport
from redis_message_queue._batch import RECOVER_ALL, ConsumerState, requests, settlements_at_once
from redis_message_queue._clock import monotonic
from redis_message_queue.client_checks import require_one_slot
from redis_message_queue.consumer_options import ConsumerOptions
from redis_message_queue.keys import QueueKeys, held_field
from redis_message_queue.limits import Limits
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
from redis_message_queue.trouble import AWAY
from redis_message_queue.validation import MOST_KEPT, check, picked

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

    from redis_message_queue._batch import Attempt

__all__ = [
    "Claim",
    "ClaimReply",
    "Consumer",
    "Due",
    "Limits",
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


class Consumer:
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
        results_ttl_seconds: how long results are kept, of settlements that have one, 0 = not at all.
        worker: who claims; needed for `report` and for being retired.
        limits: how fast, and how many at once, all consumers that say the same begin messages together.
        key_limits: the same for each limit key that messages were enqueued with.

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
        results_ttl_seconds: float = 0,
        worker: WorkerIdentity | None = None,
        limits: Limits | None = None,
        key_limits: Limits | None = None,
    ) -> None:
        keys = QueueKeys(name, key_separator)
        options = picked(ConsumerOptions, locals())
        _io.check_face(client)
        require_one_slot(client, keys)
        self._client: Any = client
        self._state = ConsumerState(options, decode=decodes(client))

    @property
    def keys(self) -> QueueKeys:
        """The key names of the queue."""
        return self._state.options.keys

    def claim(self, count: int) -> ClaimReply:
        """Claim up to `count` messages, oldest first; claims nothing when `count` is not positive."""
        return (self.settle((), claim=count)).claimed

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
        if claim.__class__ is not int or claim > MOST_KEPT:
            check(claim=claim)
        parts, answered = requests(settlements), []
        for places in parts:
            count = claim if places is parts[-1] else 0
            attempt = self._state.begin(
                [settlements[place] for place in places], count, in_hand=in_hand, due=due
            )
            try:
                reply = _transport.execute(self._client, attempt.call)
                if reply is None:  # it did not find all messages, and did nothing
                    reply = _transport.execute(self._client, attempt.whole)
                if given_up := reply[0].claimed.given_up:
                    self._free_keys(given_up)
            except BaseException:  # also while keys are freed: what was claimed is given again
                self._state.lost(attempt)
                raise
            answered.append((attempt, reply))
        return self._state.all_done(parts, answered)

    def _free_keys(self, given_up: Sequence[bytes]) -> None:
        try:
            if call := self._state.free(given_up):
                _transport.execute(self._client, call)
        except AWAY as error:  # they end by themselves, only later
            logger.debug("Deduplication keys of dead letters are left to expire: %s", error)

    def recover(self) -> tuple[Claim, ...]:
        """What claims with a lost reply were given, and nothing new: to be released when a worker stops.

        Where asking for one of several fails, that is what the others before it were given: ask again. Who is
        interrupted meanwhile, as by a cancellation, has been given nothing: the next call gives it all.
        """
        answered: list[tuple[Attempt, tuple[SettleReply, int]]] = []
        for _ in range(self._state.unresolved):
            attempt = self._state.begin((), RECOVER_ALL, fresh=False)
            try:
                reply = _transport.execute(self._client, attempt.whole)
            except BaseException as error:
                self._state.lost(attempt)
                if answered and isinstance(error, AWAY):
                    break
                for earlier, _ in reversed(answered):  # the first is the first to be repeated
                    self._state.lost(earlier)
                raise
            answered.append((attempt, reply))
        replies = [self._state.done(*one) for one in answered]
        return tuple(claim for reply in replies for claim in reply.claimed.claims)

    def renew(self, claims: Sequence[Claim]) -> tuple[bool, ...]:
        """Extend leases in one round trip, more for above 512 KiB; False for each that was lost."""
        renewed: list[bool] = []
        for call in self._state.renewals(claims):
            flags = _transport.execute(self._client, call)
            renewed += flags
        return tuple(renewed)

    def wait(self, timeout_seconds: float) -> bool:
        """Block until pending has a message (True) or the time is over (False). Takes nothing.

        Blocks in slices of at most 1 s, each on a connection of its own from the client's pool.
        """
        end = monotonic() + timeout_seconds
        while True:
            left = end - monotonic()
            block = max(_SHORTEST_BLOCK_SECONDS, min(LONGEST_BLOCK_SECONDS, left))
            if self._woken(block):
                return True
            if left <= LONGEST_BLOCK_SECONDS:
                return False

    def _woken(self, block: float) -> bool:
        pending = self.keys.pending
        # Tail to tail: the list stays as it is. The message itself may be anything, so it is not decoded.
        words = ("execute_command", "BLMOVE", pending, pending, "RIGHT", "RIGHT", block)
        try:
            woken = _transport.send(self._client, *words, **{NEVER_DECODE: True})
        except OutOfMemoryError:
            # At maxmemory the server refuses even a move that changes nothing: look, and wait here.
            if self._client.llen(pending):
                return True
            _io.sleep(block)
            return False
        return woken is not None

    def waiting(self) -> int:
        """How many messages wait to be claimed, what limits hold up included, what is delayed not."""
        pending, lanes = self.keys.pending, self.keys.lanes.waiting
        first = _transport.send(self._client, "llen", pending)
        return int(first) + int(_transport.send(self._client, "zcard", lanes))

    def report(
        self, *, busy: int, oldest_start_age_seconds: float | None, draining: bool, tripped: bool = False
    ) -> frozenset[str]:
        """Refresh the worker's field: due every 2 s; the queue forgets a worker after 60 s of silence.

        `tripped`: a run of failures keeps it from claiming as it could. Returns the tokens of those leases
        whose messages somebody has cancelled, again until they are settled (`Outcome.CANCELLED`). It is told
        to a worker with an `instance`.
        """
        call = self._state.report(
            busy=busy, oldest_start_age_seconds=oldest_start_age_seconds, draining=draining, tripped=tripped
        )
        return _transport.execute(self._client, call)

    def deregister(self) -> None:
        """Remove the worker's field."""
        worker = self._state.worker
        fields = (worker.id, held_field(worker.instance)) if worker.instance else (worker.id,)
        _transport.send(self._client, "hdel", self.keys.workers, *fields)
