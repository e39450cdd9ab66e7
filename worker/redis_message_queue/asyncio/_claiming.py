"""The claim loop: poll, repeat what had no answer, and never forget a claim of unknown outcome.

A process waits at a list once: a message wakes one consumer of it, not all of them.
"""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, Any

import redis.exceptions

from redis_message_queue import operations
from redis_message_queue._local_state import ForgottenAtFork, UnansweredClaims
from redis_message_queue.asyncio import _io
from redis_message_queue.asyncio._abstract_redis_gateway import event_sink
from redis_message_queue.asyncio._retry import pause
from redis_message_queue.client_checks import can_block
from redis_message_queue.envelope import new_id
from redis_message_queue.events import EventOperation, EventOutcome
from redis_message_queue.exceptions import ClaimStoreFailedError, RetryBudgetExhaustedError
from redis_message_queue.keys import lease_keys
from redis_message_queue.messages import ClaimedMessage, MessageData
from redis_message_queue.trouble import AWAY, described, is_retryable

if TYPE_CHECKING:
    from redis_message_queue._local_state import AnsweredRecords
    from redis_message_queue.asyncio._abstract_redis_gateway import Emit
    from redis_message_queue.asyncio._redis_gateway import Sender
    from redis_message_queue.options import GatewayOptions

logger = logging.getLogger(__name__)

# Without a lease nothing else bounds how long the server remembers a claim for a repeat.
_PLAIN_RECORD_SECONDS = 120

POLL_SECONDS = 0.25
# How long one command waits for a message: an idle process sends two in this time, and a drain waits for it.
_BLOCK_SECONDS = 1.0
# How often a consumer looks whether another one still waits for both of them; the server is not asked.
_STEP_SECONDS = 0.05
_SHORTEST_SECONDS = 0.01

Claimed = ClaimedMessage | MessageData | None


class SharedWait(ForgottenAtFork):
    """At which lists a consumer blocks: the first to come; the others step in when it has left."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self.blocks = can_block(sender.client)
        super().__init__()

    def forget(self) -> None:
        """Nobody waits."""
        self._first: dict[str, object] = {}

    def enter(self, source: str, consumer: object) -> bool:
        """True if `consumer` is the one to block at `source` now; `leave` when it has."""
        return self._first.setdefault(source, consumer) is consumer

    def leave(self, source: str) -> None:
        """Make room for the next one."""
        self._first.pop(source, None)

    async def until_pending(self, source: str, seconds: float, lost: int) -> bool:
        """Wait until something is pending or a claim is due anyway, at most `seconds`; True if pending.

        One message wakes one waiter of each process. Of these, who was late `lost` times in a row polls for
        a while rather than blocks, up to a second: so a crowd thins out.
        """
        if not self.blocks:
            await _io.sleep(min(POLL_SECONDS, seconds))
            return False
        if lost:
            await pause(
                _jittered(min(seconds, _BLOCK_SECONDS, 0.005 * 2 ** min(lost, 8))), self._sender.stopped
            )
        me = object()
        while not self.enter(source, me):
            if seconds <= 0 or self._sender.stopped():
                return False
            step = _jittered(_STEP_SECONDS)
            await _io.sleep(min(seconds, step))
            seconds -= step
        # Who may be interrupted has to notice it sooner.
        longest = _BLOCK_SECONDS if self._sender.interrupt is None else POLL_SECONDS
        try:
            return await self._block(source, max(_SHORTEST_SECONDS, min(longest, seconds)))
        finally:
            self.leave(source)

    async def _block(self, source: str, seconds: float) -> bool:
        try:
            # The tail goes back to the tail in one step: nothing moves, and nobody else sees anything.
            return (
                await self._sender.command("blmove", source, source, seconds, "RIGHT", "RIGHT")
            ) is not None
        except (*AWAY, UnicodeDecodeError) as error:
            if isinstance(error, redis.exceptions.NoPermissionError):
                logger.info("No right to wait for %s, polling instead: %s", source, error)
                self.blocks = False
            # Whatever else it is, the claim that follows meets it as well, and reports it.
            await _io.sleep(min(POLL_SECONDS, seconds))
        return False


def _jittered(seconds: float) -> float:
    return seconds * (0.5 + random.random() / 2)  # noqa: S311 - spreads waiters, protects nothing


class ClaimLoop:
    """`wait_for_message_and_move` of a gateway and the drain of its unanswered claims."""

    def __init__(self, chosen: GatewayOptions, sender: Sender, answered: AnsweredRecords) -> None:
        self._patience_seconds = chosen.wait_interval_seconds
        lease_seconds = chosen.message_visibility_timeout_seconds
        self._lease_ms = None if lease_seconds is None else lease_seconds * 1000
        self._limit = chosen.max_delivery_count
        self._dead_letters = chosen.dead_letter_queue or None
        self._sender = sender
        self._answered = answered
        self._wakeup = SharedWait(sender)
        self.unanswered = UnansweredClaims()

    async def wait(self, source: str, processing: str) -> Claimed:
        """Claim the next message, waiting for it as long as the gateway says."""
        if self._sender.stopped():
            return None
        if self._sender.unprobed:
            await self._sender.probe()
        if self.unanswered.sources:
            recovered = await self._recover_pending(processing)
            if recovered is not None or self._sender.stopped():
                return recovered
        if self._patience_seconds == 0:
            return await self._claim_once(source, processing)
        return await self._poll(source, processing)

    async def _poll(self, source: str, processing: str) -> Claimed:
        began, failure = _io.now(), None
        claim_id, unknown = new_id(), False
        woken, lost = False, 0
        try:
            while not self._sender.stopped():
                unknown = True  # until its reply is understood, whoever leaves does not know
                try:
                    claimed = await self._claim(source, processing, claim_id)
                except Exception as error:
                    if not is_retryable(error):
                        raise
                    failure = error
                    await _report_transient(claim_id, error)
                else:
                    unknown, failure = False, None
                    if claimed is not None:
                        return claimed
                    claim_id = new_id()
                remaining = self._patience_seconds - _io.now().since(began)
                if remaining <= 0:
                    break
                lost = lost + 1 if woken else 0
                woken = await self._wakeup.until_pending(source, remaining, lost)
            if failure is None or self._sender.stopped():
                return None
            found = await self._recover(processing, claim_id)
            if found is not None:
                await _report_recovered(claim_id)
            unknown = False
        finally:
            if unknown:
                self.unanswered.add(source, processing, claim_id)
        if found is not None:
            return found
        await _report_exhausted(claim_id, failure)
        raise RetryBudgetExhaustedError(f"claim gave up: {described(failure)}") from failure

    async def _claim_once(self, source: str, processing: str) -> Claimed:
        """One attempt, and exactly one repeat of the same claim if its reply was lost."""
        claim_id, unknown = new_id(), True
        try:
            try:
                claimed = await self._claim(source, processing, claim_id)
            except Exception as error:
                if not is_retryable(error):
                    raise
                await _report_transient(claim_id, error)
                if self._sender.stopped():
                    return None
                try:
                    claimed = await self._claim(source, processing, claim_id)
                except Exception as last:
                    await _report_exhausted(claim_id, last)
                    raise RetryBudgetExhaustedError(
                        f"claim gave up after 2 attempts: {described(last)}"
                    ) from last
            unknown = False
            return claimed
        finally:
            if unknown:
                self.unanswered.add(source, processing, claim_id)

    async def _claim(self, source: str, processing: str, claim_id: str) -> Claimed:
        """Send one claim and report what it did on the way."""
        sink = event_sink.get()
        if self._lease_ms is None:
            plain = operations.claim_plain(
                pending=source,
                processing=processing,
                claim_id=claim_id,
                record_ttl_ms=max(self._patience_seconds, _PLAIN_RECORD_SECONDS) * 1000,
                delayed=sink.delayed,
            )
            return await self._sender.call(plain)
        call = operations.claim_leased(
            pending=source,
            processing=processing,
            claim_id=claim_id,
            visibility_timeout_ms=self._lease_ms,
            max_delivery_count=self._limit,
            dead_letter_queue=self._dead_letters,
            delayed=sink.delayed,
            answered=self._answered.pop(processing, ()),
        )
        reply = await self._sender.call(call)
        if reply.reclaimed or reply.dead_lettered:
            await self._report_passed(reply, sink.emit)
        if reply.problem is not None:
            raise ClaimStoreFailedError(
                f"the message is pending again, its claim could not be stored: {reply.problem}"
            )
        if reply.stored is None or reply.token is None:
            return None
        self._answered.add(processing, operations.claim_record(processing) + claim_id)
        return ClaimedMessage(reply.stored, reply.token).counted(reply.delivery_count)

    async def _report_passed(self, reply: operations.ClaimResult, emit: Emit) -> None:
        for passed in reply.reclaimed:
            facts = {**passed._asdict(), "max_delivery_count": self._limit}
            await emit(EventOperation.CLAIM_RECLAIM, EventOutcome.SUCCESS, **facts)
        for passed in reply.dead_lettered:
            facts = {**passed._asdict(), "max_delivery_count": self._limit}
            facts["destination_queue"] = self._dead_letters
            await emit(EventOperation.DLQ, EventOutcome.SUCCESS, **facts)

    # -- recovery --

    async def _recover_pending(self, processing: str) -> Claimed:
        """Give out what an earlier claim of unknown outcome was granted."""
        while True:
            taken = self.unanswered.take(processing)
            if taken is None:
                return None
            claim_id, _ = taken
            try:
                found = await self._recover(processing, claim_id)
                if found is not None:
                    await _report_recovered(claim_id)
            except BaseException:
                self.unanswered.put_back(claim_id)
                raise
            self.unanswered.settle(processing, claim_id)
            if found is not None:
                return found

    async def _recover(self, processing: str, claim_id: str) -> Claimed:
        """Read what a claim was granted; None if nothing, or if somebody else holds the lease by now."""
        keys = lease_keys(processing)
        record = keys.claim_result(claim_id)
        try:
            value = await self._sender.command("get", record)
            if value is None:
                value = await self._sender.command("hget", keys.claim_result_ids, claim_id)
            readable = True
        except UnicodeDecodeError:
            value, readable = b"", False
        if value is None:
            return None
        if self._lease_ms is None and readable:  # the message itself, which may be empty
            await self._forget("delete", record)
            return value  # type: ignore[no-any-return]
        pair = operations.parse_claim_record(value)
        if pair is not None and self._lease_ms is not None:
            stored: MessageData = pair[0].encode() if isinstance(value, bytes) else pair[0]
            renewal = operations.renew(
                processing=processing,
                stored=stored,
                lease_token=pair[1],
                visibility_timeout_ms=self._lease_ms,
            )
            if await self._sender.call(renewal):
                await self._forget("delete", record)
                await self._forget("hdel", keys.claim_result_refs, pair[1])
                return ClaimedMessage(stored, pair[1])
        await self._forget("delete", record)
        await self._forget("hdel", keys.claim_result_ids, claim_id)
        return None

    async def _forget(self, command: str, *args: str) -> None:
        """Remove a record nobody will read again; its expiry does it otherwise."""
        try:
            await self._sender.command(command, *args)
        except Exception as error:
            logger.warning("Could not remove the claim record %s: %s", args[0], error)

    # -- drain --

    async def settle_unanswered(self, processing: str, deadline: float | None) -> bool:
        """Settle claims of unknown outcome: without leases they return to pending, else the lease expires.

        True if none is left. An id whose recovery fails for a transient reason stays for a later drain.
        """
        skipped: set[str] = set()
        while True:
            if deadline is not None and _io.now().told >= deadline:
                break
            taken = self.unanswered.take(processing, frozenset(skipped))
            if taken is None:
                break
            claim_id, source = taken
            try:
                await self._return_claim(source, processing, claim_id)
            except BaseException as error:
                self.unanswered.put_back(claim_id)
                if not is_retryable(error):
                    raise
                logger.warning("Transient error while draining claim %s: %s", claim_id, error)
                skipped.add(claim_id)
            else:
                self.unanswered.settle(processing, claim_id)
        return not self.unanswered.waiting(processing)

    async def _return_claim(self, source: str, processing: str, claim_id: str) -> None:
        if self._lease_ms is not None:
            return
        keys = lease_keys(processing)
        stored: Any = await self._sender.command("get", keys.claim_result(claim_id))
        if stored is None:
            stored = await self._sender.command("hget", keys.claim_result_ids, claim_id)
        if stored is not None:
            call = operations.move(
                processing=processing,
                destination=source,
                stored=stored,
                payload=stored,
                lease_token=None,
                replay_key=operations.settle_record(processing) + new_id(),
                replay_ttl_ms=_PLAIN_RECORD_SECONDS * 1000,
                next_out=True,
            )
            await self._sender.call(call)


async def _report_transient(claim_id: str, error: Exception) -> None:
    logger.warning("Transient error while claiming, the same claim is repeated: %s", described(error))
    await event_sink.get().emit(
        EventOperation.RETRY_ATTEMPT, EventOutcome.FAILURE, claim_id=claim_id, error=error
    )


async def _report_exhausted(claim_id: str, error: Exception) -> None:
    await event_sink.get().emit(
        EventOperation.RETRY_EXHAUSTED, EventOutcome.FAILURE, claim_id=claim_id, error=error
    )


async def _report_recovered(claim_id: str) -> None:
    await event_sink.get().emit(EventOperation.CLAIM_RECLAIM, EventOutcome.SUCCESS, claim_id=claim_id)
